"""Steps, and sleeps."""

from dataclasses import dataclass
from datetime import datetime

from pylon_workflows.core.construction import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class StepSucceeded:
    """A step ran and its output is recorded; `kind` and `input_json` are those of an operation."""

    at: datetime
    key: str
    name: str
    position: int
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    output_json: bytes
    kind: str = "step"
    input_json: bytes | None = None
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped:
    """The code has left a step out, for a reason."""

    at: datetime
    key: str
    name: str
    position: int
    reason: str
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed:
    """An attempt failed and is retried at `retry_at`; `failures` counts it.

    `kind` and `input_json` are those of an operation; a long input that an attempt before was given too is left out.
    """

    at: datetime
    key: str
    name: str
    failures: int
    error: str
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    retry_at: datetime
    detail_json: bytes | None = None
    kind: str = "step"
    input_json: bytes | None = None
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """An attempt failed for good. With a position the code is asked to catch it; without, `InstanceFailed` follows.

    `kind` and `input_json` are those of an operation. A child that could not be started fails so too; then `kind` is
    `child`.
    """

    at: datetime
    key: str
    name: str
    position: int | None
    failures: int
    error: str
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    detail_json: bytes | None = None
    kind: str = "step"
    input_json: bytes | None = None
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepStarted:
    """The instance sleeps until `due_at`."""

    at: datetime
    key: str
    name: str
    position: int
    due_at: datetime
    after: int | None = None
    notes_json: bytes | None = None
