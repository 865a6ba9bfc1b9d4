"""What happens to an instance as a whole."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pylon_workflows.core.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStarted:
    """The instance exists, with the terms of its definition; `due_at` delays its first turn.

    A child has the key and the run of its parent's record, and `on_parent_close` is `cancel` or `abandon`. One that was
    only told who its parent is has none of the three. `tags_json` is an object of texts.
    """

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
    parent_id: str | None = None
    parent_key: str | None = None
    parent_run: int | None = None
    depth: int = 0
    on_parent_close: str | None = None
    tags_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first turn got an answer that counts; `at` is when that turn began."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContinued:
    """The run has ended and the next one begins, with its own input and terms, and the variables there are."""

    at: datetime
    input_json: bytes
    version: str | None
    policy: RetryPolicy
    step_timeout: timedelta
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRunsDeleted:
    """Retention has deleted the runs before this one, all but the start; here is what they had come to.

    It stands in the place of the `RunContinued` at the revision `replaces`, and nothing between that and the start is
    there any more. `children_json` is `[[id, run, key, on_parent_close], ...]`, `inbox_json`
    `[[event, revision, data], ...]`, `event_ids_json` a list of texts, `progress_json` `[percent, message]`.
    """

    at: datetime
    replaces: int
    run: int
    input_json: bytes
    version: str | None
    policy: RetryPolicy
    step_timeout: timedelta
    started_at: datetime
    vars_json: bytes
    usage_json: bytes
    progress_json: bytes | None
    children_json: bytes
    inbox_json: bytes
    event_ids_json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WokeUp:
    """The time had come: a sleep is over, a retry or a delayed start is due."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceCompleted:
    """The workflow returned."""

    at: datetime
    output_json: bytes
    notes_json: bytes | None = None


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
