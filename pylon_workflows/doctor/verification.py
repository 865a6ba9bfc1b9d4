"""Whether each row of a file says what its history adds up to: `replay(history) == snapshot`.

An instance at a time, in a read of its own: the file may be in use, and memory holds one instance.
"""

# ruff: noqa: S608  only column names and fixed terms are put into statements; values are always parameters

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from pylon_workflows.core.evolution import begin, evolve
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import InstanceStarted
from pylon_workflows.doctor.findings import NOTHING, Finding, Verdict
from pylon_workflows.errors import UnreadableInstanceError
from pylon_workflows.store.codec import decode_rows
from pylon_workflows.store.rows import RESTORED, TAGS, restored_row

_MOST = 1_000
_COLUMNS = (*RESTORED, "idempotency_key")
_SHOWN = ", ".join(TAGS if name == "tags" else name for name in _COLUMNS)
_NEXT_ROW = f"SELECT key, {_SHOWN} FROM instances WHERE key > ? ORDER BY key LIMIT 1"
_HISTORY = "SELECT revision, type, at, body, payload FROM history WHERE instance = ? ORDER BY revision"
_STRAY = "SELECT count(*) FROM {table} WHERE instance <> 0 AND instance NOT IN (SELECT key FROM instances)"

_UNREADABLE = "see Parked instances in docs/operations.md"
_DIFFERS = "`POST /{id}/advance` (`engine.advance`) writes its row anew from its history, which is what counts"
_STRAYS = "nothing reads them; report it"


def verified(connection: sqlite3.Connection) -> Iterator[Finding]:
    """A finding for each instance whose row differs, or whose history cannot be read, and one about all.

    Raises:
        sqlite3.Error
    """
    count, wrong = 0, 0
    for instance_id, trouble in _instances(connection):
        count += 1
        if trouble is not None:
            wrong += 1
            if wrong <= _MOST:
                yield _finding(instance_id, *trouble)
    strays = sum(connection.execute(_STRAY.format(table=table)).fetchone()[0] for table in ("history", "tags"))
    if strays:
        text = f"{strays:,} rows belong to no instance"
        yield _finding(None, text, _STRAYS)
    facts = {"instances": count, "wrong": wrong, "stray_rows": strays}
    if wrong:
        text = f"{wrong:,} of {count:,} instances are not what their histories add up to"
        text += f"; the first {_MOST:,} are named" if wrong > _MOST else ""
        yield Finding(about="histories", text=text, advice="see above", verdict=Verdict.NEEDS_ACTION, facts=facts)
    else:
        text = f"{count:,} instances are what their histories add up to"
        yield Finding(about="histories", text=text, advice=NOTHING, facts=facts)


def _instances(connection: sqlite3.Connection) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """Each instance, and what is wrong with it and what to do, if anything is."""
    key = -(2**63)
    while True:
        connection.execute("BEGIN")
        try:
            row = connection.execute(_NEXT_ROW, (key,)).fetchone()
            if row is None:
                return
            key, instance_id = row[0], str(row[1])
            trouble = _trouble(instance_id, row[1:], connection.execute(_HISTORY, (key,)))
        finally:
            connection.execute("COMMIT")
        yield instance_id, trouble


def _trouble(instance_id: str, row: tuple[Any, ...], history: Iterable[Any]) -> tuple[str, str] | None:
    try:
        instance = _folded(instance_id, history)
        if row[1] != instance.revision:
            raise UnreadableInstanceError(
                f"instance {instance_id}: {instance.revision} transitions, revision {row[1]!r}"
            )
    except UnreadableInstanceError as error:
        return str(error), _UNREADABLE
    expected = (*restored_row(instance), instance.origin.idempotency_key)
    differences = [
        f"{name}: {found!r:.60} in its row, {wanted!r:.60} by its history"
        for name, found, wanted in zip(_COLUMNS, row, expected, strict=True)
        if not _is_same(name, found, wanted)
    ]
    return (f"{instance_id}: {'; '.join(differences)}", _DIFFERS) if differences else None


def _folded(instance_id: str, history: Iterable[Any]) -> Instance:
    instance: Instance | None = None
    try:
        for transition in decode_rows(instance_id, history):
            if instance is not None:
                instance = evolve(instance, transition)
            elif isinstance(transition, InstanceStarted):
                instance = begin(transition)
            else:
                raise UnreadableInstanceError(f"instance {instance_id}: its history has no beginning")
    except (ValueError, ArithmeticError, LookupError, TypeError, AssertionError, StopIteration) as error:
        raise UnreadableInstanceError(f"instance {instance_id}: its history does not fold: {error!r}") from error
    if instance is None:
        raise UnreadableInstanceError(f"instance {instance_id}: it has no history")
    return instance


def _is_same(name: str, found: Any, wanted: Any) -> bool:
    if name != "tags":
        return type(found) is type(wanted) and bool(found == wanted)
    try:
        return bool(json.loads(found) == json.loads(wanted or "{}"))
    except (ValueError, TypeError):
        return False


def _finding(instance_id: str | None, text: str, advice: str) -> Finding:
    facts = {} if instance_id is None else {"id": instance_id}
    return Finding(about="history", text=text, advice=advice, verdict=Verdict.NEEDS_ACTION, facts=facts)
