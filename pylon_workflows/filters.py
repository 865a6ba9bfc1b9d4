"""Which instances: what lists, and changes of many, go by."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict, cast

from pylon_workflows.canonical_json import checked_text
from pylon_workflows.core.instance import Status
from pylon_workflows.declared_types import check_names, check_type
from pylon_workflows.errors import HistoryLimitError, InvalidInputError, ListLimitError
from pylon_workflows.ids import check_instance_id
from pylon_workflows.summaries import MAX_HISTORY_PAGE, MAX_PAGE, InstanceSummary
from pylon_workflows.tags import checked_tags


class FilterTerms(TypedDict, total=False):
    """The arguments of `InstanceFilter`, for calls that take them as their own."""

    statuses: Sequence[Status]
    name: str | None
    tags: Mapping[str, str]
    started_after: datetime | None
    started_before: datetime | None
    parent_id: str | None


def _status(value: Any) -> Status:
    try:
        return Status(value)
    except ValueError:
        raise InvalidInputError(f"statuses: {value!r:.40} is none of {', '.join(Status)}") from None


class BulkTerms(FilterTerms, total=False):
    """Which instances to change: a filter's terms, or `all`; a page of `limit` (100) of them, `after` the last one.

    With `dry_run` they are only counted.
    """

    all: bool
    dry_run: bool
    after: str | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFilter:
    """Instances for which all of this is true; what is not given is true of each.

    One of the statuses; the workflow's name; all of the tags; created at `started_after` or later, and before
    `started_before` (times with a zone); the parent.

    Raises:
        InvalidInputError, InvalidIdError, NameTooLongError
    """

    statuses: Sequence[Status] = ()
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    started_after: datetime | None = None
    started_before: datetime | None = None
    parent_id: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.statuses, str) or not isinstance(self.statuses, Iterable):
            raise InvalidInputError(f"statuses: must be a list, such as ['blocked'], not {self.statuses!r:.40}")
        object.__setattr__(self, "statuses", tuple(dict.fromkeys(map(_status, self.statuses))))
        object.__setattr__(self, "tags", checked_tags(self.tags))
        if self.name is not None:
            checked_text(self.name, "name")
        if self.parent_id is not None:
            check_instance_id(self.parent_id, "parent_id")
        for term in ("started_after", "started_before"):
            moment = getattr(self, term)
            if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
                raise InvalidInputError(f"{term}: must be a time with a zone, not {moment!r:.40}")

    def fits(self, instance: InstanceSummary) -> bool:
        """Whether it is one of them."""
        return (
            (not self.statuses or instance.status in self.statuses)
            and self.name in (None, instance.name)
            and self.parent_id in (None, instance.parent_id)
            and self.tags.items() <= instance.tags.items()
            and (self.started_after is None or instance.created_at >= self.started_after)
            and (self.started_before is None or instance.created_at < self.started_before)
        )

    @property
    def is_empty(self) -> bool:
        """Whether every instance passes."""
        return self == EVERY_INSTANCE


EVERY_INSTANCE = InstanceFilter()


def filter_of(terms: FilterTerms) -> InstanceFilter:
    """The filter of a list's further arguments. Raises TypeError: one that there is not. As `InstanceFilter`."""
    check_names(terms, FilterTerms, "a filter")
    return InstanceFilter(**terms)


def bulk_filter(terms: BulkTerms) -> InstanceFilter:
    """The filter of a change of many, of whatever status. Raises as `filter_of`."""
    check_names(terms, BulkTerms, "a change of many")
    named = {name: value for name, value in terms.items() if name in FilterTerms.__annotations__}
    return InstanceFilter(**cast(FilterTerms, named))


def checked_history_limit(limit: int) -> int:
    """How many transitions a page has. Raises HistoryLimitError: not from 1 to 1,000."""
    check_type(limit, int, "limit")
    if not 1 <= limit <= MAX_HISTORY_PAGE:
        raise HistoryLimitError(f"limit: must be from 1 to {MAX_HISTORY_PAGE}, not {limit}")
    return limit


def checked_limit(limit: int) -> int:
    """How many instances a page has. Raises ListLimitError: not from 1 to 200."""
    check_type(limit, int, "limit")
    if not 1 <= limit <= MAX_PAGE:
        raise ListLimitError(f"limit: must be from 1 to {MAX_PAGE}, not {limit}")
    return limit
