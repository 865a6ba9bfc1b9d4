"""What a database file holds, read with the real store, and what is wrong with it.

A file that a kill or a power cut has left is opened as any start would open it, so that SQLite's recovery and our own
are part of what is shown.
"""

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from pylon_workflows.core.evolution import replay
from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import (
    AttemptFailed,
    EventReceived,
    GroupStarted,
    MemberAttemptFailed,
    MemberSucceeded,
    RunContinued,
    StepSucceeded,
    Transition,
)
from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.ports import InstanceSummary
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import new_instance

Attempt = tuple[str, str, int]
"""An instance's id, a step's key, the number of the attempt."""

History = Sequence[Transition] | CorruptDatabaseError

ALL = 2**40
_LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC)
_WRITTEN_AFTERWARDS = "written-afterwards"
_ORDER = """
SELECT id, history.revision FROM history JOIN instances ON instances.key = history.instance
WHERE id != ? ORDER BY history.rowid"""
_PUBLISHED = "SELECT correlation, source, event_id, outcome FROM published WHERE source = 'load'"
_SUMMARY = [each.name for each in fields(InstanceSummary)]


@dataclass
class FileContents:
    """All instances of a file; `order` is (instance id, revision) of each transition as they were committed.

    `torn` says, in sentences, what does not fit together (P4), `damage` what SQLite says of the pages.
    """

    instances: dict[str, Instance] = field(default_factory=dict)
    histories: dict[str, Sequence[Transition]] = field(default_factory=dict)
    order: list[tuple[str, int]] = field(default_factory=list)
    unannounced: set[str] = field(default_factory=set)
    torn: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    @property
    def recorded(self) -> set[Attempt]:
        """Each attempt of a step whose result is stored."""
        found = set()
        for instance_id, history in self.histories.items():
            failures: Counter[str] = Counter()
            for key in _attempts(history):
                failures[key] += 1
                found.add((instance_id, key, failures[key]))
        return found


def _attempts(history: Sequence[Transition]) -> Iterator[str]:
    """The key of each attempt of a step or a member whose result is stored."""
    group = None
    for transition in history:
        match transition:
            case AttemptFailed() | StepSucceeded():
                yield transition.key
            case GroupStarted():
                group = Group(transition)
            case MemberSucceeded() | MemberAttemptFailed() if group is not None:
                yield group.member_key(transition.index)


def _steps(history: Sequence[Transition]) -> Iterator[tuple[int, str]]:
    """The run and the key of each step that is recorded."""
    run = 1
    for transition in history:
        match transition:
            case RunContinued():
                run += 1
            case StepSucceeded():
                yield run, transition.key


def read_file(database: Path, *, and_write: bool = False) -> FileContents:
    """Open the file, as a start of the engine does, read all of it, write to it, close it, and check its pages."""
    contents = asyncio.run(_read(database, and_write=and_write))
    with closing(sqlite3.connect(database)) as connection:
        contents.damage += [line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
        contents.order = connection.execute(_ORDER, (_WRITTEN_AFTERWARDS,)).fetchall()
        orphans = "SELECT count(*) FROM history WHERE instance <> 0 AND instance NOT IN (SELECT key FROM instances)"
        if count := connection.execute(orphans).fetchone()[0]:
            contents.torn.append(f"{count} rows of history belong to no instance")
        for row in connection.execute(_PUBLISHED).fetchall():
            _add_published(contents, *row)
    return contents


def _add_published(contents: FileContents, instance_id: str, source: str, event_id: str, outcome: str | None) -> None:
    """An event that was published under an instance's id; one that is kept counts as accepted."""
    delivery = f"published:{source}:{event_id}"
    instance = contents.instances.get(instance_id)
    was_given = instance is not None and delivery in instance.event_ids
    if was_given == (outcome is None):
        contents.torn.append(f"{instance_id}: {delivery} was {'given' if was_given else 'not given'}, and is {outcome}")
    elif instance is not None and outcome is None:
        contents.instances[instance_id] = replace(instance, event_ids=instance.event_ids.add(delivery))


def read_copy(database: Path, folder: Path) -> FileContents:
    """The same of a copy, so that the file itself stays as it was left."""
    copy = folder / "copy.db"
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
        if Path(f"{database}{suffix}").exists():
            shutil.copyfile(f"{database}{suffix}", f"{copy}{suffix}")
    return read_file(copy)


async def _read(database: Path, *, and_write: bool) -> FileContents:
    contents = FileContents()
    store = SqliteStore(database)
    await store.open()
    try:
        summaries = await store.list(limit=ALL)
        histories = await store.histories([summary.id for summary in summaries])
        for summary in summaries:
            _add(contents, summary, histories.get(summary.id, ()))
        due = set(await store.due(now=_LAST_MOMENT, limit=ALL))
        names = await store.runnable_names()
        runnable = {each for name in names for each in await store.runnable(name, limit=ALL)}
        contents.unannounced = set(await store.unannounced(limit=ALL))
        if and_write:
            assert await store.create(new_instance(_WRITTEN_AFTERWARDS)) is None
            assert await store.summary(_WRITTEN_AFTERWARDS) is not None
    finally:
        await store.close()
    found = contents.instances.values()
    if due != {each.id for each in found if each.due_at is not None}:
        contents.torn.append("the timers are not those of the histories")
    if runnable != {each.id for each in found if each.is_runnable}:
        contents.torn.append("the runnable ones are not those of the histories")
    return contents


def _add(
    contents: FileContents, summary: InstanceSummary, history: Sequence[Transition] | CorruptDatabaseError
) -> None:
    if isinstance(history, CorruptDatabaseError):
        contents.torn.append(f"{summary.id}: {history}")
        return
    instance = replay(history)
    contents.instances[summary.id] = instance
    contents.histories[summary.id] = history
    for name in _SUMMARY:
        if getattr(summary, name) != getattr(instance, name):
            contents.torn.append(f"{summary.id}: its row has another {name} than its history")
    event_ids = Counter(each.event_id for each in history if isinstance(each, EventReceived))
    if twice := [event_id for event_id, count in event_ids.items() if event_id is not None and count > 1]:
        contents.torn.append(f"{summary.id}: took twice {twice}")
    steps = Counter(_steps(history))
    if twice := [step for step, count in steps.items() if count > 1]:
        contents.torn.append(f"{summary.id}: recorded twice {twice}")
