"""What requests and answers about many instances at once must look like (see `schemas`)."""

from pydantic import ConfigDict, Field

from pylon_workflows.api.schemas import IdText, Shape
from runner_protocol.fields import Name, Timestamp


class BulkRequest(Shape):
    """Which instances to cancel or to resume. An unknown field is refused: it may have been meant to spare some."""

    model_config = ConfigDict(extra="forbid")

    status: str | list[str] | None = Field(None, description="one or several of the words of a list")
    name: Name | None = None
    tags: dict[str, str] | None = Field(None, description="all of them")
    started_after: Timestamp | None = None
    started_before: Timestamp | None = None
    parent_id: IdText | None = None
    all: bool = Field(False, description="every instance; with no other term")
    dry_run: bool = Field(False, description="count them only")
    after: IdText | None = Field(None, description="the last answer's `after`")
    limit: int = 100


class BulkFailureAnswer(Shape):
    """An instance that could not be changed, and why."""

    id: str
    code: str
    detail: str


class BulkAnswer(Shape):
    """How many instances of this page were changed; the next page comes `after`, and null ends it."""

    count: int
    failures: list[BulkFailureAnswer]
    after: str | None
