"""Rows that no release of ours writes are found, and walks along the table stay short."""

import sqlite3
from contextlib import closing

import pytest

from pylon_workflows.core.commands import Cancel
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import evolve
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import at, new_instance

ODD = {
    "an unknown status": "status = 'dreaming'",
    "a sleep without an end": "status = 'sleeping', due_at = NULL",
    "a wait for nothing": "status = 'waiting_for_event', waiting_for = NULL",
    "a gate without a key": "status = 'awaiting_approval', waiting_for = NULL",
    "a wait for no child": "status = 'waiting_for_child', waiting_for = NULL",
    "a wait for a child that is not there": "status = 'waiting_for_child', waiting_for = 'wf_nobody'",
    "a block without a reason": "status = 'blocked', blocked_reason = NULL",
    "an end without a time": "status = 'completed', completed_at = NULL",
}
FINE = {
    "runnable": "status = 'running'",
    "due": "status = 'sleeping', due_at = 1",
    "waiting": "status = 'waiting_for_event', waiting_for = 'paid'",
    "blocked": "status = 'blocked', blocked_reason = 'unreadable: ...'",
    "finished": "status = 'failed', completed_at = 1",
}


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(tmp_path / "orders.db")
    await store.open()
    for number in range(5):
        await store.create(new_instance(f"wf_{number}"))
    yield store
    await store.close()


@pytest.mark.parametrize("changes", [*ODD.values(), *FINE.values()], ids=[*ODD, *FINE])
async def test_a_row_that_says_nothing_is_found(store, changes):
    with closing(sqlite3.connect(store._path)) as connection:
        connection.execute(f"UPDATE instances SET {changes} WHERE id = 'wf_2'")
        connection.commit()
    piece = await store.live_rows.without_reason(after=0, limit=100)
    assert list(piece.ids) == (["wf_2"] if changes in ODD.values() else [])


async def test_numbers_of_changes_stay_when_the_file_is_rebuilt_and_doctor_finds_nothing_strange(store):
    instance = new_instance("wf_last")
    await store.create(instance)
    transitions = decide(instance, Cancel(), at(1))
    await store.append(evolve(instance, transitions[0]), transitions)
    last = await store.change_log.last()
    await store.delete(["wf_last"])
    for number in range(3):
        await store.create(new_instance(f"wf_more_{number}"))
    before = await store.change_log.since(2)
    await store.close()
    with closing(sqlite3.connect(store._path)) as connection:
        connection.execute("VACUUM")
    await store.open()
    assert await store.change_log.since(2) == before
    assert [each.id for each in (await store.change_log.since(last)).instances] == [
        f"wf_more_{number}" for number in range(3)
    ]
    with closing(sqlite3.connect(store._path)) as connection:
        assert connection.execute("SELECT count(*) FROM history WHERE instance = 0").fetchone() == (1,)
    await store.delete(["wf_last"])
    with closing(sqlite3.connect(store._path)) as connection:
        assert connection.execute("SELECT count(*) FROM history WHERE instance = 0").fetchone() == (0,)
