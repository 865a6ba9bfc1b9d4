"""Every exception of the engine. The branch says whose fault it was.

WorkflowError
├── CallerError                 what was asked for cannot be done; nothing was changed
│   ├── InvalidInputError       a value is malformed
│   │   ├── InvalidIdError      ...or is no id
│   │   │   └── ReservedIdError
│   │   ├── NameTooLongError    ...or is beyond a limit of its own
│   │   ├── DescriptionTooLongError
│   │   ├── CommentTooLongError
│   │   ├── CorrelationTooLongError
│   │   ├── DurationTooLongError
│   │   ├── TooManyRetriesError
│   │   ├── TagLimitError
│   │   ├── TooDeepError
│   │   ├── HistoryLimitError
│   │   └── ListLimitError
│   ├── TooLargeError           a value has more bytes than it may
│   │   ├── InputTooLargeError
│   │   ├── EventTooLargeError
│   │   ├── SchemaTooLargeError
│   │   └── ApprovalTooLargeError
│   ├── UnknownWorkflowError    no definition of that name
│   ├── UnknownInstanceError    no instance of that id
│   ├── UnknownScheduleError    no schedule of that id
│   ├── UnknownTokenError       no token of that id
│   ├── WrongHookUrlError       no hook URL that was given out
│   ├── ConflictError           it does not fit the present state
│   │   ├── StartConflictError
│   │   ├── ApprovalConflictError
│   │   ├── InstanceFinishedError
│   │   ├── InstanceNotFinishedError
│   │   ├── InstanceNotBlockedError
│   │   ├── TurnNotOpenError
│   │   └── TurnOpenError
│   ├── TooManySchedulesError
│   ├── TooManyTokensError
│   └── InboxFullError
│       └── KeptEventsFullError
├── OutcomeError                the instance's own end, told to whoever asked for its result
│   ├── WorkflowFailedError
│   └── WorkflowCancelledError
├── RunnerError                 the runner's fault
│   ├── RunnerUnavailableError
│   ├── MalformedAnswerError
│   │   ├── AnswerTooLargeError
│   │   └── VarsTooLargeError
│   └── TurnTimedOutError
├── EngineError                 this process cannot serve now
│   ├── EngineNotRunningError
│   ├── NoOwnerError            and no other has answered for it
│   └── OtherLoopError          to a caller in another event loop than its own
└── StoreError                  the database file's fault, or the disk's
    ├── DatabaseInUseError
    │   └── DatabaseInUseHereError
    ├── OwnershipLostError
    ├── NewerDatabaseError
    ├── WrongCodecError
    ├── CorruptDatabaseError
    │   └── UnreadableInstanceError   one instance's rows; the others are not concerned
    ├── StorageFullError
    └── StorageFailedError
"""

from typing import Any, ClassVar


class WorkflowError(Exception):
    """Whatever this package raises; `code` names the kind for programs, and is its base's where it has none."""

    code: ClassVar[str] = "workflow-error"

    def __init_subclass__(cls, *, code: str | None = None) -> None:
        super().__init_subclass__()
        cls.code = code or cls.code


class CallerError(WorkflowError, code="caller-error"):
    """The caller asked for something that cannot be done; nothing was changed."""


class InvalidInputError(CallerError, code="invalid-input"):
    """A value is malformed; the message names the field and says what is wrong with it."""


class InvalidIdError(InvalidInputError, code="invalid-id"):
    """The id holds other characters than an id may, none, or more than 128."""


class ReservedIdError(InvalidIdError, code="reserved-id"):
    """The id is a word of a route."""


class NameTooLongError(InvalidInputError, code="name-too-long"):
    """A name, an event id or an idempotency key has more than 128 characters."""


class DescriptionTooLongError(InvalidInputError, code="description-too-long"):
    """The description of a definition has more than 10,000 characters."""


class DurationTooLongError(InvalidInputError, code="duration-too-long"):
    """A timeout, a backoff or a delay is longer than 100 years."""


class TooManyRetriesError(InvalidInputError, code="too-many-retries"):
    """A definition asks for more than 1,000,000 retries."""


class CommentTooLongError(InvalidInputError, code="comment-too-long"):
    """The comment of a decision has more than 10,000 characters."""


class CorrelationTooLongError(InvalidInputError, code="correlation-too-long"):
    """A correlation key has more than 512 characters."""


class TagLimitError(InvalidInputError, code="tag-limit"):
    """More than 32 tags, a tag's name of more than 64 characters, or a value of more than 256."""


class TooDeepError(InvalidInputError, code="too-deep"):
    """A value is nested deeper than 64."""


class HistoryLimitError(InvalidInputError, code="history-limit"):
    """A page of a history has 1 to 1,000 transitions."""


class ListLimitError(InvalidInputError, code="list-limit"):
    """A page of a list has 1 to 200 instances; a change of many names at most 100 statuses."""


class TooLargeError(CallerError, code="too-large"):
    """A value has more bytes than the limit that the message names."""


class InputTooLargeError(TooLargeError, code="input-too-large"):
    """The input of a start has more than `max_input_bytes`."""


class SchemaTooLargeError(TooLargeError, code="schema-too-large"):
    """The schema of a definition's input has more than 64 KiB."""


class EventTooLargeError(TooLargeError, code="event-too-large"):
    """The data of an event has more than `max_event_bytes`."""


class ApprovalTooLargeError(TooLargeError, code="approval-too-large"):
    """The data of a decision has more than `max_event_bytes`."""


class UnknownWorkflowError(CallerError, code="unknown-workflow"):
    """No workflow definition of that name is registered."""


class UnknownInstanceError(CallerError, code="unknown-instance"):
    """No instance has that id, or retention has deleted it."""


class UnknownScheduleError(CallerError, code="unknown-schedule"):
    """No schedule has that id."""


class UnknownTokenError(CallerError, code="unknown-token"):
    """No token of the API has that id."""


class WrongHookUrlError(CallerError, code="wrong-hook-url"):
    """No hook URL that an instance has given out; nor does it say whether there is such an instance."""


class ConflictError(CallerError, code="conflict"):
    """The request does not fit the instance's present state."""


class StartConflictError(ConflictError, code="start-conflict"):
    """The id or idempotency key belongs to an instance with another name or input (PROMISES.md P13)."""


class ApprovalConflictError(ConflictError, code="approval-conflict"):
    """No gate of that key is open, and it was not decided in the same way."""


class InstanceFinishedError(ConflictError, code="instance-finished"):
    """The instance has completed, failed or been cancelled, and a terminal state never changes (P9)."""


class InstanceNotFinishedError(ConflictError, code="instance-not-finished"):
    """Only a finished instance can be deleted."""


class InstanceNotBlockedError(ConflictError, code="instance-not-blocked"):
    """Only a blocked instance can be resumed."""


class TurnNotOpenError(ConflictError, code="turn-not-open"):
    """The instance awaits no answer now: it sleeps, waits, is blocked or has ended."""


class TurnOpenError(ConflictError, code="turn-open"):
    """A turn is open with the runner, so a canned answer is refused."""


class TooManySchedulesError(CallerError, code="too-many-schedules"):
    """The file holds as many schedules as it may."""


class TooManyTokensError(CallerError, code="too-many-tokens"):
    """The file holds as many tokens as it may."""


class InboxFullError(CallerError, code="inbox-full"):
    """The instance holds as many unread events as it may."""


class KeptEventsFullError(InboxFullError, code="kept-events-full"):
    """As many published events of one name and correlation key as may be are kept for whoever waits with it."""


class OutcomeError(WorkflowError, code="outcome"):
    """The instance ended without an output."""

    def __init__(self, message: str, *, instance: Any) -> None:
        super().__init__(message)
        self.instance = instance


class WorkflowFailedError(OutcomeError, code="workflow-failed"):
    """The workflow failed; the message is its error."""


class WorkflowCancelledError(OutcomeError, code="workflow-cancelled"):
    """The instance was cancelled."""


class RunnerError(WorkflowError, code="runner-error"):
    """The runner gave no proper answer."""


class RunnerUnavailableError(RunnerError, code="runner-unavailable"):
    """The turn is asked again, no retry is used up (PROTOCOL.md section 4).

    `retry_after_s` is what the runner asked for, if it did. `has_dropped_turn` is true when the connection broke after
    the request was sent, which may mean that the runner dies on this step. `has_refused` is true when the runner is
    there and does not accept who asks (401), which passes only when somebody sees to it.
    """

    has_refused = False

    def __init__(self, reason: str, *, retry_after_s: float | None = None, has_dropped_turn: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.has_dropped_turn = has_dropped_turn


class MalformedAnswerError(RunnerError, code="malformed-answer"):
    """The answer is JSON but no proper action: a failed attempt."""


class AnswerTooLargeError(MalformedAnswerError, code="answer-too-large"):
    """The answer has more bytes than a runner may send: a failed attempt."""


class VarsTooLargeError(MalformedAnswerError, code="vars-too-large"):
    """The instance's variables would be too large together: a failed attempt."""


class TurnTimedOutError(RunnerError, code="turn-timed-out"):
    """No answer by the deadline: a failed attempt."""


class EngineError(WorkflowError, code="engine-error"):
    """This engine cannot do it now."""


class EngineNotRunningError(EngineError, code="engine-not-running"):
    """The engine has not been started, or is shutting down."""


class NoOwnerError(EngineError, code="no-owner"):
    """This process stands by, and whoever owns the file did not answer in time; one that answers may come soon."""


class OtherLoopError(EngineError, code="other-loop"):
    """The engine was started in another event loop than this call's, and can only be used there; nothing was done."""


class StoreError(WorkflowError, code="store-error"):
    """The database cannot be used."""


class DatabaseInUseError(StoreError, code="database-in-use"):
    """Another engine owns the file; the message names the owner."""


class DatabaseInUseHereError(DatabaseInUseError):
    """The owner is another engine of this same process: waiting for it to go would be waiting for oneself."""


class OwnershipLostError(StoreError, code="ownership-lost"):
    """The file or its lock was removed or replaced, or another engine has taken it over (PROMISES.md P21, P23)."""


class NewerDatabaseError(StoreError, code="newer-database"):
    """The file was written by a newer release."""


class WrongCodecError(StoreError, code="wrong-codec"):
    """The file is encrypted, and the codec is missing or has not its keys; nothing was changed."""


class CorruptDatabaseError(StoreError, code="corrupt-database"):
    """The file, or a row of it, cannot be read; it is never written to."""


class UnreadableInstanceError(CorruptDatabaseError, code="instance-unreadable"):
    """What the file holds of one instance cannot be read or does not add up; it is parked and the others go on (P18).

    Its history is not touched. Once its rows are repaired, `resume` reads them again.
    """


class StorageFullError(StoreError, code="storage-full"):
    """The disk is full; nothing was changed and the engine goes on when there is space."""


class StorageFailedError(StoreError, code="storage-failed"):
    """The disk failed again and again, or the file may only be read: nothing more is written (PROMISES.md P25).

    What was acknowledged is in the file. Mend what the message names, then start the engine again.
    """
