"""The outbox in the file: rows that somebody has broken, and connections that are made anew."""

import sqlite3
from contextlib import closing

import pytest

from pylon_workflows.notices import NOTICED, Subscription
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.outbox_store_contract import FAILED, kept, noticing
from tests.contracts.store_contract import after, new_instance

ALL = Subscription(key="all", statuses=frozenset(NOTICED))


async def fail(store, instance_id):
    await store.create(new_instance(instance_id))
    await store.append(after(new_instance(instance_id), FAILED), [FAILED])


@pytest.mark.parametrize(
    ("column", "value"),
    [("status", "'mended'"), ("tags", "'[1'"), ("at", "'soon'"), ("name", "x'ff'"), ("created_at", str(2**62))],
)
async def test_a_notice_that_cannot_be_read_holds_up_no_other(column, value, tmp_path, caplog):
    path = tmp_path / "w.db"
    store = SqliteStore(path)
    await noticing(store, ALL)
    await fail(store, "wf_1")
    await fail(store, "wf_2")
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE outbox SET {column} = {value} WHERE instance_id = 'wf_1'")
    await noticing(store, ALL)
    assert [notice.instance_id for notice in await kept(store)] == ["wf_2"]
    assert f"cannot be read: {column}" in caplog.text
    assert len(await kept(store)) == 1
    assert caplog.text.count("cannot be read") == 1
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
