"""Every exception of the engine. The branch says whose fault it was.

WorkflowError
├── CallerError                 what was asked for cannot be done; nothing was changed
│   ├── InvalidInputError       a value is malformed
│   │   ├── InvalidIdError      ...or is no id
│   │   │   └── ReservedIdError
│   │   ├── NameTooLongError    ...or is beyond a limit of its own
│   │   ├── DescriptionTooLongError
│   │   ├── DurationTooLongError
│   │   ├── TooManyRetriesError
│   │   ├── TooDeepError
│   │   └── ListLimitError
│   ├── TooLargeError           a value has more bytes than it may
│   │   ├── InputTooLargeError
│   │   └── EventTooLargeError
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
│   ├── EngineNotRunningError
│   └── NoOwnerError            and no other has answered for it
└── StoreError                  the database file's fault, or the disk's
    ├── DatabaseInUseError
    │   └── DatabaseInUseHereError
    ├── OwnershipLostError
    ├── NewerDatabaseError
    ├── CorruptDatabaseError
    │   └── UnreadableInstanceError   one instance's rows; the others are not concerned
    ├── StorageFullError
    └── StorageFailedError
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


class InvalidIdError(InvalidInputError):
    """The id holds other characters than an id may, none, or more than 128."""

    code = "invalid-id"


class ReservedIdError(InvalidIdError):
    """The id is a word of a route."""

    code = "reserved-id"


class NameTooLongError(InvalidInputError):
    """A name, an event id or an idempotency key has more than 128 characters."""

    code = "name-too-long"


class DescriptionTooLongError(InvalidInputError):
    """The description of a definition has more than 10,000 characters."""

    code = "description-too-long"


class DurationTooLongError(InvalidInputError):
    """A timeout or a backoff is longer than 100 years."""

    code = "duration-too-long"


class TooManyRetriesError(InvalidInputError):
    """A definition asks for more than 1,000,000 retries."""

    code = "too-many-retries"


class TooDeepError(InvalidInputError):
    """A value is nested deeper than 64."""

    code = "too-deep"


class ListLimitError(InvalidInputError):
    """A page of a list has 1 to 200 instances."""

    code = "list-limit"


class TooLargeError(CallerError):
    """A value has more bytes than the limit that the message names."""

    code = "too-large"


class InputTooLargeError(TooLargeError):
    """The input of a start has more than `max_input_bytes`."""

    code = "input-too-large"


class EventTooLargeError(TooLargeError):
    """The data of an event has more than `max_event_bytes`."""

    code = "event-too-large"


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


class NoOwnerError(EngineError):
    """This process stands by, and whoever owns the file did not answer in time; one that answers may come soon."""

    code = "no-owner"


class StoreError(WorkflowError):
    """The database cannot be used."""

    code = "store-error"


class DatabaseInUseError(StoreError):
    """Another engine owns the file; the message names the owner."""

    code = "database-in-use"


class DatabaseInUseHereError(DatabaseInUseError):
    """The owner is another engine of this same process: waiting for it to go would be waiting for oneself."""


class OwnershipLostError(StoreError):
    """The file or its lock was removed or replaced, or another engine has taken it over (PROMISES.md P21, P23)."""

    code = "ownership-lost"


class NewerDatabaseError(StoreError):
    """The file was written by a newer release."""

    code = "newer-database"


class CorruptDatabaseError(StoreError):
    """The file, or a row of it, cannot be read; it is never written to."""

    code = "corrupt-database"


class UnreadableInstanceError(CorruptDatabaseError):
    """What the file holds of one instance cannot be read or does not add up; it is parked and the others go on (P18).

    Its history is not touched. Once its rows are repaired, `resume` reads them again.
    """

    code = "instance-unreadable"


class StorageFullError(StoreError):
    """The disk is full; nothing was changed and the engine goes on when there is space."""

    code = "storage-full"


class StorageFailedError(StoreError):
    """The disk failed again and again, or the file may only be read: nothing more is written (PROMISES.md P25).

    What was acknowledged is in the file. Mend what the message names, then start the engine again.
    """

    code = "storage-failed"
