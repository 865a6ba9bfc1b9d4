"""What requests must look like, and how answers do: the models that bodies are read with and `openapi.json` shows.

Requests are strict about types and ignore fields that they do not know, as the wire's messages do, so that pylon's
clients and newer ones are understood.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pylon_workflows.canonical_json import MAX_COMMENT_LENGTH, CanonicalJson
from pylon_workflows.core.instance import Status
from pylon_workflows.definitions import MAX_DESCRIPTION_LENGTH, MAX_RETRIES, Source
from pylon_workflows.tags import check_count
from runner_protocol.durations import MAX_DURATION
from runner_protocol.fields import Name, Timestamp
from runner_protocol.messages import StepRecord
from runner_protocol.strict_json import encode_parsed


def _canonical(value: Any) -> CanonicalJson:
    return CanonicalJson(encode_parsed(value))


def empty_object() -> CanonicalJson:
    """What stands for an input or data that was left out."""
    return CanonicalJson(b"{}")


def _null() -> CanonicalJson:
    return CanonicalJson(b"null")


def _few(tags: Any) -> Any:
    if isinstance(tags, dict):
        check_count(tags)
    return tags


Json = Annotated[Any, AfterValidator(_canonical)]
"""Any JSON that `strict_json.parse` has read, written again at once: the bytes that are stored and sent on."""
IdText = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$"})]
"""An instance's id; what is wrong with one is told by `ids.py`, in its own words and with its own code."""
TagTexts = Annotated[dict[str, str], BeforeValidator(_few)]
"""Tags, counted before each of them is looked at; what is wrong with one is told by `tags.py`."""
Seconds = Annotated[float, Field(gt=0, le=MAX_DURATION.total_seconds(), allow_inf_nan=False)]
UnixSeconds = Annotated[float, Field(description="seconds since 1970-01-01T00:00:00Z")]


class Shape(BaseModel):
    """What all of them have in common."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class StartRequest(Shape):
    """Start an instance of a workflow."""

    name: Name
    input: Json = Field(default_factory=empty_object, description="any JSON; {} when absent")
    id: IdText | None = Field(None, description="1 to 128 of the characters A-Z a-z 0-9 _ . : -; made up when absent")
    idempotency_key: Name | None = Field(None, description="or the header Idempotency-Key")
    tags: TagTexts | None = Field(None, description="at most 32; names of A-Z a-z 0-9 _ . -, values of 256")
    delay: str | float | None = Field(None, description="begin after this duration: a text such as 24h, or seconds")
    at: Timestamp | None = Field(None, description="begin then; not with a delay")
    parent_id: IdText | None = Field(None, description="an instance to show it under; nothing follows from it")
    wait_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] | None = Field(
        None, description="answer when it has finished, or after so many seconds"
    )


class EventRequest(Shape):
    """Send an event to an instance."""

    event: Name
    data: Json = Field(default_factory=empty_object, description="any JSON; {} when absent")
    event_id: Name | None = Field(None, description="or the header webhook-id, or Idempotency-Key")


class ApprovalRequest(Shape):
    """Decide about a gate at which an instance waits."""

    decision: Literal["approve", "reject"]
    by: Name | None = Field(None, description="who decides")
    comment: Annotated[str, Field(max_length=MAX_COMMENT_LENGTH)] | None = None
    data: Json = Field(default_factory=_null, description="any JSON; null when absent")


class DefinitionRequest(Shape):
    """Register a workflow, or replace its registration."""

    name: Name
    version: Name | None = None
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION_LENGTH)] | None = None
    max_retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] | None = None
    step_timeout_s: Seconds | None = None
    step_timeout_secs: Seconds | None = Field(None, description="pylon's name for step_timeout_s")
    max_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="turns at a time; its fair share when absent"
    )
    input_schema: dict[str, Any] | None = Field(None, description="shown to callers, not enforced")
    file: str | None = Field(None, description="pylon's field, ignored: the runner knows its files")


class DefinitionAnswer(Shape):
    """A workflow's registration."""

    name: str
    version: str | None
    description: str | None
    max_retries: int
    step_timeout_s: float
    max_in_flight: int | None
    input_schema: dict[str, Any] | None
    source: Source


class SummaryAnswer(Shape):
    """An instance as a list shows it."""

    id: str
    name: str
    version: str | None
    run: int
    revision: int
    status: Status
    error: str | None
    current_step: int
    waiting_for: str | None
    wake_at: UnixSeconds | None
    retry_at: UnixSeconds | None
    blocked_reason: str | None
    max_retries: int
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    parent_id: str | None
    tags: dict[str, str]


class RunnerWaitAnswer(Shape):
    """The runner is away or puts the instance off, which is asked about again then at the earliest."""

    reason: str
    since: Timestamp
    next_try_at: Timestamp


class GateAnswer(Shape):
    """The gate at which an instance waits for a decision; null waits without end."""

    key: str
    name: str
    message: str
    data: Any
    requested_at: Timestamp
    expires_at: Timestamp | None


class GroupAnswer(Shape):
    """The `parallel` or `map` that is open, and how many of its members have succeeded and failed for good."""

    key: str
    kind: Literal["parallel", "map"]
    name: str
    total: int
    succeeded: int
    failed: int


class UsageAnswer(Shape):
    """What an instance and its children have cost so far; money as a decimal text."""

    cost_usd: str
    input_tokens: int
    output_tokens: int


class ProgressAnswer(Shape):
    """How far an instance says that it has come."""

    percent: float | None
    message: str | None


class ParentAnswer(Shape):
    """Who started a child, and by which record of which run; null for a parent that was only named at the start."""

    workflow_id: str
    key: str | None
    run: int | None


class ChildAnswer(Shape):
    """A child that has not finished, and the record that started it."""

    workflow_id: str
    key: str
    run: int
    on_parent_close: Literal["cancel", "abandon"]


class InstanceAnswer(SummaryAnswer):
    """An instance; `waiting_for_runner` is told by the process that drives, by others it is null."""

    approval: GateAnswer | None
    group: GroupAnswer | None
    vars: dict[str, Any]
    usage: UsageAnswer
    progress: ProgressAnswer | None
    parent: ParentAnswer | None
    children: list[ChildAnswer]
    waiting_for_runner: RunnerWaitAnswer | None
    input: Any
    output: Any
    error_detail: Any
    steps: list[StepRecord]


class StartAnswer(Shape):
    """The instance that a start led to. With `wait_s` all of it, or null when it had not finished in time."""

    id: str
    instance: InstanceAnswer | None = Field(None, description="only with wait_s")


class EventAnswer(Shape):
    """An accepted event."""

    ok: bool
    duplicate: bool


class ApprovalAnswer(Shape):
    """A decision that counts."""

    ok: bool
    duplicate: bool


class CancelAnswer(Shape):
    """A cancelled instance."""

    cancelled: bool


class StatusAnswer(Shape):
    """What the instance does now."""

    status: Status


class HealthAnswer(Shape):
    """The engine takes work, of its own file or for the process that owns it."""

    status: str
    role: Literal["owner", "standby"]
    unexplained_instances: int | None = Field(description="that nothing would let go on: should be 0; null: not known")
    given_up_webhooks: int | None = Field(description="to others, since the owner's start; null: not known")


class ProblemAnswer(Shape):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
