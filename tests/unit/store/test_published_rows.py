"""Published events in a file: how they are found, what an older file has of waits, and rows that make no sense."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.published import Correlation, PublishedEvent
from pylon_workflows.store import migrations, published_rows
from pylon_workflows.store.codec import to_microseconds
from pylon_workflows.store.migrations import APPLICATION_ID
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.published_store_contract import EVENT, ORDER_7, START, accept, event, waiting
from tests.contracts.store_contract import at

PLANNED = (
    "IS_ANY_EXPIRED", "IS_ANY_FORGOTTEN", "ONE", "KEPT", "KEPT_UNDER_KEY", "WAITS", "OPEN_KEYS", "AWAITED", "_KNOWN",
    "_IS_FULL", "_CLAIM", "_START_NOTHING", "_EXPIRED", "_FORGET",
)  # fmt: skip


@pytest.mark.parametrize("name", PLANNED)
def test_no_statement_reads_a_whole_table(name):
    statement = getattr(published_rows, name)
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in migrations.migrations():
            connection.executescript(script)
        parameters = [1] * statement.count("?")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    scans = [step for step in plan if step.startswith("SCAN") and step not in ("SCAN kept",)]
    assert [step for step in scans if "wanted" not in step] == []
    assert any("SEARCH" in step for step in plan)


def test_what_is_kept_under_other_keys_is_looked_for_among_the_newest_alone():
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in migrations.migrations():
            connection.executescript(script)
        statement = published_rows.KEPT_UNDER_OTHER_KEYS
        plan = [row[2:] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (9, "paid", "order:7"))]
    assert [step for _, step in plan][1] == "SCAN published USING INDEX published_expiring", plan
    assert len([step for _, step in plan if "TEMP B-TREE" in step]) <= 1, "only what was found is sorted"


async def test_what_cannot_be_read_is_left_out_of_what_is_kept_under_other_keys(tmp_path):
    store = SqliteStore(tmp_path / "orders.db")
    await store.open()
    for key in ("a", "b", "c"):
        await accept(store, event(key, correlation=Correlation(key, "paid")))
    with closing(sqlite3.connect(tmp_path / "orders.db", isolation_level=None)) as connection:
        connection.execute("UPDATE published SET received_at = 'x' WHERE correlation = 'a'")
        connection.execute("UPDATE published SET correlation = x'ff' WHERE correlation = 'b'")
    found = await store.published.kept_under_other_keys(ORDER_7, among=9)
    assert [each.correlation for each in found] == ["c"]
    await store.close()


async def test_the_waits_of_an_older_file_keep_their_order(tmp_path):
    path = tmp_path / "orders.db"
    store = SqliteStore(path)
    await store.open()
    await waiting(store, "late", 30)
    await waiting(store, "early", 10)
    await waiting(store, "no key", 5, correlation=None)
    await store.close()
    number = next(n for n, script in enumerate(migrations.migrations()) if "CREATE TABLE published" in script)
    older(path, number)
    store = SqliteStore(path)
    await store.open()
    assert [place.instance_id for place in await store.published.waits(ORDER_7, limit=9)] == ["early", "late"]
    assert [place.since for place in await store.published.waits(ORDER_7, limit=9)] == [at(10), at(30)]
    await store.close()


def older(path, version):
    """Make of the file one of an older version, with the instances that it has."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        rows = {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("instances", "history", "owner")
        }
        names = [column[1] for column in connection.execute("PRAGMA table_info(instances)")]
    for each in path.parent.iterdir():
        each.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for script in migrations.migrations()[:version]:
            connection.executescript(script)
        known = [column[1] for column in connection.execute("PRAGMA table_info(instances)")]
        for row in rows["instances"]:
            values = [row[names.index(name)] for name in known]
            connection.execute(f"INSERT INTO instances VALUES ({', '.join('?' * len(known))})", values)
        for row in rows["history"]:
            connection.execute(f"INSERT INTO history VALUES ({', '.join('?' * len(row))})", row)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")


def test_a_row_is_the_event_again():
    for published in (EVENT, event("evt_2", start=START, source="")):
        assert published_rows.published_from(1, published_rows.published_row(published)) == published


WRONG = {
    "source": [None, 7, b"shop", "\udcff"],
    "event": [None, 7],
    "correlation": [None, b"x"],
    "received_at": [None, "x", 10**30],
    "start": [7, "{", "[]", "{}", '{"name":7,"id":null,"tags":{}}', '{"name":"o","id":null,"tags":{"a b":""}}', None],
    "start_input": [7, "text", b"{", None],
    "data": [None, "{}", b"{", b"\xff", 7],
}


@pytest.mark.parametrize(("column", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_row_that_makes_no_sense_is_told_by_its_key_and_column(column, value):
    row = list(published_rows.published_row(event("evt_1", start=START)))
    row[published_rows.EVENT.index(column)] = value
    with pytest.raises(CorruptDatabaseError, match=f"event 7 cannot be read: (start_input|{column})"):
        published_rows.published_from(7, tuple(row))


ANYTHING = (
    st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.just('{"name":"o","id":"i","tags":{}}')
)


@given(st.tuples(*[ANYTHING] * len(published_rows.EVENT)))
def test_any_row_is_an_event_or_the_one_error(row):
    try:
        found = published_rows.published_from(1, row)
    except CorruptDatabaseError:
        return
    assert isinstance(found, PublishedEvent)


async def test_an_event_that_cannot_be_read_leaves_the_others(tmp_path):
    path = tmp_path / "orders.db"
    store = SqliteStore(path)
    await store.open()
    first, second = await accept(store, EVENT), await accept(store, event("evt_2"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE published SET data = 'x' WHERE key = ?", (first.key,))
        connection.commit()
    with pytest.raises(CorruptDatabaseError):
        await store.published.get(first.key)
    assert await store.published.get(second.key) == event("evt_2")
    await store.close()


def test_times_are_microseconds():
    assert published_rows.published_row(EVENT)[4] == to_microseconds(at(1))


async def test_a_key_that_is_no_unicode_is_damage_of_its_row_and_no_trouble_of_the_file(tmp_path):
    path = tmp_path / "orders.db"
    store = SqliteStore(path)
    await store.open()
    await accept(store, event("evt_1"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE published SET correlation = CAST(X'FF41' AS TEXT), start = '{}'")
    [key] = [key async for key in store.published.open_keys()]
    with pytest.raises(CorruptDatabaseError, match="no Unicode"):
        await store.published.kept(key, limit=9)
    await store.close()
