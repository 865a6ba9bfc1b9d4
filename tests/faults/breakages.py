"""Faults of the engine, planted on purpose into the program `load.py`: a harness that misses one shows nothing.

Each takes effect on the classes, so that the engine is otherwise the real one. README.md lists who catches which.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from sqlite3 import Connection
from typing import Any

from pylon_workflows.engine import LocalEngine
from pylon_workflows.ports import EventReceipt, Write
from pylon_workflows.store import writes
from pylon_workflows.store.sealed_commits import OPERATIONS
from pylon_workflows.store.sqlite import SqliteStore


def answer_before_the_commit() -> None:
    """A change counts as stored as soon as it has been handed to the writer."""
    append = SqliteStore.append

    def answered_at_once(store: SqliteStore, *arguments: Any, **options: Any) -> Write[None]:
        append(store, *arguments, **options)
        answered: Write[None] = Write(loop=asyncio.get_running_loop())
        answered.set_result(None)
        return answered

    SqliteStore.append = answered_at_once


def acknowledge_an_event_before_it_is_stored() -> None:
    """The sender of an event hears that it was accepted, and then it is stored."""
    send_event = LocalEngine.send_event
    sending: set[asyncio.Task[Any]] = set()

    async def accepted_at_once(engine: LocalEngine, *arguments: Any, **options: Any) -> EventReceipt:
        sending.add(asyncio.create_task(send_event(engine, *arguments, **options)))
        return EventReceipt(is_duplicate=False)

    LocalEngine.send_event = accepted_at_once


def commit_half_a_change() -> None:
    """Of a change that has several transitions the last one, and the state, go into a transaction of their own."""
    append = writes.append

    def appended_in_two(connection: Connection, appends: Sequence[Sequence[Any]]) -> Sequence[None]:
        halves = [row for rows in appends for row in rows[:-1]]
        writes.append_earlier(connection, halves)
        connection.execute("COMMIT")
        if halves:
            time.sleep(0.02)  # long enough for a kill to hit, also on a busy machine
        connection.execute("BEGIN IMMEDIATE")
        return append(connection, [rows[-1:] for rows in appends])

    writes.append = appended_in_two
    OPERATIONS[appended_in_two] = OPERATIONS[append]


def never_sync() -> None:
    """What is written is in the hands of the operating system, and of a power cut."""
    made = SqliteStore.__init__

    def made_without_syncs(store: SqliteStore, *arguments: Any, **options: Any) -> None:
        made(store, *arguments, **options)
        store._synchronous = "off"

    SqliteStore.__init__ = made_without_syncs


BREAKAGES: dict[str, Callable[[], None]] = {
    breakage.__name__: breakage
    for breakage in (
        answer_before_the_commit,
        acknowledge_an_event_before_it_is_stored,
        commit_half_a_change,
        never_sync,
    )
}
