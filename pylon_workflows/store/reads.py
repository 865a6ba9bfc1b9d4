"""What is asked of the tables, over connections that cannot write.

There are three: one for histories, which may be long, one for lists, whose filters may leave out much before they find
what they want, and one for everything else, which then never waits for either. Each call is one hop to a connection's
thread and one statement, but for a list with a filter of several terms: that asks first which of them leads.
"""

# ruff: noqa: S608  only column names and fixed terms are put into statements; values are always parameters

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import aiosqlite

from pylon_workflows.core.instance import FINISHED, Status
from pylon_workflows.core.revisions import last_revision
from pylon_workflows.core.transitions import Transition
from pylon_workflows.errors import CorruptDatabaseError, StoreError, UnreadableInstanceError
from pylon_workflows.filters import InstanceFilter
from pylon_workflows.ports import PARKED, HistoryPage, InstanceSummary
from pylon_workflows.store import lists
from pylon_workflows.store.codec import check_revision, decode_rows, to_microseconds
from pylon_workflows.store.failures import translate
from pylon_workflows.store.file_copies import uri
from pylon_workflows.store.rows import DEFINITION, SUMMARY_COLUMNS, summary_from
from pylon_workflows.store.sealing import Seal
from pylon_workflows.summaries import MAX_HISTORY_PAGE_BYTES

Rows = Sequence[Any]

_DECODED_AT_A_TIME = 250
"""Transitions, before the event loop may do something else: about two milliseconds."""

_INSPECTED_AT_A_TIME = 20_000
"""Rows, before this connection may do something else: about ten milliseconds."""

EARLIEST, _LATEST = (
    to_microseconds(datetime.min.replace(tzinfo=UTC)),
    to_microseconds(datetime.max.replace(tzinfo=UTC)),
)

SUMMARY_OF = f"SELECT {SUMMARY_COLUMNS} FROM instances WHERE id = ?"
DUE = "SELECT id FROM instances WHERE due_at <= ? ORDER BY due_at, key LIMIT ?"
NEXT_DUE = "SELECT min(due_at) FROM instances WHERE due_at > ?"
UNANNOUNCED = "SELECT id FROM instances WHERE is_unannounced = 1 ORDER BY key LIMIT ?"
COMPLETED_BEFORE = (
    "SELECT id FROM instances WHERE completed_at < ? AND is_unannounced = 0 ORDER BY completed_at, key LIMIT ?"
)
BEYOND_NEWEST = """
SELECT id FROM instances WHERE completed_at IS NOT NULL AND (completed_at, key) <= (
    SELECT completed_at, key FROM instances WHERE completed_at IS NOT NULL
    ORDER BY completed_at DESC, key DESC LIMIT 1 OFFSET ?
) AND is_unannounced = 0 ORDER BY completed_at, key LIMIT ?
"""
DEFINITIONS = f"SELECT {', '.join(DEFINITION)} FROM definitions ORDER BY name"
_AMONG_RUNNABLE = (
    "FROM instances INDEXED BY instances_runnable WHERE status IN ('pending', 'running') AND due_at IS NULL"
)
_RUNNABLE = f"SELECT id {_AMONG_RUNNABLE}"
RUNNABLE_NAMES = f"""
WITH RECURSIVE names (name) AS (
    SELECT min(name) {_AMONG_RUNNABLE}
    UNION ALL
    SELECT (SELECT min(name) {_AMONG_RUNNABLE} AND name > names.name) FROM names WHERE names.name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL
"""
_STATUSES = ", ".join(f"'{status.value}'" for status in Status)
_HAS_FINISHED = f"status IN ({', '.join(repr(status.value) for status in sorted(FINISHED))})"
_TIMES = ("due_at", "started_at", "completed_at")
SUSPECTS = f"""
SELECT id FROM instances WHERE key > ? AND key <= ? AND (
    status NOT IN ({_STATUSES})
    OR (status = 'blocked' AND (blocked_reason IS NULL OR substr(blocked_reason, 1, {len(PARKED)}) = '{PARKED}'))
    OR (status = 'sleeping' AND due_at IS NULL)
    OR (status IN ('waiting_for_event', 'awaiting_approval', 'waiting_for_child') AND waiting_for IS NULL)
    OR ({_HAS_FINISHED}) <> (completed_at IS NOT NULL)
    OR ({_HAS_FINISHED} OR status = 'blocked') AND due_at IS NOT NULL
    OR {" OR ".join(f"typeof({name}) <> 'integer'" for name in ("run", "revision", "current_step", "created_at"))}
    OR typeof(max_retries) <> 'integer'
    OR {" OR ".join(f"typeof({name}) NOT IN ('integer', 'null')" for name in _TIMES)}
    OR {" OR ".join(f"{name} NOT BETWEEN {EARLIEST} AND {_LATEST}" for name in (*_TIMES, "created_at"))}
) ORDER BY key
"""
SIZES = """
SELECT instances.revision, history.revision, length(body) + coalesce(length(payload), 0)
FROM instances LEFT JOIN history ON instance = key AND history.revision > ?2
WHERE id = ?1 ORDER BY history.revision LIMIT ?3
"""
PAGE = """
SELECT revision, type, at, body, payload FROM history
WHERE instance = (SELECT key FROM instances WHERE id = ?1) AND revision > ?2 AND revision <= ?3 ORDER BY revision
"""
HISTORIES = """
SELECT instances.id, instances.revision, history.revision, history.type, at, body, payload
FROM json_each(?) AS wanted
CROSS JOIN instances ON instances.id = wanted.value
LEFT JOIN history ON history.instance = instances.key
"""


any_text = partial(str, encoding="utf-8", errors="surrogateescape")
"""A text that may not be UTF-8: then it holds surrogates, and is refused where it is looked at.

Left to itself the connection fails in the middle of the statement, and goes on to see the file as it was then.
"""


class Reader:
    """One connection in read-only mode; every statement sees what had been committed when it began."""

    def __init__(self, path: Path, seal: Seal | None = None) -> None:
        self._path = path
        self._seal = seal
        self._connection: aiosqlite.Connection | None = None

    async def open(self) -> None:
        """Connect to a file that exists."""
        connection = aiosqlite.connect(uri(self._path, "mode=ro"), uri=True, isolation_level=None)
        thread: Any = getattr(connection, "_thread", connection)  # before aiosqlite 0.22 it is one itself
        thread.daemon = True  # a program that ends without closing does not wait for it
        self._connection = await connection
        self._connection.text_factory = any_text
        if self._seal is not None:
            self._connection.row_factory = self._seal.opened  # type: ignore[assignment]

    async def close(self) -> None:
        """Disconnect, after the calls that are under way."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def rows(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """All rows of a statement. Raises StoreError."""
        if self._connection is None:
            raise StoreError("the database is not open")
        try:
            found = await self._connection.execute_fetchall(statement, parameters)
        except (sqlite3.Error, ValueError) as error:
            raise translate(error, str(self._path)) from error
        return [*found]

    async def ids(self, statement: str, parameters: Sequence[Any] = ()) -> list[str]:
        """The first column of all rows of a statement. Raises StoreError."""
        return [row[0] for row in await self.rows(statement, parameters)]


def _bytes_of(text: str) -> bytes:
    """What `any_text` has read; a name that is not UTF-8 is a name all the same."""
    return text.encode(errors="surrogateescape")


async def suspects(reader: Reader) -> AsyncIterator[str]:
    """`Store.suspects`; the rows are looked at piece by piece, so that nobody waits long for the connection."""
    first, ((last,),) = 0, await reader.rows("SELECT coalesce(max(key), 0) FROM instances")
    while first < last:
        for instance_id in await reader.ids(SUSPECTS, (first, first + _INSPECTED_AT_A_TIME)):
            yield instance_id
        first += _INSPECTED_AT_A_TIME


async def history_page(
    reader: Reader, instance_id: str, *, after: int, limit: int, is_again: bool = False
) -> HistoryPage | None:
    """`Store.history_page`: first how large the rows are, then as many as may be; once more if some went meanwhile."""
    sizes = await reader.rows(SIZES, (instance_id, after, limit))
    if not sizes:
        return None
    last, total = after, 0
    for _, number, size in sizes:
        total += size or 0
        if number is not None and (last == after or total <= MAX_HISTORY_PAGE_BYTES):
            last = number
    rows = [] if last == after else await reader.rows(PAGE, (instance_id, after, last))
    try:
        transitions = list(decode_rows(instance_id, rows, first=after + 1))
    except TypeError as error:
        raise UnreadableInstanceError(f"instance {instance_id}: a revision is no number") from error
    revision = sizes[0][0]
    if last_revision(transitions, after=after) != last or type(revision) is not int:
        if not is_again:
            return await history_page(reader, instance_id, after=after, limit=limit, is_again=True)
        raise UnreadableInstanceError(f"instance {instance_id}: its history is not whole after revision {after}")
    return HistoryPage(after=after, transitions=transitions, revision=revision)


async def histories(
    reader: Reader, instance_ids: Sequence[str]
) -> Mapping[str, Sequence[Transition] | CorruptDatabaseError]:
    """`Store.histories`; damage in one instance's pages costs that instance alone."""
    ids = list(dict.fromkeys(instance_ids))
    try:
        rows = await reader.rows(HISTORIES, (json.dumps(ids),))
    except CorruptDatabaseError as error:
        if len(ids) == 1:
            return {ids[0]: error}
        found: dict[str, Sequence[Transition] | CorruptDatabaseError] = {}
        for instance_id in ids:
            found.update(await histories(reader, [instance_id]))
        return found
    decoded: dict[str, Sequence[Transition] | CorruptDatabaseError] = {}
    count = 0
    for instance_id, its_rows in groupby(rows, key=itemgetter(0)):
        history: list[Transition] = []
        try:
            revision, transitions = _in_order(instance_id, list(its_rows))
            for transition in decode_rows(instance_id, transitions):
                history.append(transition)
                count += 1
                if count % _DECODED_AT_A_TIME == 0:
                    await asyncio.sleep(0)
            check_revision(instance_id, history, revision)
        except UnreadableInstanceError as error:
            decoded[instance_id] = error
        else:
            decoded[instance_id] = history
    return decoded


def _in_order(instance_id: str, rows: list[tuple[Any, ...]]) -> tuple[object, Sequence[tuple[Any, ...]]]:
    """The instance's revision, and the rows of its history as `decode_rows` takes them."""
    transitions = [row[2:] for row in rows if row[3] is not None]
    if any(type(transition[0]) is not int for transition in transitions):
        raise UnreadableInstanceError(f"instance {instance_id}: its history has a revision that is no number")
    return rows[0][1], sorted(transitions, key=itemgetter(0))


def runnable_statement(name: str, *, after: str | None, limit: int) -> tuple[str, list[Any]]:
    """The statement for `Store.runnable`: a walk up the index of the runnable, from the front after an unknown id."""
    of_name, its_name = f"{_RUNNABLE} AND name = CAST(? AS TEXT)", _bytes_of(name)
    if after is None:
        return f"{of_name} ORDER BY key LIMIT ?", [its_name, limit]
    start = "coalesce((SELECT key FROM instances WHERE id = ?), 0)"
    return f"{of_name} AND key > {start} ORDER BY key LIMIT ?", [its_name, after, limit]


async def list_page(
    reader: Reader, where: InstanceFilter, *, after: str | None, limit: int
) -> Sequence[InstanceSummary]:
    """`Store.list`."""
    ways, leading = lists.walks(where), 0
    if len(ways) > 1:
        (counts,) = await reader.rows(*lists.count_statement(where, ways))
        leading = counts.index(min(counts))
    rows = await reader.rows(*lists.list_statement(where, ways, leading, after=after, limit=limit))
    return [summary_from(row[1:]) for row in rows]
