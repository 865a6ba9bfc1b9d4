"""Schedules in their table: as rows, and what is asked and done there."""

# ruff: noqa: S608  only column names are put into statements; values are always parameters

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, get_args

from pylon_workflows.errors import CorruptDatabaseError, InvalidInputError
from pylon_workflows.schedule import Missed, Schedule
from pylon_workflows.store import writes
from pylon_workflows.store.codec import from_microseconds, to_microseconds
from pylon_workflows.store.rows import Row, or_none, text
from pylon_workflows.tags import checked_tags
from runner_protocol.strict_json import encode_parsed, parse

SCHEDULE = (
    "id", "cron", "timezone", "name", "input", "missed", "tags", "created_at", "next_at", "is_paused", "last_at",
    "last_instance_id",
)  # fmt: skip
_REPLACED = ("cron", "timezone", "name", "input", "missed", "tags", "next_at", "is_paused")

ALL = f"SELECT {', '.join(SCHEDULE)} FROM schedules ORDER BY id"
ONE = f"SELECT {', '.join(SCHEDULE)} FROM schedules WHERE id = ?"
DUE = "SELECT id FROM schedules WHERE next_at <= ? ORDER BY next_at, id LIMIT ?"
NEXT_DUE = "SELECT min(next_at) FROM schedules WHERE next_at > ?"
_SAVE = (
    f"INSERT INTO schedules ({', '.join(SCHEDULE)}) VALUES ({', '.join('?' * len(SCHEDULE))}) ON CONFLICT (id) "
    f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _REPLACED)}"
)


class TickRow(NamedTuple):
    """A tick as columns: when the schedule was due and is due next, and the instance that is started, if any."""

    schedule: str
    due_at: int | None
    next_at: int | None
    tick_at: int | None
    created: Row | None


def save_schedule(connection: sqlite3.Connection, rows: Sequence[Row]) -> Sequence[None]:
    """Insert or replace rows of SCHEDULE."""
    connection.executemany(_SAVE, rows)
    return [None] * len(rows)


def delete_schedule(connection: sqlite3.Connection, ids: Sequence[str]) -> Sequence[bool]:
    """Delete rows; whether each was there."""
    return [connection.execute("DELETE FROM schedules WHERE id = ?", (each,)).rowcount == 1 for each in ids]


def tick_schedule(connection: sqlite3.Connection, ticks: Sequence[TickRow]) -> Sequence[str | None]:
    """Move each schedule on and create its instance, unless it was due at another time; the id of its instance."""
    results: list[str | None] = []
    for each in ticks:
        moved = "UPDATE schedules SET next_at = ? WHERE id = ? AND next_at = ?"
        is_due = connection.execute(moved, (each.next_at, each.schedule, each.due_at)).rowcount == 1
        instance_id = None
        if is_due and each.created is not None:
            (taken_by,) = writes.create(connection, [each.created])
            instance_id = taken_by or each.created[0]
            connection.execute(
                "UPDATE schedules SET last_at = ?, last_instance_id = ? WHERE id = ?",
                (each.tick_at, instance_id, each.schedule),
            )
        results.append(instance_id)
    return results


def schedule_row(schedule: Schedule) -> Row:
    """A row of SCHEDULE."""
    return (
        schedule.id,
        schedule.cron,
        schedule.timezone,
        schedule.name,
        schedule.input_json,
        schedule.missed,
        encode_parsed(dict(schedule.tags)).decode(),
        to_microseconds(schedule.created_at),
        microseconds_or_none(schedule.next_at),
        int(schedule.is_paused),
        microseconds_or_none(schedule.last_at),
        schedule.last_instance_id,
    )


def schedule_from(row: Row) -> Schedule:
    """The schedule of a row of SCHEDULE. Raises CorruptDatabaseError, which names it and the column."""
    values: dict[str, Any] = {}
    for name, value in zip(SCHEDULE, row, strict=True):
        try:
            values[name] = _READ[name](value)
        except (InvalidInputError, TypeError, ValueError, OverflowError):
            what = f"the schedule {row[0]!r:.140} cannot be read: {name}: {value!r:.60}"
            raise CorruptDatabaseError(what) from None
    return Schedule(input_json=values.pop("input"), **values)


def schedules_from(rows: Iterable[Row]) -> tuple[list[Schedule], list[str]]:
    """The schedules of rows of SCHEDULE; and of each row that is none, a sentence that names it."""
    schedules, unreadable = [], []
    for row in rows:
        try:
            schedules.append(schedule_from(row))
        except CorruptDatabaseError as error:
            unreadable.append(str(error))
    return schedules, unreadable


def microseconds_or_none(moment: datetime | None) -> int | None:
    """A time as its column."""
    return None if moment is None else to_microseconds(moment)


def _missed(value: Any) -> Any:
    if value not in get_args(Missed):
        raise ValueError
    return value


def _json(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    parse(value)
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    "id": text,
    "cron": text,
    "timezone": text,
    "name": text,
    "input": _json,
    "missed": _missed,
    "tags": lambda value: checked_tags(json.loads(text(value))),
    "created_at": from_microseconds,
    "next_at": or_none(from_microseconds),
    "is_paused": bool,
    "last_at": or_none(from_microseconds),
    "last_instance_id": or_none(text),
}
"""How each column is read."""
