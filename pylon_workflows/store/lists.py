"""What is asked of the tables for a list: which index to walk down, and the statement that does.

All walks go from the newest to the oldest, each down an index that ends with the time of creation and the key, so that
nothing is sorted and a page costs what it shows and what its walk leaves out. Where a filter has several terms, the one
that the fewest instances meet leads, as far as counting a few entries of each index tells.
"""

# ruff: noqa: S608  only column names and fixed terms are put into statements; values are always parameters

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from pylon_workflows.filters import InstanceFilter
from pylon_workflows.store.codec import to_microseconds
from pylon_workflows.store.rows import SUMMARY_COLUMNS

_COUNTED = 1_000
"""Entries of each index that are looked at before one is chosen: about a tenth of a millisecond."""

Statement = tuple[str, list[Any]]


class Walk(NamedTuple):
    """A term of a filter: an index whose entries meet it, and how it is asked of an instance found by another."""

    by: str
    meets: str
    values: tuple[Any, ...] = ()
    if_found: str = ""
    is_of_tags: bool = False


def walks(where: InstanceFilter) -> list[list[Walk]]:
    """The ways to find what a filter wants, of which one is to be chosen: each a walk, or several to be merged."""
    ways = [[_of_tag(name, value)] for name, value in where.tags.items()]
    if where.parent_id is not None:
        ways.append([Walk("instances_by_parent", "instances.parent_id = ?", (where.parent_id,))])
    if where.statuses:
        ways.append([Walk("instances_by_status", "instances.status = ?", (status.value,)) for status in where.statuses])
    if where.name is not None:
        ways.append([Walk("instances_by_name", "instances.name = ?", (where.name,))])
    return ways or [[Walk("instances_by_creation", "true")]]


def _of_tag(name: str, value: str) -> Walk:
    return Walk(
        "tags_by_value",
        "tag.name = ? AND tag.value = ?",
        (name, value),
        "EXISTS (SELECT 1 FROM tags WHERE instance = instances.key AND name = ? AND value = ?)",
        is_of_tags=True,
    )


def count_statement(where: InstanceFilter, ways: Sequence[Sequence[Walk]]) -> Statement:
    """How many entries each way has, a column each; no more than 1,000 are counted."""
    columns, parameters = [], []
    for way in ways:
        counts = []
        for walk in way:
            terms, values = _bounds(where, walk)
            entries = f"SELECT 1 FROM {_source(walk, is_joined=False)} WHERE {' AND '.join([walk.meets, *terms])}"
            counts.append(f"(SELECT count(*) FROM ({entries} LIMIT {_COUNTED}))")
            parameters += [*walk.values, *values]
        columns.append(" + ".join(counts))
    return f"SELECT {', '.join(columns)}", parameters


def list_statement(
    where: InstanceFilter, ways: Sequence[Sequence[Walk]], leading: int, *, after: str | None, limit: int
) -> Statement:
    """The statement for `Store.list`, led by one of the ways; its rows are those of SUMMARY, after a key."""
    others = [way for number, way in enumerate(ways) if number != leading]
    selects, parameters = [], []
    for walk in ways[leading]:
        terms, values = _bounds(where, walk, after=after)
        found, sought = _others(others)
        condition = " AND ".join([walk.meets, *terms, *found])
        selects.append(
            f"SELECT instances.key, {SUMMARY_COLUMNS} FROM {_source(walk, is_joined=True)} WHERE {condition}"
        )
        parameters += [*walk.values, *values, *sought]
    created_at, key = ("created_at", "key") if len(selects) > 1 else _place(ways[leading][0])
    order = f"ORDER BY {created_at} DESC, {key} DESC LIMIT ?"
    return f"{' UNION ALL '.join(selects)} {order}", [*parameters, limit]


def _place(walk: Walk) -> tuple[str, str]:
    return ("tag.created_at", "tag.instance") if walk.is_of_tags else ("instances.created_at", "instances.key")


def _source(walk: Walk, *, is_joined: bool) -> str:
    if not walk.is_of_tags:
        return f"instances INDEXED BY {walk.by}"
    tags = f"tags AS tag INDEXED BY {walk.by}"
    return f"{tags} CROSS JOIN instances ON instances.key = tag.instance" if is_joined else tags


def _bounds(where: InstanceFilter, walk: Walk, *, after: str | None = None) -> tuple[list[str], list[Any]]:
    """Where the walk begins and ends. Only one upper bound can seek: that of a page is the lower of the two."""
    created_at, key = _place(walk)
    terms: dict[str, Any] = {}
    if after is not None:
        terms[f"({created_at}, {key}) < (SELECT created_at, key FROM instances WHERE id = ?)"] = after
    if where.started_before is not None:
        is_seeking = "" if after is None else "+"
        terms[f"{is_seeking}{created_at} < ?"] = to_microseconds(where.started_before)
    if where.started_after is not None:
        terms[f"{created_at} >= ?"] = to_microseconds(where.started_after)
    return list(terms), list(terms.values())


def _others(ways: Sequence[Sequence[Walk]]) -> tuple[list[str], list[Any]]:
    """What the ways that do not lead ask of an instance that was found."""
    terms = [f"({' OR '.join(walk.if_found or f'+{walk.meets}' for walk in way)})" for way in ways]
    return terms, list(_values(ways))


def _values(ways: Sequence[Sequence[Walk]]) -> Iterator[Any]:
    return chain.from_iterable(walk.values for way in ways for walk in way)
