"""Published events in their table: as rows, and what is asked and done there."""

# ruff: noqa: S608  only column names are put into statements; values are always parameters

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pylon_workflows.core.transitions import WaitStarted
from pylon_workflows.errors import CorruptDatabaseError, InvalidInputError
from pylon_workflows.ports import Acceptance, StartOutcome
from pylon_workflows.published import Correlation, KeptUnder, PublishedEvent, StartTerms
from pylon_workflows.store import writes
from pylon_workflows.store.codec import from_microseconds, to_microseconds
from pylon_workflows.store.rows import Row, or_none, text
from pylon_workflows.tags import checked_tags
from runner_protocol.strict_json import encode_parsed, parse

EVENT = ("source", "event_id", "event", "correlation", "received_at", "start", "start_input", "data")
ACCEPTED = (*EVENT, "keep_until", "remember_until")
_IS_KEPT = "outcome IS NULL"
_IS_AWAITED = """EXISTS (
    SELECT 1 FROM instances WHERE instances.correlation = kept.correlation AND waiting_for = kept.event
    AND status = 'waiting_for_event'
)"""

ALL_KEPT = f"SELECT key, {', '.join(EVENT)} FROM published WHERE {_IS_KEPT} ORDER BY key"
COUNT_REMEMBERED = "SELECT count(*) FROM published WHERE outcome IS NOT NULL"
ONE = f"SELECT {', '.join(EVENT)} FROM published WHERE key = ? AND {_IS_KEPT}"
KEPT = f"""
SELECT key FROM published WHERE correlation = ? AND event = ? AND {_IS_KEPT} AND key > ? ORDER BY key LIMIT ?
"""
KEPT_UNDER_KEY = f"SELECT key FROM published WHERE correlation = ? AND {_IS_KEPT} AND key > ? ORDER BY key LIMIT ?"
KEPT_UNDER_OTHER_KEYS = f"""
SELECT correlation, received_at FROM (
    SELECT event, correlation, received_at, keep_until, key FROM published
    WHERE {_IS_KEPT} ORDER BY keep_until DESC, key DESC LIMIT ?
) WHERE event = ? AND correlation <> ? ORDER BY keep_until DESC, key DESC
"""
"""Of the newest kept ones, by the index over when they expire: no index finds a name whatever its key."""
_THAT_WAIT = """
WHERE correlation = ? AND waiting_for = ? AND (waiting_since, key) > (?, ?) AND status = 'waiting_for_event'
ORDER BY waiting_since, key LIMIT ?
"""
WAITS = f"SELECT id, waiting_since, key, NULL, NULL FROM instances {_THAT_WAIT}"
WAITS_WITH_MATCH = f"""
SELECT id, waiting_since, key, iif(typeof(body) = 'blob', body, NULL), payload
FROM instances LEFT JOIN history ON history.rowid = (
    SELECT rowid FROM history WHERE instance = instances.key AND type = '{WaitStarted.__name__}'
    ORDER BY history.revision DESC LIMIT 1
) {_THAT_WAIT}
"""
"""A body is read where it is encrypted: then it holds the payload, too."""
OPEN_KEYS = f"""
SELECT correlation, event, has_start OR {_IS_AWAITED} FROM (
    SELECT correlation, event, max(start IS NOT NULL) AS has_start FROM published
    WHERE {_IS_KEPT} AND (correlation, event) > (?, ?)
    GROUP BY correlation, event ORDER BY correlation, event LIMIT ?
) AS kept
"""
AWAITED = f"""
SELECT DISTINCT correlation, waiting_for FROM json_each(?) AS wanted CROSS JOIN instances ON instances.id = value
WHERE correlation IS NOT NULL AND status = 'waiting_for_event' AND EXISTS (
    SELECT 1 FROM published
    WHERE published.correlation = instances.correlation AND event = waiting_for AND {_IS_KEPT}
)
"""

_KNOWN = "SELECT key, outcome, correlation, event FROM published WHERE source = ? AND event_id = ?"
_IS_FULL = f"SELECT 1 FROM published WHERE correlation = ? AND event = ? AND {_IS_KEPT} LIMIT 1 OFFSET ?"
_ACCEPT = f"INSERT INTO published ({', '.join(ACCEPTED)}) VALUES ({', '.join('?' * len(ACCEPTED))})"
_SETTLE = "UPDATE published SET outcome = ?, instance_id = ?, start = NULL, start_input = NULL, data = NULL"
_CLAIM = f"{_SETTLE} WHERE key = ? AND {_IS_KEPT}"
_START_NOTHING = "UPDATE published SET start = NULL, start_input = NULL WHERE key = ?"
_EXPIRED = f"SELECT key, event FROM published WHERE {_IS_KEPT} AND keep_until <= ? ORDER BY keep_until LIMIT ?"
IS_ANY_EXPIRED = f"SELECT 1 FROM published WHERE {_IS_KEPT} AND keep_until <= ? LIMIT 1"
IS_ANY_FORGOTTEN = "SELECT 1 FROM published WHERE outcome IS NOT NULL AND remember_until <= ? LIMIT 1"
_FORGET = """
DELETE FROM published WHERE key IN (
    SELECT key FROM published WHERE outcome IS NOT NULL AND remember_until <= ? ORDER BY remember_until LIMIT ?
)
"""


class AcceptRow(NamedTuple):
    """A row of ACCEPTED, and how many events of its correlation may be kept."""

    row: Row
    most: int


class ClaimRow(NamedTuple):
    """An event that an instance claims, and the rows of what it did to the instance, as for `writes.append`."""

    key: int
    instance_id: str
    appended: Sequence[Row]


class StartRow(NamedTuple):
    """An event that starts an instance, and the row of that, as for `writes.create`."""

    key: int
    created: Row


class Sweep(NamedTuple):
    """What time it is, and how many rows may go at once."""

    now: int
    limit: int


def accept_published(connection: sqlite3.Connection, accepted: Sequence[AcceptRow]) -> Sequence[Acceptance | None]:
    """Insert each event whose id is new; None for one for which there is no more room."""
    results: list[Acceptance | None] = []
    for row, most in accepted:
        source, event_id, event, correlation, *_ = row
        known = connection.execute(_KNOWN, (source, event_id)).fetchone()
        if known is not None:
            key, outcome, *first = known
            is_other = first != [correlation, event]
            key = key if outcome is None else None
            results.append(Acceptance(key, is_duplicate=True, first=Correlation(*first) if is_other else None))
        elif connection.execute(_IS_FULL, (correlation, event, most - 1)).fetchone() is not None:
            results.append(None)
        else:
            results.append(Acceptance(connection.execute(_ACCEPT, row).lastrowid, is_duplicate=False))
    return results


def claim_published(connection: sqlite3.Connection, claims: Sequence[ClaimRow]) -> Sequence[bool]:
    """Settle each event that is kept still, and append what it did to its instance."""
    results = []
    for claim in claims:
        is_kept = connection.execute(_CLAIM, ("claimed", claim.instance_id, claim.key)).rowcount == 1
        if is_kept and claim.appended:
            writes.append(connection, [claim.appended])
        results.append(is_kept)
    return results


def start_published(connection: sqlite3.Connection, starts: Sequence[StartRow]) -> Sequence[StartOutcome]:
    """Create the instance that each event starts, and settle the event; neither when it is not kept any more."""
    results: list[StartOutcome] = []
    for key, created in starts:
        if connection.execute(ONE, (key,)).fetchone() is None:
            results.append("gone")
            continue
        (taken_by,) = writes.create(connection, [created])
        if taken_by is None:
            connection.execute(_CLAIM, ("started", created[0], key))
            results.append("started")
        else:
            connection.execute(_START_NOTHING, (key,))
            results.append("taken")
    return results


def expire_published(connection: sqlite3.Connection, sweeps: Sequence[Sweep]) -> Sequence[Sequence[str]]:
    """Settle events that nobody has claimed in time; the names of their events."""
    results = []
    for sweep in sweeps:
        expired = connection.execute(_EXPIRED, sweep).fetchall()
        keys = json.dumps([key for key, _ in expired])
        connection.execute(f"{_SETTLE} WHERE key IN (SELECT value FROM json_each(?))", ("expired", None, keys))
        results.append([event for _, event in expired])
    return results


def forget_published(connection: sqlite3.Connection, sweeps: Sequence[Sweep]) -> Sequence[int]:
    """Delete the rows of events that need not be remembered any more; how many they were."""
    return [connection.execute(_FORGET, sweep).rowcount for sweep in sweeps]


def published_row(published: PublishedEvent) -> Row:
    """A row of EVENT."""
    start = published.start
    terms = None if start is None else {"name": start.name, "id": start.id, "tags": dict(start.tags)}
    return (
        published.source,
        published.event_id,
        published.correlation.event,
        published.correlation.key,
        to_microseconds(published.received_at),
        None if terms is None else encode_parsed(terms).decode(),
        None if start is None else start.input_json,
        published.data_json,
    )


def published_from(key: int, row: Row) -> PublishedEvent:
    """The event of a row of EVENT. Raises CorruptDatabaseError, which names it and the column."""
    values: dict[str, Any] = {}
    for name, value in zip(EVENT, row, strict=True):
        try:
            values[name] = _READ[name](value)
        except (InvalidInputError, TypeError, ValueError, OverflowError, LookupError):
            raise CorruptDatabaseError(f"the published event {key} cannot be read: {name}") from None
    terms, start_input = values["start"], values["start_input"]
    if (terms is None) != (start_input is None):
        raise CorruptDatabaseError(f"the published event {key} cannot be read: start_input")
    return PublishedEvent(
        source=values["source"],
        event_id=values["event_id"],
        correlation=Correlation(values["correlation"], values["event"]),
        data_json=values["data"],
        start=None if terms is None else StartTerms(input_json=start_input, **terms),
        received_at=values["received_at"],
    )


def readable_kept_under(found: Sequence[Row]) -> Sequence[KeptUnder]:
    """Rows of KEPT_UNDER_OTHER_KEYS, without those that make no sense."""
    kept = []
    for correlation, received_at in found:
        with suppress(TypeError, ValueError, OverflowError):
            kept.append(KeptUnder(text(correlation), from_microseconds(received_at)))
    return kept


def _json(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    parse(value)
    return value


def _start(value: Any) -> dict[str, Any]:
    terms = parse(text(value))
    return {"name": text(terms["name"]), "id": or_none(text)(terms["id"]), "tags": checked_tags(terms["tags"])}


_READ: dict[str, Callable[[Any], Any]] = {
    "source": text,
    "event_id": text,
    "event": text,
    "correlation": text,
    "received_at": from_microseconds,
    "start": or_none(_start),
    "start_input": or_none(_json),
    "data": _json,
}
"""How each column is read."""
