"""Every exception of the engine. The branch says whose fault it was.

WorkflowError
├── CallerError                 what was asked for cannot be done; nothing was changed
│   ├── InvalidInputError       a value is malformed
│   ├── TooLargeError           a value is beyond a limit
│   ├── UnknownWorkflowError    no definition of that name
│   ├── UnknownInstanceError    no instance of that id
│   ├── ConflictError           it does not fit the present state
│   │   ├── StartConflictError
│   │   ├── InstanceFinishedError
│   │   ├── InstanceNotFinishedError
│   │   ├── InstanceNotBlockedError
│   │   ├── TurnNotOpenError
│   │   └── TurnOpenError
│   └── InboxFullError
├── OutcomeError                the instance's own end, told to whoever asked for its result
│   ├── WorkflowFailedError
│   └── WorkflowCancelledError
├── RunnerError                 the runner's fault
│   ├── RunnerUnavailableError
│   ├── MalformedAnswerError
│   └── TurnTimedOutError
├── EngineError                 this process cannot serve now
│   └── EngineNotRunningError
└── StoreError                  the database file's fault, or the disk's
    ├── DatabaseInUseError
    │   └── DatabaseInUseHereError
    ├── OwnershipLostError
    ├── NewerDatabaseError
    ├── CorruptDatabaseError
    └── StorageFullError
"""

from typing import Any, ClassVar


class WorkflowError(Exception):
    """Whatever this package raises; `code` names the kind for programs."""

    code: ClassVar[str] = "workflow-error"


class CallerError(WorkflowError):
    """The caller asked for something that cannot be done; nothing was changed."""

    code = "caller-error"


class InvalidInputError(CallerError):
    """A value is malformed; the message names the field and says what is wrong with it."""

    code = "invalid-input"


class TooLargeError(CallerError):
    """A value is larger than the limit that the message names."""

    code = "too-large"


class UnknownWorkflowError(CallerError):
    """No workflow definition of that name is registered."""

    code = "unknown-workflow"


class UnknownInstanceError(CallerError):
    """No instance has that id, or retention has deleted it."""

    code = "unknown-instance"


class ConflictError(CallerError):
    """The request does not fit the instance's present state."""

    code = "conflict"


class StartConflictError(ConflictError):
    """The id or idempotency key belongs to an instance with another name or input (PROMISES.md P13)."""

    code = "start-conflict"


class InstanceFinishedError(ConflictError):
    """The instance has completed, failed or been cancelled, and a terminal state never changes (P9)."""

    code = "instance-finished"


class InstanceNotFinishedError(ConflictError):
    """Only a finished instance can be deleted."""

    code = "instance-not-finished"


class InstanceNotBlockedError(ConflictError):
    """Only a blocked instance can be resumed."""

    code = "instance-not-blocked"


class TurnNotOpenError(ConflictError):
    """The instance awaits no answer now: it sleeps, waits, is blocked or has ended."""

    code = "turn-not-open"


class TurnOpenError(ConflictError):
    """A turn is open with the runner, so a canned answer is refused."""

    code = "turn-open"


class InboxFullError(CallerError):
    """The instance holds as many unread events as it may."""

    code = "inbox-full"


class OutcomeError(WorkflowError):
    """The instance ended without an output."""

    code = "outcome"

    def __init__(self, message: str, *, instance: Any) -> None:
        super().__init__(message)
        self.instance = instance


class WorkflowFailedError(OutcomeError):
    """The workflow failed; the message is its error."""

    code = "workflow-failed"


class WorkflowCancelledError(OutcomeError):
    """The instance was cancelled."""

    code = "workflow-cancelled"


class RunnerError(WorkflowError):
    """The runner gave no proper answer."""

    code = "runner-error"


class RunnerUnavailableError(RunnerError):
    """The turn is asked again, no retry is used up (PROTOCOL.md section 4).

    `retry_after_s` is what the runner asked for, if it did. `has_dropped_turn` is true when the connection broke after
    the request was sent, which may mean that the runner dies on this step.
    """

    code = "runner-unavailable"

    def __init__(self, reason: str, *, retry_after_s: float | None = None, has_dropped_turn: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.has_dropped_turn = has_dropped_turn


class MalformedAnswerError(RunnerError):
    """The answer is JSON but no proper action: a failed attempt."""

    code = "malformed-answer"


class TurnTimedOutError(RunnerError):
    """No answer by the deadline: a failed attempt."""

    code = "turn-timed-out"


class EngineError(WorkflowError):
    """This engine cannot do it now."""

    code = "engine-error"


class EngineNotRunningError(EngineError):
    """The engine has not been started, or is shutting down."""

    code = "engine-not-running"


class StoreError(WorkflowError):
    """The database cannot be used."""

    code = "store-error"


class DatabaseInUseError(StoreError):
    """Another engine owns the file; the message names the owner."""

    code = "database-in-use"


class DatabaseInUseHereError(DatabaseInUseError):
    """The owner is another engine of this same process: waiting for it to go would be waiting for oneself."""


class OwnershipLostError(StoreError):
    """The file or its lock was removed or replaced under the engine, which has stopped (PROMISES.md P21, P23)."""

    code = "ownership-lost"


class NewerDatabaseError(StoreError):
    """The file was written by a newer release."""

    code = "newer-database"


class CorruptDatabaseError(StoreError):
    """The file, or a row of it, cannot be read; it is never written to."""

    code = "corrupt-database"


class StorageFullError(StoreError):
    """The disk is full; nothing was changed and the engine goes on when there is space."""

    code = "storage-full"
