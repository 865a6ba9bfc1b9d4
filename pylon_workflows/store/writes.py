"""What the writer does to the tables: each a function over many items, in as few statements as can be.

A statement costs more than its rows, for with a busy event loop every execution may have to wait for the interpreter's
lock. So a batch of any size is one INSERT into a view of the connection's own, whose triggers write the tables
(docs/decisions/0002-one-statement-a-batch.md). Such a statement has a power of two of rows, so that the sizes are few
and stay prepared; the triggers skip the rows left over, which are zeros. Of an append of many transitions all but the
last are rows of the history and nothing else: they have a statement of their own.
"""

# ruff: noqa: S608  only column names and fixed terms are put into statements; values are always parameters

import json
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from pylon_workflows.core.instance import FINISHED
from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.ports import PARKED
from pylon_workflows.store.outbox_rows import nothing_noticed
from pylon_workflows.store.rows import APPENDED, CREATED, DEFINITION, EARLIER, ORIGIN, RESTORED, STATE, TRANSITION, Row

MAX_ROWS = 512
_IS_FINISHED = f"+status IN ({', '.join(repr(status.value) for status in sorted(FINISHED))})"
"""The `+` keeps the index over all finished ones out of it: ids are few."""

_IS_PARKED = f"+status = 'blocked' AND substr(blocked_reason, 1, {len(PARKED)}) = '{PARKED}'"

_RESTORE = f"UPDATE instances SET {', '.join(f'{name} = ?' for name in RESTORED[3:])} WHERE id = ? AND revision = ?"
_RESTORE_TAGS = """
INSERT INTO tags (instance, name, value, created_at)
SELECT instances.key, tag.key, tag.value, instances.created_at
FROM instances, json_each(?) AS tag WHERE instances.id = ?
"""

_STEADY = (
    "version", "max_retries", "status", "waiting_for", "correlation", "waiting_since", "due_at", "completed_at",
    "is_unannounced",
)  # fmt: skip
"""Set only when one of them changes, as few steps do: SQLite writes the entries of every index over a column that is
set, also to the value that it has (measured: a step costs a tenth less, a sleep 3 % more)."""

_CHANGING = tuple(name for name in STATE if name not in _STEADY)

_KEEP_LAST = """
INSERT INTO history (rowid, instance, revision, type, at, body) SELECT ?1, 0, ?1, 'deleted', 0, '{}'
WHERE ?1 > (SELECT coalesce(max(rowid), 0) FROM history)
"""
"""A row of no instance in the place of the newest one, where that was deleted: or else SQLite would give its number
again, and who asks what has changed since then would miss it (`ports.ChangeLog`)."""

_IN_LIST = "IN (SELECT value FROM json_each(?))"


def _new(*names: str) -> str:
    return ", ".join(f"NEW.{name}" for name in names)


_INSERT_TRANSITION = f"""
    INSERT INTO history (instance, revision, {", ".join(TRANSITION)})
    SELECT key, {_new("revision", *TRANSITION)} FROM instances WHERE id = NEW.id;
"""

VIEWS = f"""
CREATE TEMP VIEW appended AS SELECT {", ".join(f"NULL AS {name}" for name in APPENDED)};
CREATE TEMP VIEW created AS SELECT {", ".join(f"NULL AS {name}" for name in CREATED)};

CREATE TEMP TRIGGER append_transition INSTEAD OF INSERT ON appended WHEN NEW.id IS NOT 0 BEGIN
    {_INSERT_TRANSITION}
END;

CREATE TEMP TRIGGER append_state INSTEAD OF INSERT ON appended WHEN NEW.id IS NOT 0 BEGIN
    UPDATE instances SET revision = NEW.revision, {", ".join(f"{name} = NEW.{name}" for name in _CHANGING)}
    WHERE id = NEW.id AND revision = NEW.former_revision;
    SELECT RAISE(ABORT, 'not at the expected revision') WHERE changes() != 1;
    UPDATE instances SET {", ".join(f"{name} = NEW.{name}" for name in _STEADY)}
    WHERE id = NEW.id AND ({", ".join(_STEADY)}) IS NOT ({_new(*_STEADY)});
END;

CREATE TEMP TRIGGER create_instance INSTEAD OF INSERT ON created WHEN NEW.id IS NOT 0 BEGIN
    INSERT INTO instances (id, revision, {", ".join(ORIGIN)}, {", ".join(STATE)})
    VALUES ({_new("id", "revision", *ORIGIN, *STATE)});
    {_INSERT_TRANSITION}
    INSERT INTO tags (instance, name, value, created_at)
    SELECT instances.key, tag.key, tag.value, NEW.created_at FROM instances, json_each(NEW.tags) AS tag
    WHERE NEW.tags IS NOT NULL AND instances.id = NEW.id;
END;
"""
"""What the writing connection needs besides the file's own tables; none of it is stored in the file."""


def create(connection: sqlite3.Connection, instances: Sequence[Row]) -> Sequence[str | None]:
    """Insert rows of CREATED; for each whose id or idempotency key is taken, the id of the instance that has it."""
    key_column = CREATED.index("idempotency_key")
    ids = [row[0] for row in instances]
    keys = [row[key_column] for row in instances if row[key_column] is not None]
    found = connection.execute(
        f"SELECT id, idempotency_key FROM instances WHERE id {_IN_LIST} OR idempotency_key {_IN_LIST}",
        (json.dumps(ids), json.dumps(keys)),
    ).fetchall()
    for key in keys:
        if "\0" in key:  # SQLite's JSON functions cut a text off there
            found += connection.execute("SELECT id, idempotency_key FROM instances WHERE idempotency_key = ?", (key,))
    taken_ids = {instance_id for instance_id, _ in found}
    owners = {key: instance_id for instance_id, key in found if key is not None}
    new: list[Row] = []
    results: list[str | None] = []
    for row in instances:
        instance_id, key = row[0], row[key_column]
        owner = instance_id if instance_id in taken_ids else owners.get(key)
        results.append(owner)
        if owner is None:
            new.append(row)
            taken_ids.add(instance_id)
            if key is not None:
                owners[key] = instance_id
    _insert(connection, "created", new)
    return results


def append(connection: sqlite3.Connection, appends: Sequence[Sequence[Row]]) -> Sequence[None]:
    """Insert the rows of appends, each any number of EARLIER and one of APPENDED, and update their instances."""
    try:
        append_earlier(connection, list(chain.from_iterable(rows[:-1] for rows in appends)))
        _insert(connection, "appended", [rows[-1] for rows in appends])
    except sqlite3.IntegrityError as error:
        last = appends[0][-1]
        raise CorruptDatabaseError(f"instance {last[0]}: not at the revision before {last[1]}: {error}") from error
    return [None] * len(appends)


def append_earlier(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert rows of EARLIER; the update of their instances is still to come."""
    for values, size in _portions(rows):
        connection.execute(_earlier_statement(size), values)


def append_with_starts(
    connection: sqlite3.Connection, appends: Sequence[tuple[Sequence[Row], Sequence[Row]]]
) -> Sequence[str | None]:
    """Insert rows of CREATED, which have no idempotency keys, and rows of APPENDED; for each append whose new ids are
    not all free nothing, and one that is taken.
    """
    results: list[str | None] = []
    for created, appended in appends:
        ids = [row[0] for row in created]
        found = connection.execute(f"SELECT id FROM instances WHERE id {_IN_LIST}", (json.dumps(ids),)).fetchall()
        taken = {instance_id for (instance_id,) in found} or {each for each in ids if ids.count(each) > 1}
        results.append(next((each for each in ids if each in taken), None))
        if not taken:
            _insert(connection, "created", created)
            append(connection, [appended])
    return results


def create_whole(connection: sqlite3.Connection, wholes: Sequence[tuple[Row, Sequence[Row]]]) -> Sequence[str | None]:
    """Like `create`, each with the rows of an append that follows."""
    results: list[str | None] = []
    for created, appended in wholes:
        results += create(connection, [created])
        if results[-1] is None:
            with nothing_noticed(connection):  # it has happened elsewhere
                append(connection, [appended])
    return results


def park(connection: sqlite3.Connection, parked: Sequence[tuple[str, str]]) -> Sequence[None]:
    """Show instances as blocked, in their rows alone: (id, reason)."""
    connection.executemany(
        "UPDATE instances SET status = 'blocked', blocked_reason = ?2, due_at = NULL, completed_at = NULL"
        f" WHERE id = ?1 AND NOT ({_IS_FINISHED})",
        parked,
    )
    return [None] * len(parked)


def restore(connection: sqlite3.Connection, restored: Sequence[Row]) -> Sequence[None]:
    """Write rows of RESTORED: all of a row that its history tells, but who hears of its end."""
    for instance_id, revision, tags, *state in restored:
        with nothing_noticed(connection):
            changed = connection.execute(_RESTORE, (*state, instance_id, revision)).rowcount
        if changed != 1:
            raise CorruptDatabaseError(f"instance {instance_id}: not at revision {revision}")
        connection.execute("DELETE FROM tags WHERE instance = (SELECT key FROM instances WHERE id = ?)", (instance_id,))
        connection.execute(_RESTORE_TAGS, (tags or "{}", instance_id))
    return [None] * len(restored)


def mark_announced(connection: sqlite3.Connection, instance_ids: Sequence[Sequence[str]]) -> Sequence[None]:
    """Take the instances out of the unannounced ones."""
    connection.execute(
        f"UPDATE instances SET is_unannounced = 0 WHERE id {_IN_LIST} AND is_unannounced = 1",
        (json.dumps(list(chain.from_iterable(instance_ids))),),
    )
    return [None] * len(instance_ids)


def save_definition(connection: sqlite3.Connection, definitions: Sequence[Row]) -> Sequence[None]:
    """Insert or replace rows of DEFINITION; what a runner tells replaces none that somebody has saved."""
    connection.executemany(
        f"INSERT INTO definitions ({', '.join(DEFINITION)}) VALUES ({_marks(len(DEFINITION))}) ON CONFLICT (name) "
        f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in DEFINITION[1:])} "
        "WHERE excluded.source <> 'runner' OR definitions.source = 'runner'",
        definitions,
    )
    return [None] * len(definitions)


def delete(connection: sqlite3.Connection, instance_ids: Sequence[Sequence[str]]) -> Sequence[int]:
    """Delete the finished and the parked ones of each list, with all that is theirs; how many they were."""
    ((last,),) = connection.execute("SELECT coalesce(max(rowid), 0) FROM history", ())
    counts = []
    for ids in instance_ids:
        among = (json.dumps(list(ids)),)
        finished = f"FROM instances WHERE id {_IN_LIST} AND ({_IS_FINISHED} OR {_IS_PARKED})"
        for table in ("history", "tags"):
            connection.execute(f"DELETE FROM {table} WHERE instance IN (SELECT key {finished})", among)
        counts.append(connection.execute(f"DELETE {finished}", among).rowcount)
    connection.execute(_KEEP_LAST, (last,))
    connection.execute("DELETE FROM history WHERE instance = 0 AND revision < ?", (last,))
    return counts


def _insert(connection: sqlite3.Connection, view: str, rows: Sequence[Row]) -> None:
    for values, size in _portions(rows):
        connection.execute(_insert_statement(view, len(rows[0]), size), values)


def _portions(rows: Sequence[Row]) -> Iterator[tuple[list[Any], int]]:
    """The values of at most MAX_ROWS rows at a time, and of rows of zeros up to a power of two, and how many rows.

    A null would cost five times as much: for whatever is no number and no text `sqlite3` looks for an adapter.
    """
    for first in range(0, len(rows), MAX_ROWS):
        some = rows[first : first + MAX_ROWS]
        size = 1 << (len(some) - 1).bit_length()
        values = list(chain.from_iterable(some))
        values += [0] * ((size - len(some)) * len(some[0]))
        yield values, size


@cache
def _insert_statement(view: str, columns: int, rows: int) -> str:
    return f"INSERT INTO {view} VALUES {', '.join([f'({_marks(columns)})'] * rows)}"


@cache
def _earlier_statement(rows: int) -> str:
    """Of an append of many transitions all but the last: a third of what the view's triggers cost."""
    columns = ", ".join(f"column{number}" for number in range(2, len(EARLIER) + 1))
    return (
        f"INSERT INTO history (instance, revision, {', '.join(TRANSITION)})"
        f" SELECT (SELECT key FROM instances WHERE id = column1), {columns}"
        f" FROM (VALUES {', '.join([f'({_marks(len(EARLIER))})'] * rows)}) WHERE column1 IS NOT 0"
    )


def _marks(count: int) -> str:
    return ", ".join("?" * count)
