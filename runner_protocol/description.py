"""What a runner holds: the answer to `describe` (PROTOCOL.md section 6)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from runner_protocol.actions import Message
from runner_protocol.bounds import MAX_WORKFLOWS, ListOf
from runner_protocol.fields import Duration, Name


class DescribedWorkflow(Message):
    """A workflow that a runner holds, with the terms its author gave; null leaves the engine's."""

    name: Name
    version: Name | None = None
    description: str | None = None
    max_retries: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    step_timeout: Duration | None = None
    input_schema: dict[str, Any] | None = None


class Description(Message):
    """The answer to `mode: "describe"` (PROTOCOL.md section 6)."""

    action: Literal["description"] = "description"
    protocol: Annotated[int, Field(ge=1)] = 2
    workflows: Annotated[ListOf[DescribedWorkflow], Field(max_length=MAX_WORKFLOWS)]
    kit: str | None = None
