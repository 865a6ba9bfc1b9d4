"""The write-ahead log stays short, and what keeps it from that is told once."""

import asyncio
import logging
import sqlite3
from contextlib import closing, contextmanager

from pylon_workflows.store import checkpoints, group_commit


@contextmanager
def reading(words):
    """Another program that goes on reading what is there now."""
    with closing(sqlite3.connect(words.path, isolation_level=None, timeout=0)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM words").fetchall()
        yield


def log_bytes(words):
    return words.path.with_name("words.db-wal").stat().st_size


async def test_the_log_is_checkpointed_after_much_work_when_idle_and_at_the_end(words, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "pylon_workflows.store")
    monkeypatch.setattr(group_commit, "IDLE_S", 0.001)
    await words.add_all("a")
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


async def test_a_checkpoint_that_a_reader_holds_up_is_told_and_loses_nothing(words, caplog):
    await words.add_all("a")
    with reading(words):
        await words.add_all("b")
        await words.writer.close()
        assert "cannot be emptied" in caplog.text
    assert words.stored() == ["a", "b"]


async def test_a_checkpoint_on_a_full_disk_is_told_once_and_tried_again(words, caplog, monkeypatch):
    monkeypatch.setattr(group_commit, "CHECKPOINT_PAGES", 1)
    caplog.set_level(logging.INFO, "pylon_workflows.store")
    words.disk.fail("PRAGMA wal_checkpoint(PASSIVE)", "SQLITE_FULL", times=3)
    for number in range(5):
        await words.add_all(f"word {number}")
    await words.writer.close()
    assert [record.message for record in caplog.records] == [
        "checkpoint (PASSIVE) failed: sqlite_full",
        "the write-ahead log can be copied into the file again",
    ]
    assert len(words.stored()) == 5


async def test_a_reader_that_stays_lets_the_log_grow_which_is_told_once_and_mended_after_it(words, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "pylon_workflows.store")
    monkeypatch.setattr(group_commit, "CHECKPOINT_PAGES", 1)
    monkeypatch.setattr(checkpoints, "PAGES_TO_EMPTY", 20)
    with reading(words):
        for number in range(40):
            await words.add_all(f"{number}" * 1000)
        assert log_bytes(words) > 40 * 4120
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "as a backup, goes on reading" in caplog.text
    await words.add_all("a")
    await words.add_all("b")
    await words.writer.submit(words.remove, "nothing")
    assert log_bytes(words) < 40 * 4120
    assert caplog.messages[-1] == "the write-ahead log can be copied into the file again"


async def test_waiting_for_readers_takes_a_moment_and_the_usual_patience_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "PAGES_TO_EMPTY", 0)
    monkeypatch.setattr(checkpoints, "READERS_MS", 1)
    path = tmp_path / "words.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE words (word)")
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM words").fetchall()
            writer.execute("INSERT INTO words VALUES ('a')")
            checkpoints.Checkpoints().run(writer)
        assert writer.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
