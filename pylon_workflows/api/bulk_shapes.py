"""What requests and answers about many instances at once must look like (see `schemas`)."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from pylon_workflows.api.schemas import IdText, Shape, TagTexts
from pylon_workflows.errors import InvalidInputError, ListLimitError
from runner_protocol.bounds import ListOf
from runner_protocol.fields import Name, Timestamp

MAX_STATUSES = 100


def _few(status: Any) -> Any:
    if isinstance(status, list) and len(status) > MAX_STATUSES:
        raise ListLimitError(f"status: must be at most {MAX_STATUSES}, not {len(status)}")
    return status


class BulkRequest(Shape):
    """Which instances to cancel or to resume. An unknown field is refused: it may have been meant to spare some."""

    model_config = ConfigDict(extra="forbid")

    status: Annotated[str | Annotated[ListOf[str], Field(max_length=MAX_STATUSES)] | None, BeforeValidator(_few)] = (
        Field(None, description="one or several of the words of a list")
    )
    name: Name | None = None
    tags: TagTexts | None = Field(None, description="all of them")
    started_after: Timestamp | None = None
    started_before: Timestamp | None = None
    parent_id: IdText | None = None
    all: bool = Field(False, description="every instance; with no other term")
    dry_run: bool = Field(False, description="count them only")
    after: IdText | None = Field(None, description="the last answer's `after`")
    limit: int = 100

    @model_validator(mode="before")
    @classmethod
    def _knows_each_field(cls, given: Any) -> Any:
        """Tell the first that is not known, where `extra` would make an error for each."""
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                raise InvalidInputError(f"{name:.80}: Extra inputs are not permitted")
        return given


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
