"""What a runner may answer: each action a class that mirrors its tag, `step_complete` is `StepComplete`.

PROTOCOL.md section 2 says what each means, section 5 how the members of `parallel` and `map` are asked for.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from runner_protocol.bounds import ListOf, Match, Path, VarNames, Vars, kept_lines
from runner_protocol.fields import Cost, Duration, DurationText, InstanceId, Key, Milliseconds, Name, Timestamp

UNKNOWN_STEP = "unknown"
UNKNOWN_ERROR = "Unknown error"
MAX_MEMBERS = 100_000
MAX_MEMBERS_IN_FLIGHT = 1_000
DEFAULT_MEMBERS_IN_FLIGHT = 10

RecordKind = Literal["step", "sleep", "event", "approval", "child", "parallel", "map"]
_NO_OPERATION = frozenset(get_args(RecordKind)) - {"step"}


def _operation(kind: str) -> str:
    if kind in _NO_OPERATION:
        raise ValueError(f"{kind!r} is what another action records, not a kind of step")
    return kind


MAX_COUNT = 2**53 - 1
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
OperationKind = Annotated[Name, AfterValidator(_operation)]


class Message(BaseModel):
    """What every message has in common: strict types, unknown fields ignored, never changed after it is made."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class ErrorDetail(Message):
    """An error as an object; runners get its `message` back, people see all of it."""

    type: str | None = None
    message: str = UNKNOWN_ERROR
    code: str | int | None = None
    data: Any = None
    stack: str | None = None


class Usage(Message):
    """What something cost: money as a decimal text, so that sums are exact."""

    cost_usd: Cost = "0"
    input_tokens: Count = 0
    output_tokens: Count = 0


class Progress(Message):
    """How far an instance has come, for people; the latest counts."""

    percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    message: str | None = None


class LogLine(Message):
    """A line for people, kept in the instance's history."""

    at: Timestamp
    level: Literal["debug", "info", "warning", "error"] = "info"
    message: str


class _Action(Message):
    """What any action may carry beside; applied once, together with it.

    `noted` is how many of the run's notes (each `vars`, `usage`, `progress` or log line that the workflow's function
    itself made) are applied once this action is: the next request says it again, so that a replay sends none twice.
    """

    vars: Vars | None = None
    unset: VarNames | None = None
    usage: Usage | None = None
    progress: Progress | None = None
    logs: Annotated[ListOf[LogLine], BeforeValidator(kept_lines)] | None = None
    noted: Count | None = None


class _RecordingAction(_Action):
    """An action that makes a record, now or later.

    `after` is how many positions had been handed to the code when it asked for this: what the record depends on.
    """

    key: Key | None = None
    after: Count | None = None


class StepComplete(_RecordingAction):
    """A step has run: its output is recorded and takes a position. An operation has a `kind` and an `input`."""

    action: Literal["step_complete"] = "step_complete"
    step_name: Name | None = None
    output: Any = None
    kind: OperationKind = "step"
    input: Any = None
    duration_ms: Milliseconds | None = None
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None


class StepStart(Message):
    """In a stream: this step has begun and may take this long. Nothing is applied."""

    action: Literal["step_start"] = "step_start"
    step_name: Name | None = None
    key: Key
    timeout: Duration


class StepSkip(_RecordingAction):
    """A step is left out for a reason: recorded as skipped, which is not completed."""

    action: Literal["step_skip"] = "step_skip"
    step_name: Name | None = None
    reason: str = ""


class Sleep(_RecordingAction):
    """The workflow sleeps, for a `duration` or `until` a time; the record is written when the sleep begins."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["duration"]}, {"required": ["until"]}]})

    action: Literal["sleep"] = "sleep"
    duration: DurationText | None = None
    until: Timestamp | None = None
    name: Name | None = None

    @model_validator(mode="after")
    def _has_one_end(self) -> Self:
        if (self.duration is None) == (self.until is None):
            raise ValueError("either a duration or an until is needed, and not both")
        return self


class WaitEvent(_RecordingAction):
    """The workflow waits for a named event that matches, at most `timeout` long.

    `match` compares dotted paths of the event's data with values; `correlation` is a second address of the instance.
    """

    action: Literal["wait_event"] = "wait_event"
    event: Name
    timeout: Duration | None = None
    on_timeout: Literal["return", "fail"] = "return"
    match: Match | None = None
    correlation: Path | None = None


class Approval(_RecordingAction):
    """The workflow waits for a person's decision; a rejection is a value, not a failure."""

    action: Literal["approval"] = "approval"
    name: Name
    message: str = ""
    data: Any = None
    timeout: Duration | None = None
    on_timeout: Literal["reject", "fail"] = "reject"


class Member(Message):
    """One member of a `parallel`."""

    name: Name
    input: Any = None


class _Group(_RecordingAction):
    name: Name
    max_in_flight: Annotated[int, Field(ge=1, le=MAX_MEMBERS_IN_FLIGHT)] = DEFAULT_MEMBERS_IN_FLIGHT


class Parallel(_Group):
    """Named members, each run by a call of its own; the output is an object of their outputs."""

    action: Literal["parallel"] = "parallel"
    members: Annotated[ListOf[Member], Field(max_length=MAX_MEMBERS)]
    fail_fast: bool = True

    @model_validator(mode="after")
    def _has_each_name_once(self) -> Self:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError("two members have one name")
        return self


class Map(_Group):
    """One member an item, each run by a call of its own; the output is the list of their outputs, in order."""

    action: Literal["map"] = "map"
    items: Annotated[list[Any], Field(max_length=MAX_MEMBERS)]
    fail_fast: bool = True


class StartChild(_RecordingAction):
    """Another workflow is started; with `wait` its output, or its failure, is this record's."""

    action: Literal["start_child"] = "start_child"
    name: Name
    workflow: Name
    input: Any = None
    id: InstanceId | None = None
    wait: bool = True
    on_parent_close: Literal["cancel", "abandon"] = "cancel"


class Complete(_Action):
    """The workflow has returned."""

    action: Literal["complete"] = "complete"
    output: Any = None


class ContinueAsNew(_Action):
    """The run ends and the next one begins, with this input and no records."""

    action: Literal["continue_as_new"] = "continue_as_new"
    input: Any = None


class Fail(_RecordingAction):
    """An attempt has failed: retried while its budget lasts, unless it is not retryable.

    That of an operation has its `kind` and its `input`, as in StepComplete.
    """

    action: Literal["fail"] = "fail"
    step_name: Name | None = None
    error: str | ErrorDetail | None = None
    kind: OperationKind = "step"
    input: Any = None
    retryable: bool = True
    retry_after: Duration | None = None
    max_retries: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    on_exhausted: Literal["throw"] | None = None
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    duration_ms: Milliseconds | None = None

    @property
    def message(self) -> str:
        """The error as one sentence; `Unknown error` when the runner gave none."""
        if isinstance(self.error, ErrorDetail):
            return self.error.message
        return UNKNOWN_ERROR if self.error is None else self.error


class Defer(_Action):
    """Not now: the runner is to be asked again later; no retry is used up, nothing it carries is applied."""

    action: Literal["defer"] = "defer"
    retry_after: Duration
    reason: str = ""


class Diverged(_Action):
    """The code no longer fits the records; the instance is blocked until somebody resumes it."""

    action: Literal["diverged"] = "diverged"
    position: Annotated[int, Field(ge=0)]
    expected: str
    got: str


Action = (
    StepComplete
    | StepStart
    | StepSkip
    | Sleep
    | WaitEvent
    | Approval
    | Parallel
    | Map
    | StartChild
    | Complete
    | ContinueAsNew
    | Fail
    | Defer
    | Diverged
)

TAGS = frozenset(action.model_fields["action"].default for action in get_args(Action))
