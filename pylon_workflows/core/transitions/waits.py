"""What an instance waits for from outside: events, decisions, children."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitStarted:
    """The instance waits for an event that matches; `due_at` ends the wait, null waits without end.

    `on_timeout` is `return` or `fail`. `match_json` is an object of dotted paths and values.
    """

    at: datetime
    event: str
    key: str
    due_at: datetime | None
    match_json: bytes | None = None
    correlation: str | None = None
    on_timeout: str = "return"
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReceived:
    """An event was stored in the inbox."""

    at: datetime
    event: str
    event_id: str | None
    data_json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTaken:
    """The wait took the event that `EventReceived` stored at revision `source`.

    `after` and `notes_json` are there when the event had come before the wait; else the wait has had them.
    """

    at: datetime
    source: int
    key: str
    position: int
    started_at: datetime
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitTimedOut:
    """No event came by the wait's deadline; the code gets null, or the failure when `is_failure`."""

    at: datetime
    event: str
    key: str
    position: int
    started_at: datetime
    is_failure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequested:
    """The instance waits for a person's decision; `on_timeout` is `reject` or `fail`."""

    at: datetime
    key: str
    name: str
    message: str
    due_at: datetime | None
    on_timeout: str
    data_json: bytes
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided:
    """A person has decided."""

    at: datetime
    key: str
    position: int
    started_at: datetime
    is_approved: bool
    by: str | None
    comment: str | None
    data_json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalTimedOut:
    """Nobody has decided in time: a rejection, or a failure when `is_failure`."""

    at: datetime
    key: str
    position: int
    started_at: datetime
    is_failure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStarted:
    """Another instance was started, in the same transaction.

    Without `is_awaited` the record is made now, at `position`, with the child's id as output; else `position` is null
    and the instance waits.
    """

    at: datetime
    key: str
    name: str
    child_id: str
    workflow: str
    is_awaited: bool
    on_parent_close: str
    position: int | None
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFinished:
    """A child has finished; `position` is null for one that was not awaited. `usage_json` is what all of it cost."""

    at: datetime
    key: str
    child_id: str
    position: int | None
    started_at: datetime
    status: str
    error: str | None
    output_json: bytes | None
    usage_json: bytes | None = None
