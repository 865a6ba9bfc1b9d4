"""The writer's thread: what is handed in is committed together, and each caller hears of its own item."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from pylon_workflows.errors import CorruptDatabaseError, StorageFullError, StoreError
from pylon_workflows.store import group_commit
from pylon_workflows.store.group_commit import GroupCommit


class Words:
    """A file of one table, its writer, and a gate that holds the writer's thread up."""

    def __init__(self, path):
        self.path = path
        self.batches = []
        self.connections = 0
        self.gate = threading.Event()
        self.gate.set()
        self.is_waiting = threading.Event()
        self.trouble = None
        self.connect_trouble = None
        self.writer = GroupCommit(self.connect, (self.add, self.remove), name="words")

    def connect(self):
        if self.connect_trouble is not None:
            raise self.connect_trouble
        self.connections += 1
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=0.01)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY)")
        return connection

    def add(self, connection, words):
        self.is_waiting.set()
        self.gate.wait()
        self.batches.append(list(words))
        if self.trouble is not None:
            raise self.trouble
        results = []
        for word in words:
            if word == "drop":
                connection.execute("DROP TABLE words")
            results.append(connection.execute("INSERT INTO words VALUES (?)", (word,)).lastrowid)
        return results

    def remove(self, connection, words):
        return [connection.execute("DELETE FROM words WHERE word = ?", (word,)).rowcount for word in words]

    async def hold(self):
        """Keep the writer busy with a first item until the gate opens."""
        self.gate.clear()
        first = self.writer.submit(self.add, "first")
        await asyncio.get_running_loop().run_in_executor(None, self.is_waiting.wait)
        return first

    def stored(self):
        with closing(sqlite3.connect(self.path)) as connection:
            return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY rowid")]


@pytest.fixture
async def words(tmp_path):
    words = Words(tmp_path / "words.db")
    await words.writer.open()
    yield words
    words.gate.set()
    await words.writer.close()


def sqlite_error(name, kind=sqlite3.OperationalError):
    error = kind(name.lower())
    error.sqlite_errorname = name
    return error


async def test_what_is_handed_in_during_a_commit_is_committed_together(words):
    first = await words.hold()
    others = [words.writer.submit(words.add, f"word {number}") for number in range(10)]
    words.gate.set()
    assert await asyncio.gather(first, *others) == list(range(1, 12))
    assert [len(batch) for batch in words.batches] == [1, 10]


async def test_a_batch_has_a_largest_size(words, monkeypatch):
    monkeypatch.setattr(group_commit, "MAX_BATCH_ROWS", 4)
    first = await words.hold()
    others = [words.writer.submit(words.add, f"word {number}", rows=2) for number in range(5)]
    words.gate.set()
    await asyncio.gather(first, *others)
    assert [len(batch) for batch in words.batches] == [1, 2, 2, 1]


async def test_operations_run_in_the_order_of_their_declaration(words):
    first = await words.hold()
    removed = words.writer.submit(words.remove, "word")
    added = words.writer.submit(words.add, "word")
    words.gate.set()
    assert await asyncio.gather(first, added, removed) == [1, 2, 1]
    assert words.stored() == ["first"]


async def test_one_wakeup_of_the_loop_resolves_a_batch(words, monkeypatch):
    wakeups = []
    loop = asyncio.get_running_loop()
    call = loop.call_soon_threadsafe
    first = await words.hold()
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: wakeups.append(args) or call(*args))
    others = [words.writer.submit(words.add, f"word {number}") for number in range(10)]
    words.gate.set()
    await asyncio.gather(first, *others)
    assert len(wakeups) == 2


async def test_a_bad_item_fails_alone(words):
    first = await words.hold()
    good = [words.writer.submit(words.add, word) for word in ("a", "b")]
    bad = words.writer.submit(words.add, "a")
    more = words.writer.submit(words.add, "c")
    words.gate.set()
    await asyncio.gather(first, *good, more)
    with pytest.raises(StoreError, match="SQLITE_CONSTRAINT") as failure:
        await bad
    assert isinstance(failure.value.__cause__, sqlite3.IntegrityError)
    assert words.stored() == ["first", "a", "b", "c"]


async def test_a_cancelled_caller_breaks_nothing_and_its_item_is_written(words):
    first = await words.hold()
    cancelled = words.writer.submit(words.add, "kept")
    other = words.writer.submit(words.add, "other")
    cancelled.cancel()
    words.gate.set()
    await asyncio.gather(first, other)
    assert words.stored() == ["first", "kept", "other"]


async def test_a_cancelled_caller_of_a_bad_item_breaks_nothing(words):
    first = await words.hold()
    cancelled = words.writer.submit(words.add, "first")
    other = words.writer.submit(words.add, "other")
    cancelled.cancel()
    words.gate.set()
    assert await asyncio.gather(first, other) == [1, 2]


@pytest.mark.parametrize(
    ("name", "failure"),
    [("SQLITE_FULL", StorageFullError), ("SQLITE_BUSY", StoreError), ("SQLITE_IOERR_FSYNC", StoreError)],
)
async def test_trouble_with_the_file_fails_the_batch_and_the_next_goes_on(words, name, failure):
    words.trouble = sqlite_error(name)
    outcomes = await asyncio.gather(*(words.writer.submit(words.add, w) for w in "ab"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [failure] * 2
    assert outcomes[0] is not outcomes[1]
    words.trouble = None
    await words.writer.submit(words.add, "c")
    assert words.stored() == ["c"]


async def test_an_io_error_makes_it_connect_anew(words):
    words.trouble = sqlite_error("SQLITE_IOERR_WRITE")
    with pytest.raises(StoreError):
        await words.writer.submit(words.add, "a")
    words.trouble = None
    words.connect_trouble = sqlite_error("SQLITE_CANTOPEN")
    with pytest.raises(StoreError, match="CANTOPEN"):
        await words.writer.submit(words.add, "b")
    words.connect_trouble = None
    await words.writer.submit(words.add, "c")
    assert words.connections == 2


async def test_a_damaged_file_is_not_written_to_again(words):
    words.trouble = sqlite_error("SQLITE_CORRUPT_INDEX", sqlite3.DatabaseError)
    with pytest.raises(CorruptDatabaseError, match="restore a backup"):
        await words.writer.submit(words.add, "a")
    words.trouble = None
    with pytest.raises(CorruptDatabaseError, match="restore a backup"):
        await words.writer.submit(words.add, "b")
    assert words.stored() == []


async def test_file_trouble_in_the_second_attempt_fails_everybody(words):
    first = await words.hold()
    others = [words.writer.submit(words.add, word) for word in ("drop", "drop", "x")]
    words.gate.set()
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert outcomes[0] == 1
    assert [type(outcome) for outcome in outcomes[1:]] == [StoreError] * 3
    assert words.stored() == ["first"]


async def test_when_the_commit_fails_nobody_is_acknowledged(words):
    class Full(sqlite3.Connection):
        is_full = True

        def execute(self, statement, *parameters):
            if statement == "COMMIT" and self.is_full:
                raise sqlite_error("SQLITE_FULL")
            return super().execute(statement, *parameters)

    writer = GroupCommit(
        lambda: sqlite3.connect(words.path, isolation_level=None, factory=Full), (words.add,), name="w"
    )
    await writer.open()
    outcomes = await asyncio.gather(*(writer.submit(words.add, word) for word in "ab"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageFullError] * 2
    assert words.stored() == []
    Full.is_full = False
    await writer.submit(words.add, "c")
    await writer.close()
    assert words.stored() == ["c"]


async def test_a_transaction_that_cannot_be_rolled_back_costs_the_connection(words):
    def broken(connection, items):
        connection.close()
        raise sqlite_error("SQLITE_FULL")

    words.add, original = broken, words.add
    writer = GroupCommit(words.connect, (broken, original), name="broken")
    await writer.open()
    with pytest.raises(StorageFullError):
        await writer.submit(broken, "a")
    assert await writer.submit(original, "b") == 1
    await writer.close()


async def test_closing_commits_what_was_handed_in(words):
    await words.hold()
    others = [words.writer.submit(words.add, f"word {number}") for number in range(3)]
    closing_writer = asyncio.create_task(words.writer.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="not open"):
        words.writer.submit(words.add, "too late")
    words.gate.set()
    await closing_writer
    assert await asyncio.gather(*others) == [2, 3, 4]
    assert words.stored() == ["first", "word 0", "word 1", "word 2"]


async def test_what_cannot_connect_says_why_and_leaves_no_thread(tmp_path):
    words = Words(tmp_path / "words.db")
    words.connect_trouble = StoreError("no such place")
    with pytest.raises(StoreError, match="no such place"):
        await words.writer.open()
    assert "words" not in [thread.name for thread in threading.enumerate()]


async def test_the_log_is_checkpointed_after_much_work_when_idle_and_at_the_end(words, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "pylon_workflows.store")
    monkeypatch.setattr(group_commit, "IDLE_S", 0.001)
    await words.writer.submit(words.add, "a")
    while "PASSIVE" not in caplog.text:  # noqa: ASYNC110  a log record sets no event
        await asyncio.sleep(0)
    caplog.clear()
    monkeypatch.setattr(group_commit, "IDLE_S", 60)
    await words.writer.submit(words.add, "b", rows=10_000)
    await words.writer.submit(words.remove, "a")
    assert "PASSIVE" in caplog.text
    caplog.clear()
    await words.writer.close()
    assert "TRUNCATE" in caplog.text
    assert not words.path.with_name("words.db-wal").exists()


async def test_a_checkpoint_that_fails_is_told_and_loses_nothing(words, caplog):
    with closing(sqlite3.connect(words.path, isolation_level=None, timeout=0)) as reader:
        await words.writer.submit(words.add, "a")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM words").fetchall()
        await words.writer.submit(words.add, "b")
        await words.writer.close()
        assert "busy 1" in caplog.text
    assert words.stored() == ["a", "b"]


async def test_a_checkpoint_on_a_full_disk_is_told(words, caplog, monkeypatch):
    class Full(sqlite3.Connection):
        def execute(self, statement, *parameters):
            if "checkpoint" in statement:
                raise sqlite_error("SQLITE_FULL")
            return super().execute(statement, *parameters)

    def connect():
        return sqlite3.connect(words.path, isolation_level=None, factory=Full)

    writer = GroupCommit(connect, (words.add,), name="full")
    await writer.open()
    await writer.submit(words.add, "a")
    await writer.close()
    assert "checkpoint (TRUNCATE) failed: sqlite_full" in caplog.text
    assert words.stored() == ["a"]


def test_a_writer_outlives_its_event_loop_and_ends_all_the_same(tmp_path):
    words = None

    async def begin():
        nonlocal words
        words = Words(tmp_path / "words.db")
        await words.writer.open()
        await words.hold()

    asyncio.run(begin())
    words.gate.set()
    words.writer._queue.put(None)
    words.writer._thread.join()
    assert words.stored() == ["first"]


async def test_a_connection_that_cannot_be_closed_is_told(words, caplog):
    class Clinging(sqlite3.Connection):
        def close(self):
            super().close()
            raise sqlite_error("SQLITE_BUSY")

    writer = GroupCommit(lambda: sqlite3.connect(words.path, factory=Clinging), (words.add,), name="clinging")
    await writer.open()
    await writer.close()
    assert "closing the database failed" in caplog.text


PROGRAM = """
import asyncio, pathlib, sqlite3, sys
from pylon_workflows.store.group_commit import GroupCommit

def add(connection, words):
    return [connection.execute("INSERT INTO words VALUES (?)", (word,)).lastrowid for word in words]

def connect():
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("CREATE TABLE words (word)")
    return connection

async def main():
    writer = GroupCommit(connect, (add,), name="words")
    await writer.open()
    writer.submit(add, "handed in and not awaited")

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_program_that_forgets_to_close_ends_and_loses_nothing(tmp_path):
    path = tmp_path / "words.db"
    subprocess.run([sys.executable, "-c", PROGRAM, str(path)], check=True, timeout=30)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT word FROM words").fetchall() == [("handed in and not awaited",)]
