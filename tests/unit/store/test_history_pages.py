"""A page of a history: bounded in bytes too, and its own rows' trouble alone."""

import sqlite3
from contextlib import closing

import pytest

from pylon_workflows.errors import UnreadableInstanceError
from pylon_workflows.store import reads
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import RUN_STARTED, after, new_instance, succeeded


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(tmp_path / "workflows.db")
    await store.open()
    yield store
    await store.close()


async def stored(store, *transitions):
    instance = new_instance()
    await store.create(instance)
    await store.append(after(instance, *transitions), transitions)


def changed(store, statement):
    with closing(sqlite3.connect(store._path, isolation_level=None)) as connection:
        connection.execute(statement)


async def test_a_page_ends_before_it_is_too_large_and_has_one_transition_at_least(store, monkeypatch):
    monkeypatch.setattr(reads, "MAX_HISTORY_PAGE_BYTES", 3_000)
    await stored(
        store,
        RUN_STARTED,
        *(succeeded(n, b'"%b"' % (b"x" * 1000)) for n in range(4)),
        succeeded(4, b'"%b"' % (b"x" * 9000)),
    )
    sizes, last = [], 0
    while last < 7:
        page = await store.history_page("wf_1", after=last, limit=100)
        assert not page.is_last or last + len(page.transitions) == 7
        sizes.append(len(page.transitions))
        last += len(page.transitions)
    assert sizes == [4, 2, 1]


async def test_trouble_costs_the_pages_that_it_is_on(store):
    await stored(store, RUN_STARTED, succeeded(0), succeeded(1))
    changed(store, "UPDATE history SET body = 'no' WHERE revision = 3")
    assert len((await store.history_page("wf_1", after=0, limit=2)).transitions) == 2
    for beginning in (0, 1, 2):
        with pytest.raises(UnreadableInstanceError, match="wf_1, revision 3: unreadable"):
            await store.history_page("wf_1", after=beginning, limit=9)
    assert (await store.history_page("wf_1", after=3, limit=9)).is_last


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM history WHERE revision = 3",
        "UPDATE history SET revision = 'x' WHERE revision = 3",
        "UPDATE instances SET revision = 'x'",
    ],
)
async def test_rows_that_are_not_there_are_told(store, statement):
    await stored(store, RUN_STARTED, succeeded(0), succeeded(1))
    changed(store, statement)
    with pytest.raises(UnreadableInstanceError, match="wf_1"):
        await store.history_page("wf_1", after=0, limit=9)
