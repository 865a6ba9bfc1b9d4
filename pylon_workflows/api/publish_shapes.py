"""What a request that publishes an event must look like (see `schemas`)."""

from typing import Annotated

from pydantic import Field

from pylon_workflows.api.schemas import IdText, Json, Shape, TagTexts, empty_object
from pylon_workflows.published import MAX_CORRELATION_LENGTH
from runner_protocol.fields import Name


class PublishedStartRequest(Shape):
    """What the event starts when no instance waits for it."""

    name: Name = Field(description="of the workflow")
    input: Json = Field(default_factory=empty_object, description="any JSON; {} when absent")
    id: IdText | None = Field(None, description="of the instance; an event that finds it taken is kept for a wait")
    tags: TagTexts | None = Field(None, description="of the instance")


class PublishRequest(Shape):
    """Publish an event for whichever instance waits for it with this correlation key."""

    event: Name
    correlation: Annotated[str, Field(min_length=1, max_length=MAX_CORRELATION_LENGTH)]
    data: Json = Field(default_factory=empty_object, description="any JSON; {} when absent")
    event_id: Name | None = Field(None, description="or the header webhook-id, or Idempotency-Key")
    source: str = Field("", description="whose ids these are; at most 64 of the characters A-Z a-z 0-9 _ . -")
    start: PublishedStartRequest | None = Field(None, description="what to start when no instance waits for it")
