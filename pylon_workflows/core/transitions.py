"""What has happened to an instance: past-tense facts, the only truth about it.

A history is the transitions of an instance in order; the first is `InstanceStarted`. Whatever was judged when a
transition was made (a due time, a position, that a failure is final) stands in it, so that an old history folds alike
after the rules have changed. Fields named `*_json` are canonical JSON; a transition has at most one.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pylon_workflows.core.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStarted:
    """The instance exists, with the terms of its definition; `due_at` delays its first turn."""

    at: datetime
    id: str
    name: str
    version: str | None
    input_json: bytes
    idempotency_key: str | None
    seed: str
    policy: RetryPolicy
    step_timeout: timedelta
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first turn got an answer that counts; `at` is when that turn began."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSucceeded:
    """A step ran and its output is recorded."""

    at: datetime
    key: str
    name: str
    position: int
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    output_json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed:
    """An attempt failed and is retried at `retry_at`; `failures` counts it."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """An attempt failed for good. With a position the code is asked to catch it; without, `InstanceFailed` follows."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepStarted:
    """The instance sleeps until `due_at`."""

    at: datetime
    key: str
    name: str
    position: int
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WokeUp:
    """The time had come: a sleep is over, a retry or a delayed start is due."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitStarted:
    """The instance waits for an event; `due_at` ends the wait, null waits without end."""

    at: datetime
    event: str
    key: str
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReceived:
    """An event was stored in the inbox."""

    at: datetime
    event: str
    event_id: str | None
    data_json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTaken:
    """The wait took the event that `EventReceived` stored at revision `source`."""

    at: datetime
    source: int
    key: str
    position: int
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitTimedOut:
    """No event came by the wait's deadline; the code gets null."""

    at: datetime
    event: str
    key: str
    position: int
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceCompleted:
    """The workflow returned."""

    at: datetime
    output_json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFailed:
    """The workflow failed."""

    at: datetime
    error: str
    detail_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceCancelled:
    """Somebody cancelled the instance."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceBlocked:
    """The instance is parked until somebody resumes it."""

    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceResumed:
    """Somebody resumed the blocked instance."""

    at: datetime


Transition = (
    InstanceStarted
    | RunStarted
    | StepSucceeded
    | AttemptFailed
    | StepFailed
    | SleepStarted
    | WokeUp
    | WaitStarted
    | EventReceived
    | EventTaken
    | WaitTimedOut
    | InstanceCompleted
    | InstanceFailed
    | InstanceCancelled
    | InstanceBlocked
    | InstanceResumed
)
