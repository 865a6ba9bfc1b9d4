"""The messages of the step protocol: the engine's requests, the runner's actions (PROTOCOL.md sections 1, 2, 5, 6).

Types are strict (`"3"` is no number), unknown fields are ignored, so that either side may be newer than the other.
The actions are in `actions.py` and are imported from here.
"""

from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from runner_protocol.actions import (
    DEFAULT_MEMBERS_IN_FLIGHT,
    MAX_MEMBERS,
    TAGS,
    UNKNOWN_ERROR,
    UNKNOWN_STEP,
    Action,
    Approval,
    Complete,
    ContinueAsNew,
    Defer,
    Diverged,
    ErrorDetail,
    Fail,
    LogLine,
    Map,
    Member,
    Message,
    Parallel,
    Progress,
    RecordKind,
    Sleep,
    StartChild,
    StepComplete,
    StepSkip,
    StepStart,
    Usage,
    WaitEvent,
)
from runner_protocol.bounds import ListOf
from runner_protocol.description import DescribedWorkflow, Description
from runner_protocol.fields import Key, Name, Timestamp
from runner_protocol.hook_urls import HookGrant
from runner_protocol.strict_json import (
    MAX_DEPTH,
    JsonError,
    NotJsonError,
    TooDeepJsonError,
    encode_parsed,
    parse,
)

__all__ = [
    "ADVANCE", "DEFAULT_MEMBERS_IN_FLIGHT", "DESCRIBE", "DESCRIBE_REQUEST", "MAX_ANSWER_BYTES", "MAX_MEMBERS",
    "PROTOCOL_VERSION", "RUN_STEP", "UNKNOWN_ERROR", "UNKNOWN_STEP", "Action", "Approval", "Attempt", "Complete",
    "ContinueAsNew", "Defer", "DescribedWorkflow", "Description", "Diverged", "ErrorDetail", "Fail", "HistorySize",
    "HookGrant", "LogLine", "MalformedMessageError", "Map", "Member", "MemberRequest", "Message", "NotJsonMessageError",
    "Parallel", "ParentLink", "Progress", "RecordKind", "RecordStatus", "Sleep", "StartChild", "StepComplete",
    "StepRecord", "StepSkip", "StepStart", "TurnRequest", "Usage", "WaitEvent", "encode_message", "parse_action",
    "parse_description", "parse_question", "parse_request", "read_action",
]  # fmt: skip

PROTOCOL_VERSION = 2
ADVANCE, RUN_STEP, DESCRIBE = "advance", "run_step", "describe"
"""The modes of a request."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
ANSWER_DEPTH = MAX_DEPTH + 1
"""How deep an answer may nest, the action around a value counted."""
_REQUEST_DEPTH = MAX_DEPTH + 3
_SHOWN = 200


MessageT = TypeVar("MessageT", bound=Message)


class MalformedMessageError(ValueError):
    """The body is no message of the protocol; the text names the field and shows the beginning of the body."""


class NotJsonMessageError(MalformedMessageError):
    """The body is not even JSON; PROTOCOL.md section 4 takes it for a runner that is unavailable."""


RecordStatus = Literal["completed", "failed", "skipped"]


class UsageTotal(Message):
    """What a record cost: of a child it is a sum, so no bound holds but that nothing costs less than nothing."""

    cost_usd: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")] = "0"
    input_tokens: Annotated[int, Field(ge=0)] = 0
    output_tokens: Annotated[int, Field(ge=0)] = 0


class StepRecord(Message):
    """One entry of `completed_steps`. `kind` is a RecordKind, or the kind of the operation that a step was.

    `depends_on` are the keys of what it came after; `vars`, `unset` and `usage` are those applied with it.
    """

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
    input: Any = None
    usage: UsageTotal | None = None
    vars: dict[str, Any] | None = None
    unset: ListOf[str] | None = None
    depends_on: ListOf[str] = Field(default_factory=list)


class Attempt(Message):
    """How often the position now due has been tried."""

    number: int
    max: int
    last_error: str | None = None


class HistorySize(Message):
    """The size of the present run's history."""

    steps: int
    bytes: int


class ParentLink(Message):
    """Who started a child: the instance, and the key of its record; a parent that was only named has no key."""

    workflow_id: str
    key: str | None = None


class MemberRequest(Message):
    """The one member of a group that a `run_step` asks for."""

    group: Key
    name: Name
    key: Key
    index: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=1)]
    input: Any = None


class TurnRequest(Message):
    """The question of one turn, or with `run_step` of one member: all that a runner needs to go on with an instance.

    `vars` are those that the run began with, `noted` how many notes of this run are applied (`_Action.noted`).
    """

    workflow_id: str
    workflow_name: str
    input: Any
    current_step: Annotated[int, Field(ge=0)]
    completed_steps: ListOf[StepRecord]
    protocol: int
    mode: str = ADVANCE
    run: int
    workflow_version: str | None = None
    started_at: Timestamp
    attempt: Attempt
    idempotency_key: str
    deadline: Timestamp
    now: Timestamp
    seed: str
    history: HistorySize
    vars: dict[str, Any] = Field(default_factory=dict)
    noted: Annotated[int, Field(ge=0)] = 0
    parent: ParentLink | None = None
    hooks: HookGrant | None = None
    member: MemberRequest | None = None


_ACTION: TypeAdapter[Action] = TypeAdapter(Annotated[Action, Field(discriminator="action")])
_validate_action = partial(_ACTION.validator.validate_python, strict=True)

DESCRIBE_REQUEST = b'{"protocol":2,"mode":"describe"}'
"""The question that a runner answers with a Description."""


def parse_action(body: bytes) -> Action:
    """Read a runner's answer.

    Raises:
        NotJsonMessageError: it is no JSON at all.
        MalformedMessageError: it is no proper action (PROTOCOL.md section 4).
    """
    return read_action(_parse(body, ANSWER_DEPTH), body)


def read_action(value: object, body: bytes = b"") -> Action:
    """Read an action from parsed JSON; `body` is what an error shows. Raises MalformedMessageError."""
    try:
        action: Action = _validate_action(value)
    except ValidationError as error:
        raise MalformedMessageError(_sentence(error, body)) from None
    return action


def parse_request(body: bytes) -> TurnRequest:
    """Read the question of a turn. Raises MalformedMessageError."""
    return _read(TurnRequest, _parse(body, _REQUEST_DEPTH), body)


def parse_question(body: bytes) -> TurnRequest | None:
    """Read whatever an engine asks; None asks for a Description. Raises MalformedMessageError."""
    value = _parse(body, _REQUEST_DEPTH)
    if isinstance(value, dict) and value.get("mode") == DESCRIBE:
        return None
    return _read(TurnRequest, value, body)


def parse_description(body: bytes) -> Description:
    """Read a runner's answer to `describe`. Raises NotJsonMessageError, MalformedMessageError."""
    return _read(Description, _parse(body, ANSWER_DEPTH), body)


def _read(kind: type[MessageT], value: object, body: bytes) -> MessageT:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise MalformedMessageError(_sentence(error, body)) from None


def encode_message(message: Message) -> bytes:
    """Write a message as JSON; fields that hold their default are left out, but for the tag."""
    fields = message.model_dump(exclude_defaults=True)
    tag = getattr(message, "action", None)
    return encode_parsed(fields if tag is None else {"action": tag, **fields})


def _parse(body: bytes, max_depth: int) -> Any:
    try:
        value = parse(body, max_depth=max_depth)
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
        place = [str(part) for index, part in enumerate(first["loc"]) if not (index == 0 and part in TAGS)]
        what = f"{'.'.join(place)[:_SHOWN] or 'the message'}: {first['msg'].removeprefix('Value error, ')}"
    return what + _beginning(body)


def _beginning(body: bytes) -> str:
    if not body:
        return ""
    shown = body[:_SHOWN].decode(errors="replace")
    return f"; the body begins {shown!r}"
