"""What is SqliteStore's own: how it asks its tables, how much it writes, and what it does with damage."""

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from itertools import product

import pytest

from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import InstanceBlocked
from pylon_workflows.errors import CorruptDatabaseError, InvalidInputError, StoreError
from pylon_workflows.store import reads, sqlite, writes
from pylon_workflows.store.rows import appended_rows, created_row
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import (
    BEGINNING,
    EVERY_KIND,
    RUN_STARTED,
    after,
    completed,
    new_instance,
    sleeping,
    succeeded,
)


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(tmp_path / "workflows.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def connection(tmp_path):
    """The connection that the writer would have, in the test's own thread."""
    with closing(SqliteStore(tmp_path / "workflows.db")._connect()) as connection:
        yield connection


def plan(connection, statement, parameters):
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


HOT = {
    "runnable": reads.runnable_statement("order", after=None, limit=9),
    "the next page of runnable": reads.runnable_statement("order", after="wf_1", limit=9),
    "workflows with something runnable": (reads.RUNNABLE_NAMES, ()),
    "due": (reads.DUE, (0, 9)),
    "next due": (reads.NEXT_DUE, (0,)),
    "unannounced": (reads.UNANNOUNCED, (9,)),
    "completed before": (reads.COMPLETED_BEFORE, (0, 9)),
    "beyond the newest": (reads.BEYOND_NEWEST, (5, 9)),
    "summary": (reads.SUMMARY_OF, ("wf_1",)),
    "histories": (reads.HISTORIES, ('["wf_1"]',)),
}


@pytest.mark.parametrize("question", HOT)
def test_what_is_asked_often_walks_an_index(connection, question):
    lines = plan(connection, *HOT[question])
    for line in lines:
        assert "TEMP B-TREE" not in line
        if line.startswith("SCAN") and not line.startswith(("SCAN wanted", "SCAN names")):
            assert "INDEX" in line, lines


class Noting:
    """A connection that notes what it is told to do."""

    def __init__(self, connection):
        self.connection = connection
        self.noted = []

    def execute(self, statement, parameters):
        self.noted.append((statement, parameters))
        return self.connection.execute(statement, parameters)


def test_a_write_finds_its_instances_by_their_ids(connection):
    noting = Noting(connection)
    writes.create(noting, [created_row(new_instance(idempotency_key="k"))])
    writes.mark_announced(noting, [["wf_1"]])
    writes.delete(noting, [["wf_1"]])
    assert len(noting.noted) == 9
    for statement, parameters in noting.noted:
        for line in plan(connection, statement, parameters):
            assert not line.startswith("SCAN instances")
            assert "instances_by_status" not in line


@pytest.fixture
def counted(connection):
    """How many rows of each table have been inserted, updated and deleted, counted by triggers."""
    connection.execute("CREATE TABLE counts (what)")
    for table, what in product(("history", "instances"), ("INSERT", "UPDATE", "DELETE")):
        connection.execute(
            f"CREATE TRIGGER count_{table}_{what} AFTER {what} ON {table} "
            f"BEGIN INSERT INTO counts VALUES ('{table} {what}'); END"
        )

    def count():
        found = dict(connection.execute("SELECT what, count(*) FROM counts GROUP BY what"))
        connection.execute("DELETE FROM counts")
        return found

    return count


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_a_transition_is_one_history_row_and_a_step_one_update_whatever_the_batch(connection, counted, batch):
    instances = [new_instance(f"wf_{number}") for number in range(batch)]
    writes.create(connection, [created_row(instance) for instance in instances])
    assert counted() == {"history INSERT": batch, "instances INSERT": batch}
    states = [after(each, RUN_STARTED, succeeded(0)) for each in instances]
    rows = [appended_rows(each, [RUN_STARTED, succeeded(0)], is_to_announce=False) for each in states]
    writes.append(connection, rows)
    assert counted() == {"history INSERT": 2 * batch, "instances UPDATE": 2 * batch}, "the status is in indexes"
    states = [after(each, succeeded(1)) for each in states]
    writes.append(connection, [appended_rows(each, [succeeded(1)], is_to_announce=False) for each in states])
    assert counted() == {"history INSERT": batch, "instances UPDATE": batch}


def test_a_batch_of_appends_is_one_statement(connection):
    instances = [new_instance(f"wf_{number}") for number in range(300)]
    writes.create(connection, [created_row(instance) for instance in instances])
    rows = [appended_rows(after(each, RUN_STARTED), [RUN_STARTED], is_to_announce=False) for each in instances]
    noting = Noting(connection)
    writes.append(noting, rows)
    assert len(noting.noted) == 1


def test_an_append_of_more_rows_than_a_statement_takes_is_whole(connection):
    instance = new_instance()
    writes.create(connection, [created_row(instance)])
    steps = [succeeded(position) for position in range(1_300)]
    writes.append(connection, [appended_rows(after(instance, *steps), steps, is_to_announce=False)])
    assert connection.execute("SELECT count(*), max(revision) FROM history").fetchone() == (1_301, 1_301)
    assert connection.execute("SELECT revision, current_step FROM instances").fetchone() == (1_301, 1_300)


async def test_a_payload_is_stored_as_the_bytes_it_is(store):
    payload = b'{"spaces" :  "kept", "n": 1.0}'
    instance = new_instance()
    await store.create(instance)
    await store.append(after(instance, succeeded(0, payload)), [succeeded(0, payload)])
    with closing(sqlite3.connect(store._path)) as other:
        assert other.execute("SELECT payload FROM history WHERE revision = 2").fetchone() == (payload,)
        (body,) = other.execute("SELECT body FROM history WHERE revision = 2").fetchone()
    assert json.loads(body)["duration_ms"] == 500


@pytest.mark.parametrize("synchronous", ["full", "normal"])
async def test_the_writing_connection_is_as_durable_as_asked(tmp_path, synchronous):
    with closing(SqliteStore(tmp_path / "workflows.db", synchronous=synchronous)._connect()) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == ({"full": 2, "normal": 1}[synchronous],)
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)


@pytest.mark.parametrize("synchronous", ["ful", "FULL", "off", "", 2, None])
def test_a_durability_that_there_is_not_is_refused_and_no_weaker_one_taken(tmp_path, synchronous):
    with pytest.raises(InvalidInputError, match=f"synchronous: must be one of full, normal, not {synchronous!r}"):
        SqliteStore(tmp_path / "workflows.db", synchronous=synchronous)


async def test_a_file_that_another_program_locks_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_S", 0.0)
    path = tmp_path / "workflows.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="SQLITE_BUSY"):
            await SqliteStore(path).open()


async def test_a_file_system_without_shared_memory_is_told(tmp_path, monkeypatch):
    """SQLite then answers with the mode that it kept."""
    connect = sqlite3.connect

    class Stubborn(sqlite3.Connection):
        def execute(self, statement, *parameters):
            return super().execute("SELECT 'delete'" if "journal_mode" in statement else statement, *parameters)

    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=Stubborn))
    with pytest.raises(StoreError, match="file system"):
        await SqliteStore(tmp_path / "workflows.db").open()


@pytest.mark.parametrize("trouble", [sqlite3.OperationalError("no more files"), asyncio.CancelledError()])
async def test_a_store_that_cannot_read_lets_go_of_everything(tmp_path, monkeypatch, trouble):
    store = SqliteStore(tmp_path / "workflows.db")

    async def broken():
        raise trouble

    monkeypatch.setattr(store._states, "open", broken)
    with pytest.raises((StoreError, asyncio.CancelledError)):
        await store.open()
    with pytest.raises(StoreError, match="not open"):
        await store.summary("wf_1")


async def test_reads_cannot_write(store):
    with pytest.raises(StoreError, match="READONLY"):
        await store._states.rows("DELETE FROM instances")


async def test_what_is_not_committed_is_not_seen(store):
    instance = new_instance()
    await store.create(instance)
    with closing(sqlite3.connect(store._path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE instances SET status = 'failed'")
        assert (await store.summary("wf_1")).status is Status.PENDING
        other.execute("ROLLBACK")


DAMAGES = {
    "a body that is no JSON": "UPDATE history SET body = 'oops' WHERE revision = 2",
    "a missing row": "DELETE FROM history WHERE revision = 2",
    "a missing end": "DELETE FROM history WHERE revision > 3",
    "no history at all": "DELETE FROM history",
    "an unknown type": "UPDATE history SET type = 'Imagined' WHERE revision = 2",
    "a payload too many": "UPDATE history SET payload = x'7b7d' WHERE revision = 2",
    "a payload too few": "UPDATE history SET payload = NULL WHERE revision = 1",
    "a field of another type": 'UPDATE history SET body = replace(body, \'"position":0\', \'"position":"0"\')',
    "a time beyond time": f"UPDATE history SET at = {2**62} WHERE revision = 2",
    "a policy of other fields": "UPDATE history SET body = replace(body, 'initial_backoff', 'first_backoff')",
    "a policy of another type": "UPDATE history SET body = replace(body, '\"max_retries\":3', '\"max_retries\":null')",
    "a time that is none": "UPDATE history SET at = 'noon' WHERE revision = 2",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_an_unreadable_history_is_its_own_error_and_nobody_elses(store, damage):
    for name in ("wf_1", "wf_2"):
        instance = new_instance(name)
        await store.create(instance)
        await store.append(after(instance, *EVERY_KIND), EVERY_KIND)
    with closing(sqlite3.connect(store._path, isolation_level=None)) as other:
        where = "WHERE" if "WHERE" not in DAMAGES[damage] else "AND"
        other.execute(f"{DAMAGES[damage]} {where} instance = (SELECT key FROM instances WHERE id = 'wf_1')")
    found = await store.histories(["wf_1", "wf_2"])
    assert isinstance(found["wf_1"], CorruptDatabaseError)
    assert "wf_1" in str(found["wf_1"])
    assert len(found["wf_2"]) == 1 + len(EVERY_KIND)


async def test_an_unreadable_state_is_shown_as_blocked(store):
    await store.create(new_instance())
    with closing(sqlite3.connect(store._path, isolation_level=None)) as other:
        other.execute("UPDATE instances SET status = 'dreaming'")
    summary = await store.summary("wf_1")
    assert (summary.status, summary.blocked_reason) == (Status.BLOCKED, "unreadable: its row: status")
    assert await store.list() == [summary]


@pytest.mark.parametrize("absurd", [2**62, -(2**62), "noon", 1e300])
async def test_a_due_time_beyond_time_holds_up_no_other(store, caplog, absurd):
    for name in ("wf_1", "wf_2"):
        instance = new_instance(name)
        await store.create(instance)
        await store.append(after(instance, RUN_STARTED, sleeping(5)), [RUN_STARTED, sleeping(5)])
    due_at = sleeping(5).due_at
    with closing(sqlite3.connect(store._path, isolation_level=None)) as other:
        other.execute("UPDATE instances SET due_at = ? WHERE id = 'wf_1'", (absurd,))
    assert await store.next_due(after=BEGINNING) == due_at
    assert "wf_2" in await store.due(now=due_at, limit=9)
    assert caplog.text == ""
    assert await store.next_due(after=due_at) is None
    assert await store.next_due(after=due_at) is None
    assert caplog.text.count("due at no time") == (0 if absurd == -(2**62) else 1)


async def test_damaged_pages_cost_only_the_instances_on_them(store):
    """A page of the history is overwritten on disk; whoever has rows on it is unreadable, the others are not."""
    for number in range(40):
        instance = new_instance(f"wf_{number:02}", input_json=b'"' + b"x" * 1500 + b'"')
        await store.create(instance)
    ids = [f"wf_{number:02}" for number in range(40)]
    await store.close()
    with closing(sqlite3.connect(store._path)) as other:
        pages = [
            page
            for (page,) in other.execute(
                "SELECT pageno FROM dbstat WHERE name = 'history' AND pagetype = 'leaf' ORDER BY pageno"
            )
        ]
    with store._path.open("r+b") as file:
        file.seek((pages[len(pages) // 2] - 1) * 4096)
        file.write(b"\xff" * 4096)
    await store.open()
    found = await store.histories(ids)
    unreadable = [each for each in ids if isinstance(found.get(each), CorruptDatabaseError)]
    assert 1 <= len(unreadable) <= 3
    assert len(found) == 40


async def test_text_that_is_no_unicode_is_refused_before_anything_is_queued(store):
    with pytest.raises(InvalidInputError, match="no Unicode"):
        await store.create(new_instance(idempotency_key="\ud800"))
    await store.create(new_instance())
    blocked = InstanceBlocked(at=BEGINNING, reason="\udfff")
    with pytest.raises(InvalidInputError, match="no Unicode"):
        store.append(after(new_instance(), blocked), [blocked])


@pytest.mark.slow
async def test_a_million_sleepers_cost_nothing_at_the_start(tmp_path):
    path = tmp_path / "workflows.db"
    with closing(SqliteStore(path, synchronous="normal")._connect()) as connection:
        writes.create(connection, [created_row(new_instance("wf_0"))])
        state = after(new_instance("wf_0"), RUN_STARTED, sleeping(1e6))
        rows = appended_rows(state, [RUN_STARTED, sleeping(1e6)], is_to_announce=False)
        writes.append(connection, [rows])
        columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info('instances')")][2:]
        connection.execute(
            f"INSERT INTO instances (id, {', '.join(columns)}) SELECT 'wf_' || value, {', '.join(columns)} "
            "FROM instances, (WITH RECURSIVE numbers (value) AS "
            "(SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < 1000000) SELECT value FROM numbers)"
        )
    store = SqliteStore(path)
    started = time.thread_time()
    await store.open()
    assert await store.runnable("order", limit=10) == []
    assert await store.next_due(after=completed().at) == sleeping(1e6).due_at
    assert await store.due(now=completed().at, limit=10) == []
    elapsed = time.thread_time() - started
    await store.close()
    assert elapsed < 0.1
