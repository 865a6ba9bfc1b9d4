"""The outbox in its table: what writes notices there, and what is asked and done.

A trigger of the writing connection writes a notice whenever an instance's row comes into a status of which a receiver
wants to be told: in the transaction of whatever changes the row, which knows nothing of it. Without receivers there is
no trigger (docs/decisions/0033-outbound-webhooks.md).
"""

# ruff: noqa: S608  only column names and fixed terms are put into statements; values are always parameters

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from pylon_workflows.core.instance import Status
from pylon_workflows.notices import NOTICED, GivenUp, Notice, Subscription, UnreadableNotice
from pylon_workflows.store.codec import to_microseconds
from pylon_workflows.store.rows import Row, moment, number, or_none, text, texts
from pylon_workflows.store.sealing import is_sealed

_OF_INSTANCE = (
    "name", "version", "run", "revision", "status", "error", "blocked_reason", "parent_id", "created_at",
    "started_at", "completed_at",
)  # fmt: skip
NOTICE = ("key", "message_id", "at", "attempts", "instance_id", *_OF_INSTANCE, "tags")

DUE = f"SELECT {', '.join(NOTICE)} FROM outbox WHERE receiver = ? AND next_at <= ? ORDER BY next_at, key LIMIT ?"
PUT_OFF = f"SELECT {', '.join(NOTICE)} FROM outbox WHERE receiver = ? AND next_at > ? ORDER BY next_at, key LIMIT ?"
RECEIVERS = "SELECT DISTINCT receiver FROM outbox ORDER BY receiver"
COUNTS = "SELECT receiver, count(*) FROM outbox GROUP BY receiver ORDER BY receiver"
IS_ANY_OLD = "SELECT 1 FROM outbox WHERE receiver = ? AND at < ? LIMIT 1"
_OLD = "SELECT key, message_id, instance_id FROM outbox WHERE receiver = ? AND at < ? ORDER BY at LIMIT ?"

_WANTED = "CREATE TEMP TABLE wanted (receiver TEXT, status TEXT, name TEXT)"
_WRITE = f"""
CREATE TEMP TRIGGER write_notices AFTER UPDATE OF status ON main.instances
WHEN NEW.status IS NOT OLD.status AND NEW.status IN ({", ".join(repr(status.value) for status in NOTICED)}) BEGIN
    INSERT INTO outbox (receiver, message_id, at, next_at, instance_id, tags, {", ".join(_OF_INSTANCE)})
    SELECT
        wanted.receiver, 'msg_' || lower(hex(randomblob(16))), notice_time(), notice_time(), NEW.id,
        (SELECT json_group_object(CAST(tags.name AS TEXT), CAST(tags.value AS TEXT)) FROM tags
         WHERE tags.instance = NEW.key),
        {", ".join(f"NEW.{name}" for name in _OF_INSTANCE)}
    FROM wanted WHERE wanted.status = NEW.status AND (wanted.name IS NULL OR wanted.name = NEW.name);
END
"""


class FailedRow(NamedTuple):
    """A notice that was not delivered, and when to try again."""

    next_at: int
    key: int


class OldRow(NamedTuple):
    """Whose notices written before then are given up, and how many at once."""

    receiver: str
    before: int
    limit: int


def prepare(connection: sqlite3.Connection, subscriptions: Sequence[Subscription], now: Callable[[], datetime]) -> None:
    """Let the connection write notices for these."""
    if not subscriptions:
        return
    connection.create_function("notice_time", 0, lambda: to_microseconds(now()))
    connection.execute(_WANTED)
    wanted = [
        (each.key, status.value, name)
        for each in subscriptions
        for status in each.statuses
        for name in (sorted(each.workflows) if each.workflows is not None else (None,))
    ]
    connection.executemany("INSERT INTO wanted VALUES (?, ?, ?)", wanted)
    connection.execute(_WRITE)


@contextmanager
def nothing_noticed(connection: sqlite3.Connection) -> Iterator[None]:
    """What happens within writes no notices."""
    ((last,),) = connection.execute("SELECT coalesce(max(key), 0) FROM outbox")
    yield
    connection.execute("DELETE FROM outbox WHERE key > ?", (last,))


def forget_delivered(connection: sqlite3.Connection, keys: Sequence[int]) -> Sequence[None]:
    """Delete notices."""
    connection.executemany("DELETE FROM outbox WHERE key = ?", [(key,) for key in keys])
    return [None] * len(keys)


def put_off_failed(connection: sqlite3.Connection, failed: Sequence[FailedRow]) -> Sequence[None]:
    """Count attempts that failed, and say when the next one is due."""
    connection.executemany("UPDATE outbox SET attempts = attempts + 1, next_at = ? WHERE key = ?", failed)
    return [None] * len(failed)


def give_up_old(connection: sqlite3.Connection, old: Sequence[OldRow]) -> Sequence[Sequence[GivenUp]]:
    """Delete the oldest notices of each; which they were."""
    results = []
    for each in old:
        found = connection.execute(_OLD, each).fetchall()
        connection.executemany("DELETE FROM outbox WHERE key = ?", [(key,) for key, *_ in found])
        results.append([GivenUp(*ids) for _, *ids in found])
    return results


def notice_from(row: Row) -> Notice | UnreadableNotice:
    """The notice of a row of NOTICE; the reason why it cannot be read names it, its instance and the column."""
    values: dict[str, Any] = {}
    reason = None
    for name, value in zip(NOTICE, row, strict=True):
        try:
            values[name] = _READ[name](value)
        except (TypeError, ValueError, OverflowError):
            reason = reason or (f"{name} is encrypted with a key that the codec has not" if is_sealed(value) else name)
    if reason is None:
        return Notice(**values)
    key, about = values["key"], row[NOTICE.index("instance_id")]
    reason = f"the notice {key} about {about!r:.80} cannot be read: {reason}"
    return UnreadableNotice(key, values.get("at"), values.get("attempts", 0), reason)


_READ: dict[str, Callable[[Any], Any]] = {
    "key": number,
    "message_id": text,
    "at": moment,
    "attempts": number,
    "instance_id": text,
    "name": text,
    "version": or_none(text),
    "run": number,
    "revision": number,
    "status": Status,
    "error": or_none(text),
    "blocked_reason": or_none(text),
    "parent_id": or_none(text),
    "created_at": moment,
    "started_at": or_none(moment),
    "completed_at": or_none(moment),
    "tags": texts,
}
"""How each column is read."""
