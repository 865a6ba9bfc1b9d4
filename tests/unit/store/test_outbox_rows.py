"""The outbox in the file: rows that somebody has broken, and connections that are made anew."""

import sqlite3
from contextlib import closing

import pytest

from pylon_workflows.notices import NOTICED, Subscription, UnreadableNotice
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.outbox_store_contract import FAILED, kept, noticing
from tests.contracts.store_contract import after, at, new_instance

ALL = Subscription(key="all", statuses=frozenset(NOTICED))


async def fail(store, instance_id):
    await store.create(new_instance(instance_id))
    await store.append(after(new_instance(instance_id), FAILED), [FAILED])


@pytest.mark.parametrize(
    ("column", "value"),
    [("status", "'mended'"), ("tags", "'[1'"), ("at", "'soon'"), ("name", "x'ff'"), ("created_at", str(2**62))],
)
async def test_a_notice_that_cannot_be_read_is_kept_and_says_why(column, value, tmp_path):
    path = tmp_path / "w.db"
    store = SqliteStore(path)
    await noticing(store, ALL)
    await fail(store, "wf_1")
    await fail(store, "wf_2")
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE outbox SET {column} = {value} WHERE instance_id = 'wf_1'")
    await noticing(store, ALL)
    for _ in range(2):
        broken, other = await kept(store)
        assert broken == UnreadableNotice(
            key=1,
            at=None if column == "at" else at(10),
            attempts=0,
            reason=f"the notice 1 about 'wf_1' cannot be read: {column}",
        )
        assert other.instance_id == "wf_2"
    await store.outbox.failed(1, next_at=at(20))
    assert [notice.key for notice in await kept(store, second=15)] == [2]
    assert broken._replace(attempts=1) in await kept(store, second=20)
    await store.close()


async def test_without_receivers_the_connection_has_no_trigger(tmp_path):
    path = tmp_path / "w.db"
    store = SqliteStore(path)
    await noticing(store)
    connection = store._connect()
    names = {name for (name,) in connection.execute("SELECT name FROM temp.sqlite_master")}
    assert "write_notices" not in names
    connection.close()
    await noticing(store, ALL)
    connection = store._reconnect()  # as after trouble with the disk
    names = {name for (name,) in connection.execute("SELECT name FROM temp.sqlite_master")}
    assert "write_notices" in names
    connection.close()
    await store.close()
