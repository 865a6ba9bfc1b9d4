"""What becomes of a write when the disk does not do what it should: nobody is answered on a guess (P4, P24-P26)."""

import asyncio
import errno
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from words import Counting, Words

from pylon_workflows.errors import (
    CorruptDatabaseError,
    OwnershipLostError,
    StorageFailedError,
    StorageFullError,
    StoreError,
)
from pylon_workflows.store import write_connection
from pylon_workflows.store.group_commit import GroupCommit
from tests.faults.faulty_disk import sqlite_error


@pytest.mark.parametrize(("name", "failure"), [("SQLITE_FULL", StorageFullError), ("SQLITE_BUSY", StoreError)])
@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO words", "UPDATE count", "COMMIT"])
async def test_trouble_with_the_file_fails_the_batch_and_the_next_goes_on(words, name, failure, statement):
    words.disk.fail(statement, name)
    outcomes = await words.add_all("a", "b")
    assert [type(outcome) for outcome in outcomes] == [failure] * 2
    assert outcomes[0] is not outcomes[1]
    assert await words.add_all("c") == [1]
    assert words.stored() == ["c"]
    assert words.disk.connections == 1


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO words", "UPDATE count"])
async def test_after_an_io_error_before_the_commit_the_batch_is_done_again_on_a_new_connection(words, statement):
    words.disk.fail(statement, "SQLITE_IOERR_WRITE")
    assert await words.add_all("a", "b") == [1, 2]
    assert words.stored() == ["a", "b"]
    assert words.disk.connections == 2


async def test_after_an_io_error_at_commit_what_is_not_in_the_file_is_done_again(words):
    words.disk.fail("COMMIT", "SQLITE_IOERR_FSYNC")
    assert await words.add_all("a", "b") == [1, 2]
    assert words.stored() == ["a", "b"]
    assert words.disk.executed.count("COMMIT") == 2


async def test_after_an_io_error_at_commit_what_is_in_the_file_is_not_done_again(words):
    words.disk.fail("COMMIT", "SQLITE_IOERR_FSYNC", is_after=True)
    assert await words.add_all("a", "b") == [1, 2]
    assert words.stored() == ["a", "b"]
    assert words.disk.executed.count("COMMIT") == 1
    assert len(words.batches) == 1


@pytest.fixture
def syncs(monkeypatch):
    """`planned` are error numbers with which our own syncs are to fail, None for success; `done` is what came of each.

    `sizes` are those of the files that were to be synced.
    """
    syncs = SimpleNamespace(planned=[], done=[], sizes=[])

    def fsync(file):
        error = syncs.planned.pop(0) if syncs.planned else None
        syncs.done.append(error)
        syncs.sizes.append(os.fstat(file).st_size)
        if error is not None:
            raise OSError(error, os.strerror(error))

    monkeypatch.setattr("pylon_workflows.store.log_file.os.fsync", fsync)
    return syncs


def log_of(words):
    return Path(f"{words.path}-wal").read_bytes()


async def test_what_is_read_back_is_written_and_synced_again_before_it_is_acknowledged(words, syncs):
    """The system may forget a page of the log whose sync failed, and say of the next sync that all is well."""
    with closing(sqlite3.connect(words.path)) as reader:  # as in an engine: the log outlives the writer's connection
        assert reader.execute("SELECT * FROM words").fetchall() == []
        words.disk.fail("COMMIT", "SQLITE_IOERR_FSYNC", is_after=True)
        assert await words.add_all("a") == [1]
        assert syncs.sizes == [len(log_of(words))]
        await words.add_all("b")
        assert syncs.done == [None]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_what_is_read_back_and_cannot_be_synced_is_not_acknowledged(words, syncs, error):
    words.disk.fail("COMMIT", "SQLITE_IOERR_FSYNC", is_after=True)
    syncs.planned += [error]
    (outcome,) = await words.add_all("a")
    assert type(outcome) is StoreError
    assert "cannot be told whether this was stored" in str(outcome)
    assert await words.add_all("b") == [2]
    assert syncs.done == [error, None]


@pytest.mark.parametrize(("error", "failure"), [(errno.EIO, StorageFailedError), (errno.ENOSPC, StorageFullError)])
async def test_nothing_is_acknowledged_behind_a_gap_that_the_log_may_have(words, syncs, error, failure):
    words.disk.fail("COMMIT", "SQLITE_IOERR_FSYNC", is_after=True)
    syncs.planned += [error] * 4
    await words.add_all("a")
    (outcome,) = await words.add_all("b")
    assert type(outcome) is failure
    assert words.stored() == ["a"]


async def test_what_is_read_back_while_a_reader_holds_the_log_is_acknowledged_all_the_same(words):
    await words.add_all("a")
    with closing(sqlite3.connect(words.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM words").fetchall()
        words.disk.fail("COMMIT", "SQLITE_IOERR_FSYNC", is_after=True)
        assert await words.add_all("b") == [2]


async def test_when_the_file_cannot_be_read_back_nobody_is_acknowledged(words):
    words.disk.fail("COMMIT", "SQLITE_IOERR_FSYNC", is_after=True)
    words.disk.fail("connect", "SQLITE_CANTOPEN")
    outcomes = await words.add_all("a", "b")
    assert ["cannot be told whether this was stored" in str(outcome) for outcome in outcomes] == [True, True]
    assert await words.add_all("c") == [3]
    assert words.stored() == ["a", "b", "c"]


@pytest.mark.parametrize("statement", ["connect", "BEGIN", "COMMIT", "SELECT number"])
async def test_three_io_errors_in_a_row_stop_the_writing_until_it_is_opened_again(words, caplog, statement):
    if statement == "connect":
        words.disk.fail("BEGIN", "SQLITE_IOERR_WRITE")
        words.disk.fail("connect", "SQLITE_IOERR_READ", times=2)
    else:
        words.disk.fail(statement, "SQLITE_IOERR_WRITE", times=3)
    (outcome,) = await words.add_all("a")
    assert type(outcome) is StorageFailedError
    assert "failed 3 times in a row" in str(outcome)
    assert type(words.writer.stopped_by) is StorageFailedError
    executed = len(words.disk.executed)
    assert [type(outcome) for outcome in await words.add_all("b", "c")] == [StorageFailedError] * 2
    assert len(words.disk.executed) == executed
    assert caplog.text.count("writing has stopped") == 1
    again = Words(words.path)
    await again.writer.open()
    assert await again.add_all("d") == [1]
    await again.writer.close()


async def test_io_errors_with_successes_between_them_stop_nothing(words):
    for number in range(5):
        words.disk.fail("COMMIT", "SQLITE_IOERR_FSYNC", times=2 if number % 2 else 1, is_after=not number % 2)
        assert await words.add_all(f"word {number}") == [number + 1]
    assert words.writer.stopped_by is None


@pytest.mark.parametrize("is_after", [False, True])
async def test_a_full_disk_that_shows_as_an_io_error_stops_nothing_however_often(words, is_after):
    """A quota does so. What came into the file all the same is acknowledged, the rest is refused."""
    words.has_room = False
    for number in range(5):
        words.disk.fail("COMMIT", "SQLITE_IOERR_WRITE", is_after=is_after)
        (outcome,) = await words.add_all(f"word {number}")
        assert outcome == number + 1 if is_after else type(outcome) is StorageFullError
    assert words.writer.stopped_by is None
    assert len(words.stored()) == (5 if is_after else 0)


async def test_a_file_that_cannot_be_opened_again_is_opened_for_the_next_write(words):
    words.disk.fail("BEGIN", "SQLITE_IOERR_WRITE")
    words.connect_trouble = sqlite_error("SQLITE_CANTOPEN")
    with pytest.raises(StoreError, match="CANTOPEN"):
        await words.writer.submit(words.add, "a")
    with pytest.raises(StoreError, match="CANTOPEN"):
        await words.writer.submit(words.add, "b")
    words.connect_trouble = None
    assert await words.add_all("c") == [1]


@pytest.mark.parametrize("statement", ["INSERT INTO words", "COMMIT", "SELECT number"])
@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("SQLITE_CORRUPT_INDEX", CorruptDatabaseError),
        ("SQLITE_NOTADB", CorruptDatabaseError),
        ("SQLITE_READONLY_DBMOVED", StorageFailedError),
    ],
)
async def test_a_damaged_or_unwritable_file_is_not_written_to_again(words, statement, name, failure):
    words.disk.fail(statement, name)
    with pytest.raises(failure, match=r"restore a backup|make it writable"):
        await words.writer.submit(words.add, "a")
    with pytest.raises(failure, match=r"restore a backup|make it writable"):
        await words.writer.submit(words.add, "b")
    assert type(words.writer.stopped_by) is failure
    await words.writer.close()
    assert words.disk.connections == 1
    assert not [each for each in words.disk.executed if "wal_checkpoint" in each]


async def test_a_damaged_file_is_damaged_whatever_kind_of_error_says_so(words):
    words.trouble = sqlite_error("SQLITE_CORRUPT", sqlite3.DatabaseError)
    with pytest.raises(CorruptDatabaseError):
        await words.writer.submit(words.add, "a")
    assert words.stored() == []


async def test_file_trouble_in_the_second_attempt_fails_everybody(words):
    first = await words.hold()
    others = [words.writer.submit(words.add, word) for word in ("drop", "drop", "x")]
    words.gate.set()
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert outcomes[0] == 1
    assert [type(outcome) for outcome in outcomes[1:]] == [StoreError] * 3
    assert words.stored() == ["first"]


async def test_a_transaction_that_cannot_be_rolled_back_costs_the_connection(words):
    words.disk.fail("INSERT INTO words", "SQLITE_FULL")
    words.disk.fail("ROLLBACK", "SQLITE_ERROR")
    (outcome,) = await words.add_all("a")
    assert type(outcome) is StorageFullError
    assert await words.add_all("b") == [1]
    assert words.disk.connections == 2


async def test_a_fence_that_has_fallen_stops_the_writing_and_nothing_is_committed(tmp_path):
    class Falling(Counting):
        is_fallen = False

        def mark(self, connection):
            if self.is_fallen:
                raise OwnershipLostError("another has it")
            return super().mark(connection)

    fence, words = Falling(), Words(tmp_path / "words.db")
    words.writer = GroupCommit(words.connect, (words.add, words.remove), fence, name="words")
    await words.writer.open()
    await words.add_all("a")
    fence.is_fallen = True
    outcomes = [*await words.add_all("b", "c"), *await words.add_all("d")]
    outcomes += await asyncio.gather(words.writer.submit(words.remove, "a"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OwnershipLostError] * 4
    fence.is_fallen = False
    assert [type(outcome) for outcome in await words.add_all("e")] == [OwnershipLostError]
    await words.writer.close()
    assert words.stored() == ["a"]
    assert "PRAGMA wal_checkpoint(TRUNCATE)" not in words.disk.executed


async def test_each_trouble_is_told_once_and_so_is_its_end(words, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "pylon_workflows.store")
    words.disk.fail("COMMIT", "SQLITE_FULL", times=20)
    for _ in range(20):
        await words.add_all("a")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the disk is full" in caplog.text
    caplog.clear()
    await words.add_all("c")  # now and then a small write succeeds
    words.disk.fail("COMMIT", "SQLITE_FULL")
    await words.add_all("a")
    assert caplog.messages == []
    monkeypatch.setattr(write_connection, "CALM_S", 0)
    await words.add_all("a")
    await words.add_all("b")
    assert [record.message for record in caplog.records] == ["writes work again; 21 were refused in the meantime"]


async def test_on_a_full_disk_the_log_is_copied_into_the_file_for_its_room_to_be_used_again(words):
    await words.add_all("a")
    words.disk.fail("INSERT INTO words", "SQLITE_FULL", times=3)
    for _ in range(3):
        await words.add_all("b")
    assert words.disk.executed.count("PRAGMA wal_checkpoint(PASSIVE)") == 1


async def test_a_connection_that_cannot_be_closed_is_told(words, caplog):
    class Clinging(sqlite3.Connection):
        def close(self):
            super().close()
            raise sqlite_error("SQLITE_BUSY")

    def connect():
        return sqlite3.connect(words.path, isolation_level=None, factory=Clinging)

    writer = GroupCommit(connect, (words.add,), Counting(), name="clinging")
    await writer.open()
    await writer.close()
    assert "closing the database failed" in caplog.text
