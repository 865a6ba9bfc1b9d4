"""The query of a list, read: its filter, and which page of it is wanted."""

import re
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request

from pylon_workflows.api.bodies import one_parameter
from pylon_workflows.api.bulk_shapes import BulkRequest
from pylon_workflows.core.instance import WAITING, Status
from pylon_workflows.errors import InvalidInputError, ListLimitError
from pylon_workflows.filters import BulkTerms, FilterTerms
from pylon_workflows.ids import check_instance_id
from pylon_workflows.ports import MAX_PAGE
from runner_protocol.fields import parse_timestamp

STATUS_WORDS = {"waiting": WAITING, **{status.value: (status,) for status in Status}}
"""The words that a list is filtered by. `waiting` means every kind of waiting."""

_REVISION = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_FILTERS = ("status", "name", "tag", "started_after", "started_before", "parent_id")


class ListQuery(NamedTuple):
    """What a request for a list wants."""

    where: FilterTerms
    after: str | None
    limit: int


def list_query(request: Request) -> ListQuery:
    """The query of a list. Raises InvalidInputError and its kinds, whose message begins with the parameter."""
    after = one_parameter(request, "after")
    if after is not None:
        check_instance_id(after, "after")
    return ListQuery(filter_terms(request), after, limit_of(request, most=MAX_PAGE, refusal=ListLimitError))


def next_page(request: Request, query: ListQuery, last_id: str) -> str:
    """The header Link that leads to the page after this id, under the same filter."""
    given = [(name, value) for name, value in request.query_params.multi_items() if name in _FILTERS]
    return f'<?{urlencode([*given, ("limit", query.limit), ("after", last_id)])}>; rel="next"'


def limit_of(request: Request, *, most: int, refusal: type[InvalidInputError]) -> int:
    """How many a page has: the parameter `limit`, or the most there may be. Raises `refusal`."""
    text = one_parameter(request, "limit")
    if text is None:
        return most
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
        raise refusal(f"limit: {text[:40]!r} is no number from 1 to {most}")
    return int(text)


def revision_of(request: Request, name: str) -> int | None:
    """The parameter that is a revision, or None. Raises InvalidInputError."""
    text = one_parameter(request, name)
    if text is not None and not _REVISION.fullmatch(text):
        raise InvalidInputError(f"{name}: {text[:40]!r} is no revision")
    return None if text is None else int(text)


def statuses_of(word: str) -> tuple[Status, ...]:
    """What a status word means, in any case. Raises InvalidInputError."""
    found = STATUS_WORDS.get(word.lower())
    if found is None:
        raise InvalidInputError(f"status: {word[:40]!r} is none of {', '.join(STATUS_WORDS)}")
    return found


def bulk_terms(body: BulkRequest) -> BulkTerms:
    """The terms of a change of many. Raises InvalidInputError."""
    if body.after is not None:
        check_instance_id(body.after, "after")
    words = [body.status] if isinstance(body.status, str) else body.status or []
    return BulkTerms(
        statuses=[status for word in words for status in statuses_of(word)],
        name=body.name,
        tags=body.tags or {},
        started_after=body.started_after,
        started_before=body.started_before,
        parent_id=body.parent_id,
        all=body.all,
        dry_run=body.dry_run,
        after=body.after,
        limit=body.limit,
    )


def filter_terms(request: Request) -> FilterTerms:
    """The filter of a list. Raises InvalidInputError and its kinds."""
    where = FilterTerms()
    word, name, parent_id = (one_parameter(request, each) for each in ("status", "name", "parent_id"))
    if word is not None:
        where["statuses"] = statuses_of(word)
    if name is not None:
        where["name"] = name
    if parent_id is not None:
        where["parent_id"] = parent_id
    if tags := request.query_params.getlist("tag"):
        where["tags"] = _tags(tags)
    if (text := one_parameter(request, "started_after")) is not None:
        where["started_after"] = _time(text, "started_after")
    if (text := one_parameter(request, "started_before")) is not None:
        where["started_before"] = _time(text, "started_before")
    return where


def _tags(texts: list[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon:
            raise InvalidInputError(f"tag: {text[:80]!r} should be a name, a colon and a value")
        if tags.setdefault(name, value) != value:
            raise InvalidInputError(f"tag: no instance has two values of {name[:80]!r}")
    return tags


def _time(text: str, name: str) -> datetime:
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise InvalidInputError(f"{name}: {error}") from None
