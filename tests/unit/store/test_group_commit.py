"""The writer's thread: what is handed in is committed together, and each caller hears of its own item."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from words import Words

from pylon_workflows.errors import StoreError
from pylon_workflows.store import group_commit


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


PROGRAM = """
import asyncio, pathlib, sqlite3, sys
from pylon_workflows.store.group_commit import GroupCommit

class Nobody:
    def take(self, connection):
        pass
    def mark(self, connection):
        pass
    def seal(self, connection, committed):
        pass

def add(connection, words):
    return [connection.execute("INSERT INTO words VALUES (?)", (word,)).lastrowid for word in words]

def connect():
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("CREATE TABLE words (word)")
    return connection

async def main():
    writer = GroupCommit(connect, (add,), Nobody(), name="words")
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
