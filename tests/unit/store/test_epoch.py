"""A former owner cannot commit, whatever it tries, and never writes again (P21)."""

import os
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import OwnershipLostError
from pylon_workflows.notices import NOTICED, Subscription
from pylon_workflows.schedule import Tick
from pylon_workflows.store.codec import from_microseconds
from pylon_workflows.store.epoch import Epoch, Mark
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.published_store_contract import EVENT, accept, event, key_of
from tests.contracts.run_store_contract import LATER, deleted
from tests.contracts.schedule_store_contract import DAILY
from tests.contracts.store_contract import RUN_STARTED, after, at, completed, new_instance, sleeping, succeeded
from tests.contracts.token_store_contract import SENDER
from tests.faults.faulty_disk import FaultyDisk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workflows.db"


@pytest.fixture
async def former(path):
    """A store whose file another has opened since: its instances are running, finished, and in a later run."""
    store = SqliteStore(path)
    store.outbox.write_for([Subscription(key="all", statuses=frozenset(NOTICED))], lambda: at(9))
    await store.open()
    await store.create(new_instance("running"))
    await store.create(new_instance("finished"))
    done = after(new_instance("finished"), completed())
    await store.append(done, [completed()], is_to_announce=True)
    await store.create(after(new_instance("old"), *LATER), later=LATER)
    await accept(store, EVENT)
    await store.published.claim(await key_of(store, event("claimed")), done, [])
    yield store
    await store.close()


@pytest.fixture
async def successor(former, path):
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


def everything(path):
    with closing(sqlite3.connect(path)) as connection:
        return [*connection.iterdump()]


WRITES = {
    "create": lambda store: store.create(new_instance("late")),
    "append": lambda store: store.append(after(new_instance("running"), RUN_STARTED), [RUN_STARTED]),
    "append_with_starts": lambda store: store.append(
        after(new_instance("running"), RUN_STARTED), [RUN_STARTED], starts=[new_instance("late")]
    ),
    "mark_announced": lambda store: store.mark_announced(["finished"]),
    "create_whole": lambda store: store.create(after(new_instance("late"), RUN_STARTED), later=[RUN_STARTED]),
    "park": lambda store: store.park("running", "unreadable: revision 1"),
    "restore": lambda store: store.restore(new_instance("running")),
    "delete": lambda store: store.delete(["finished"]),
    "save_definition": lambda store: store.save_definition(WorkflowDefinition("order")),
    "save_schedule": lambda store: store.schedules.save(DAILY),
    "tick_schedule": lambda store: store.schedules.tick(DAILY, Tick(DAILY.next_at, None), new_instance("late")),
    "delete_schedule": lambda store: store.schedules.delete("daily"),
    "delete_past_runs": lambda store: deleted(store, 20, id="old"),
    "accept_published": lambda store: accept(store, event("late")),
    "claim_published": lambda store: store.published.claim(1, new_instance("running"), []),
    "start_published": lambda store: store.published.start(1, new_instance("late")),
    "expire_published": lambda store: store.published.expire(now=at(20_000), limit=1),
    "save_token": lambda store: store.tokens.save(SENDER),
    "delete_token": lambda store: store.tokens.delete("abcdefghijk1"),
    "keep_secret": lambda store: store.secrets.keep("hooks", b"x" * 32),
    "forget_delivered": lambda store: store.outbox.delivered(1),
    "put_off_failed": lambda store: store.outbox.failed(1, next_at=at(60)),
    "give_up_old": lambda store: store.outbox.give_up("all", before=at(60), limit=1),
    "forget_published": lambda store: store.published.forget(now=at(20_000), limit=1),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_former_owner_commits_nothing(former, successor, path, write):
    before = everything(path)
    with pytest.raises(OwnershipLostError, match="another engine has taken the file over"):
        await WRITES[write](former)
    assert everything(path) == before


async def test_every_operation_of_the_writer_is_among_those_tried(former):
    names = {operation.__name__ for operation in former._writer._ranks}
    assert names == set(WRITES)


async def test_a_former_owner_stays_refused_until_it_is_opened_again(former, successor, path):
    former.check()
    with pytest.raises(OwnershipLostError):
        await former.create(new_instance("late"))
    with pytest.raises(OwnershipLostError):
        former.check()
    await successor.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as anybody:
        anybody.execute("UPDATE owner SET epoch = epoch - 1")
    with pytest.raises(OwnershipLostError):
        await former.create(new_instance("late"))
    await former.close()
    await former.open()
    former.check()
    assert await former.create(new_instance("late")) is None


async def test_a_former_owner_still_reads(former, successor):
    with pytest.raises(OwnershipLostError):
        await former.create(new_instance("late"))
    assert (await former.summary("running")).id == "running"


async def test_a_former_owner_does_not_checkpoint(former, successor, path, monkeypatch):
    """Beside a writer that could lose what the writer commits, in releases of SQLite before 3.51.3."""
    await successor.create(new_instance("new"))
    log = path.with_name("workflows.db-wal")
    size, main = log.stat().st_size, path.read_bytes()
    await former.close()
    assert (log.stat().st_size, path.read_bytes()) == (size, main)


async def test_a_former_owner_whose_disk_failed_does_not_come_back(path, monkeypatch):
    disk = FaultyDisk()
    monkeypatch.setattr("pylon_workflows.store.write_connection.IO_PAUSES_S", (0, 0))
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", disk.connect)
        former = SqliteStore(path)
        await former.open()
    successor = SqliteStore(path)
    await successor.open()
    disk.fail("BEGIN", "SQLITE_IOERR_WRITE")
    with pytest.raises(OwnershipLostError):
        await former.create(new_instance("late"))
    assert await successor.create(new_instance("new")) is None
    await former.close()
    await successor.close()


async def test_the_file_says_who_owns_it_and_since_when(former, path):
    with closing(sqlite3.connect(path)) as connection:
        epoch, pid, host, since = connection.execute("SELECT epoch, pid, host, since FROM owner").fetchone()
    assert (epoch, pid, host) == (1, os.getpid(), socket.gethostname())
    assert abs(from_microseconds(since) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_an_owner_row_that_was_removed_is_no_permission(former, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as anybody:
        anybody.execute("DELETE FROM owner")
    with pytest.raises(OwnershipLostError):
        await former.create(new_instance("late"))
    await former.close()
    await former.open()
    assert await former.create(new_instance("late")) is None


TRANSACTIONS = {
    "a new instance": lambda store: store.create(new_instance("new")),
    "an append": lambda store: store.append(after(new_instance("running"), RUN_STARTED), [RUN_STARTED]),
    "a start that finds another": lambda store: store.create(new_instance("running")),
    "a mark": lambda store: store.mark_announced(["finished"]),
    "a mark of nothing": lambda store: store.mark_announced(["unknown"]),
    "a deletion": lambda store: store.delete(["finished"]),
    "a definition": lambda store: store.save_definition(WorkflowDefinition("order")),
}


@pytest.mark.parametrize("transaction", TRANSACTIONS)
async def test_every_transaction_can_be_told_from_the_one_before(former, path, transaction):
    """However little it changes: by this it is known after an I/O error whether it was committed (P25)."""

    def look():
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            epoch._number = 1
            return epoch.mark(connection)

    epoch = Epoch()
    seen = [look()]
    for _ in range(2):
        await TRANSACTIONS[transaction](former)
        seen.append(look())
        if transaction == "an append":
            break
    assert len(set(seen)) == len(seen)


async def test_a_transaction_of_history_costs_no_further_write(former, path):
    def batch():
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT batch FROM owner").fetchone()

    before = batch()
    await former.append(after(new_instance("running"), RUN_STARTED), [RUN_STARTED])
    assert batch() == before


async def test_a_transaction_that_was_rolled_back_does_not_mislead_the_next(path):
    """Two transactions have the same last row, when the first one was rolled back."""
    with closing(SqliteStore(path)._connect()) as connection:
        epoch = Epoch()
        epoch.take(connection)
        committed = epoch.mark(connection)
        marks = []
        for _ in range(2):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO history VALUES (1, 1, 'x', 1, '{}', NULL)")
            marks.append(epoch.seal(connection, committed))
            connection.execute("ROLLBACK")
        assert marks == [Mark(0, 1), Mark(0, 1)]
        connection.execute("BEGIN IMMEDIATE")
        assert epoch.seal(connection, committed) == Mark(1, None)
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("is_after", [False, True])
async def test_a_start_an_append_and_a_deletion_are_certain_after_an_io_error_at_their_commit(
    path, monkeypatch, is_after
):
    disk = FaultyDisk()
    monkeypatch.setattr("pylon_workflows.store.write_connection.IO_PAUSES_S", (0, 0))
    monkeypatch.setattr(sqlite3, "connect", disk.connect)
    store = SqliteStore(path)
    await store.open()
    instance = new_instance("wf_1", idempotency_key="k")
    steps = [RUN_STARTED, succeeded(0), sleeping(5, 1)]
    commits = [
        lambda: store.create(instance),
        lambda: store.append(after(instance, *steps), steps),
        lambda: store.append(after(instance, *steps, completed()), [completed()], is_to_announce=True),
        lambda: store.mark_announced(["wf_1"]),
        lambda: store.save_definition(WorkflowDefinition("order")),
        lambda: store.delete(["wf_1"]),
    ]
    answers = []
    for commit in commits:
        disk.fail("COMMIT", "SQLITE_IOERR_FSYNC", is_after=is_after)
        answers.append(await commit())
    assert answers == [None, None, None, None, None, 1]
    assert await store.histories(["wf_1"]) == {}
    assert [each.name for each in await store.definitions()] == ["order"]
    assert disk.connections == 4 + len(commits)
    await store.close()
