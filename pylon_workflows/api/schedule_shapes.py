"""What requests and answers about schedules must look like (see `schemas`)."""

from typing import Any, Literal

from pydantic import Field

from pylon_workflows.api.schemas import Json, Shape, TagTexts, empty_object
from runner_protocol.fields import Name, Timestamp


class ScheduleRequest(Shape):
    """Make a schedule, or change the one that has this id."""

    cron: str = Field(description="five fields: minute, hour, day of the month, month, day of the week")
    name: Name = Field(description="of the workflow")
    input: Json = Field(default_factory=empty_object, description="any JSON; {} when absent")
    id: str | None = Field(
        None, description="1 to 64 of the characters A-Z a-z 0-9 _ . : -; made of the rest when absent"
    )
    timezone: str | None = Field(None, description="such as Europe/Berlin; UTC when absent")
    missed: Literal["once", "skip"] | None = Field(
        None, description="one start for all ticks that nobody could start, or none; once when absent"
    )
    tags: TagTexts | None = Field(None, description="of the instances")


class ScheduleAnswer(Shape):
    """A schedule; `next_at` is null while it is paused, `last_at` is the tick of the last start."""

    id: str
    cron: str
    timezone: str
    name: str
    input: Any
    missed: Literal["once", "skip"]
    tags: dict[str, str]
    paused: bool
    next_at: Timestamp | None
    last_at: Timestamp | None
    last_instance_id: str | None
    created_at: Timestamp
