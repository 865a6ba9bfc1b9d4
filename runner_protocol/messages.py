"""The messages of the step protocol: the engine's `TurnRequest`, the runner's `Action` (PROTOCOL.md sections 1, 2).

Types are strict (`"3"` is no number), unknown fields are ignored, so that either side may be newer than the other.
A class mirrors its tag: `step_complete` on the wire is `StepComplete` here.
"""

from functools import partial
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from runner_protocol.fields import Duration, DurationText, Key, Milliseconds, Name, NotYet, Timestamp
from runner_protocol.strict_json import MAX_DEPTH, JsonError, NotJsonError, TooDeepJsonError, encode_parsed, parse

PROTOCOL_VERSION = 2
MAX_ANSWER_BYTES = 4 * 1024 * 1024
UNKNOWN_STEP = "unknown"
UNKNOWN_ERROR = "Unknown error"

_ACTION_ENVELOPE, _REQUEST_ENVELOPE = 1, 3
_SHOWN = 200


class MalformedMessageError(ValueError):
    """The body is no message of the protocol; the text names the field and shows the beginning of the body."""


class NotJsonMessageError(MalformedMessageError):
    """The body is not even JSON; PROTOCOL.md section 4 takes it for a runner that is unavailable."""


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


class _Action(Message):
    vars: NotYet = None
    unset: NotYet = None


class StepComplete(_Action):
    """A step has run: its output is recorded and takes a position."""

    action: Literal["step_complete"] = "step_complete"
    step_name: Name | None = None
    key: Key | None = None
    output: Any = None
    duration_ms: Milliseconds | None = None
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None


class Sleep(_Action):
    """The workflow sleeps; the record is written when the sleep begins."""

    action: Literal["sleep"] = "sleep"
    duration: DurationText
    name: Name | None = None
    key: Key | None = None


class WaitEvent(_Action):
    """The workflow waits for a named event, at most `timeout` long."""

    action: Literal["wait_event"] = "wait_event"
    event: Name
    key: Key | None = None
    timeout: Duration | None = None
    on_timeout: Literal["return"] = "return"
    match: NotYet = None
    correlation: NotYet = None


class Complete(_Action):
    """The workflow has returned."""

    action: Literal["complete"] = "complete"
    output: Any = None


class Fail(_Action):
    """An attempt has failed: retried while its budget lasts, unless it is not retryable."""

    action: Literal["fail"] = "fail"
    step_name: Name | None = None
    key: Key | None = None
    error: str | ErrorDetail | None = None
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
    """Not now: the runner is to be asked again later; no retry is used up."""

    action: Literal["defer"] = "defer"
    retry_after: Duration
    reason: str = ""


class Diverged(_Action):
    """The code no longer fits the records; the instance is blocked until somebody resumes it."""

    action: Literal["diverged"] = "diverged"
    position: Annotated[int, Field(ge=0)]
    expected: str
    got: str


Action = StepComplete | Sleep | WaitEvent | Complete | Fail | Defer | Diverged

_TAGS = frozenset(action.model_fields["action"].default for action in get_args(Action))

RecordStatus = Literal["completed", "failed", "skipped"]
RecordKind = Literal["step", "sleep", "event"]


class StepRecord(Message):
    """One entry of `completed_steps`: a step, a failed attempt, a sleep or a received event."""

    step_id: str
    name: str
    status: RecordStatus
    output: Any = None
    error: str | None = None
    started_at: Timestamp
    completed_at: Timestamp
    duration_ms: int
    retry_count: int = 0
    key: str
    kind: str
    position: int | None
    final: bool = False
    timed_out: bool = False


class Attempt(Message):
    """How often the position now due has been tried."""

    number: int
    max: int
    last_error: str | None = None


class HistorySize(Message):
    """The size of the present run's history."""

    steps: int
    bytes: int


class TurnRequest(Message):
    """The question of one turn: everything a runner needs to go on with an instance."""

    workflow_id: str
    workflow_name: str
    input: Any
    current_step: Annotated[int, Field(ge=0)]
    completed_steps: list[StepRecord]
    protocol: int
    mode: str = "advance"
    run: int
    workflow_version: str | None = None
    started_at: Timestamp
    attempt: Attempt
    idempotency_key: str
    deadline: Timestamp
    now: Timestamp
    seed: str
    history: HistorySize


_ACTION: TypeAdapter[Action] = TypeAdapter(Annotated[Action, Field(discriminator="action")])
_validate_action = partial(_ACTION.validator.validate_python, strict=True)


def parse_action(body: bytes) -> Action:
    """Read a runner's answer.

    Raises:
        NotJsonMessageError: it is no JSON at all.
        MalformedMessageError: it is no proper action (PROTOCOL.md section 4).
    """
    return read_action(_parse(body, _ACTION_ENVELOPE), body)


def read_action(value: object, body: bytes = b"") -> Action:
    """Read an action from parsed JSON; `body` is what an error shows. Raises MalformedMessageError."""
    try:
        action: Action = _validate_action(value)
    except ValidationError as error:
        raise MalformedMessageError(_sentence(error, body)) from None
    return action


def parse_request(body: bytes) -> TurnRequest:
    """Read the engine's question. Raises MalformedMessageError."""
    try:
        return TurnRequest.model_validate(_parse(body, _REQUEST_ENVELOPE))
    except ValidationError as error:
        raise MalformedMessageError(_sentence(error, body)) from None


def encode_message(message: Message) -> bytes:
    """Write a message as JSON; fields that hold their default are left out, but for the tag."""
    fields = message.model_dump(exclude_defaults=True)
    tag = getattr(message, "action", None)
    return encode_parsed(fields if tag is None else {"action": tag, **fields})


def _parse(body: bytes, envelope: int) -> Any:
    try:
        value = parse(body, max_depth=MAX_DEPTH + envelope)
    except NotJsonError as error:
        raise NotJsonMessageError(f"{error}{_beginning(body)}") from None
    except TooDeepJsonError:
        raise MalformedMessageError(f"a value is nested deeper than {MAX_DEPTH}{_beginning(body)}") from None
    except JsonError as error:
        raise MalformedMessageError(f"{error}{_beginning(body)}") from None
    return value


def _sentence(error: ValidationError, body: bytes) -> str:
    first = error.errors(include_url=False)[0]
    if not first["loc"] and first["type"] in ("model_attributes_type", "model_type"):
        what = "the message is no JSON object"
    elif first["type"] == "union_tag_invalid":
        what = f"action: {str(first['ctx']['tag'])[:100]!r} is no action that this release knows"
    elif first["type"] == "union_tag_not_found":
        what = "action: the field is missing"
    else:
        place = [str(part) for index, part in enumerate(first["loc"]) if not (index == 0 and part in _TAGS)]
        what = f"{'.'.join(place) or 'the message'}: {first['msg'].removeprefix('Value error, ')}"
    return what + _beginning(body)


def _beginning(body: bytes) -> str:
    if not body:
        return ""
    shown = body[:_SHOWN].decode(errors="replace")
    return f"; the body begins {shown!r}"
