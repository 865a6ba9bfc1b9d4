"""What stays the same while workers change places, folders and sockets."""

import asyncio
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from owner import Mute, Owner, worker

from pylon_workflows import (
    NoOwnerError,
    OwnershipLostError,
    StoreError,
    UnknownInstanceError,
    UnreadableInstanceError,
    WorkflowError,
)
from pylon_workflows.ownership import owner_server
from pylon_workflows.store.file_reads import SqliteFileReads
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Complete


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders; the program is in the first one."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    monkeypatch.chdir(here)
    return here, there


async def test_the_file_that_is_locked_is_the_one_that_is_opened_though_the_program_went_to_another_folder(folders):
    here, there = folders
    engine = worker("orders.db")
    os.chdir(there)
    async with engine, worker(there / "orders.db"):
        await engine.start("order")
        assert (here / "orders.db.lock").exists()
        assert (here / "orders.db.sock").is_socket()


@pytest.mark.slow
async def test_an_engine_and_a_standby_stay_with_their_file_when_the_program_goes_to_another_folder(folders):
    here, there = folders
    async with worker("orders.db") as engine, Owner(Path("other.db")), worker("other.db") as standby:
        os.chdir(there)
        await asyncio.sleep(1.2)
        for one in (engine, standby):
            assert one.refusal is None
            await one.start("order")
        os.chdir(here)


@pytest.mark.slow
async def test_who_waits_at_an_owner_that_is_replaced_goes_on_waiting(path):
    async with worker(path) as former:
        instance_id = await former.start("order")
        waiting = asyncio.create_task(former.result(instance_id, 20))
        await asyncio.sleep(0.1)
        path.with_name("orders.db.lock").unlink()
        async with Owner(path) as owner:
            await wait_until(lambda: former.role == "standby")
            await owner.engine.apply(instance_id, Complete(output=7))
            assert await asyncio.wait_for(waiting, 10) == 7


async def test_a_call_that_an_owner_left_hanging_is_done_by_the_one_that_took_its_place(path, monkeypatch):
    """A third worker had no lock to lose and gets none: the socket alone tells it that there is another owner (P22)."""
    monkeypatch.setattr(owner_server, "_LAST_ANSWERS_S", 0.01)  # of the one that hangs, when the test is over
    mute = Mute("/start")
    async with Owner(path, mute), worker(path) as third:
        calling = asyncio.create_task(third.start("order", id="order-1"))
        await asyncio.wait_for(mute.has_done.wait(), 10)
        path.with_name("orders.db.lock").unlink()
        async with Owner(path) as new:
            assert await asyncio.wait_for(calling, 5) == "order-1"
            assert third.role == "standby"
            assert [each.id for each in await new.engine.list()] == ["order-1"]


@pytest.mark.slow
async def test_who_waits_at_an_engine_whose_file_is_gone_hears_of_it(path):
    async with worker(path) as engine:
        waiting = asyncio.create_task(engine.result(await engine.start("order"), 20))
        await asyncio.sleep(0.1)
        path.unlink()
        with pytest.raises(OwnershipLostError):
            await asyncio.wait_for(waiting, 10)


@pytest.mark.slow
async def test_an_owner_whose_socket_is_removed_listens_anew(path, caplog):
    async with worker(path) as engine:
        there = path.with_name("orders.db.sock")
        there.unlink()
        await wait_until(lambda: "has been made anew" in caplog.text)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(there))
        assert engine.role == "owner"
    assert not there.exists()


async def test_an_owner_leaves_what_another_has_put_in_the_place_of_its_socket(path, monkeypatch):
    monkeypatch.setattr(owner_server, "_LOOK_S", 0.01)
    async with worker(path):
        there = path.with_name("orders.db.sock")
        there.unlink()
        there.write_text("another's")
        await asyncio.sleep(0.1)
        assert there.read_text() == "another's"


async def test_a_standby_tells_nothing_to_a_socket_of_a_stranger(path, monkeypatch):
    heard = []
    stranger = os.geteuid() + 1
    there = path.with_name("orders.db.sock")
    lstat = Path.lstat

    def as_if_a_strangers(self):
        found = lstat(self)
        if self != there:
            return found
        return os.stat_result((*found[:4], stranger, *found[5:10]))

    async with Owner(path), worker(path, forward_timeout_s=0.3) as standby:
        there.unlink()
        server = await asyncio.start_unix_server(lambda reader, writer: heard.append(writer.close()), there)
        monkeypatch.setattr(Path, "lstat", as_if_a_strangers)
        with pytest.raises(NoOwnerError, match=f"belongs to user {stranger}"):
            await standby.start("order", {"secret": 1})
        server.close()
    assert heard == []


async def test_a_name_that_is_no_text_is_refused_on_a_standby_too(path):
    async with Owner(path) as owner, worker(path) as standby:
        for engine in (owner.engine, standby):
            with pytest.raises(WorkflowError):
                await engine.start_or_find("\ud800")


async def test_who_waits_on_a_standby_for_an_instance_that_is_deleted_as_soon_as_it_ends_hears_of_it(path):
    async with Owner(path) as owner, worker(path) as standby:
        await owner.engine.start_or_find("order", id="a")
        waiting = asyncio.create_task(standby.wait("a"))
        await asyncio.sleep(0.2)
        with closing(sqlite3.connect(path)) as connection:  # what a standby sees that did not look in between
            connection.execute("DELETE FROM history")
            connection.execute("DELETE FROM instances")
            connection.commit()
        with pytest.raises(UnknownInstanceError):
            await asyncio.wait_for(waiting, 5)


async def test_who_waits_on_a_standby_hears_when_what_has_finished_cannot_be_read(path):
    async with Owner(path) as owner, worker(path) as standby:
        await owner.engine.start_or_find("order", id="a")
        waiting = asyncio.create_task(standby.wait("a"))
        await asyncio.sleep(0.2)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE history SET type = 'Nonsense'")
            connection.execute("UPDATE instances SET completed_at = 1, status = 'completed'")
            connection.commit()
        with pytest.raises(UnreadableInstanceError):
            await asyncio.wait_for(waiting, 5)


async def test_a_reading_that_failed_once_is_tried_again_for_those_who_wait_on_a_standby(path, monkeypatch):
    async with Owner(path) as owner, worker(path) as standby:
        await owner.engine.start_or_find("order", id="a")
        waiting = asyncio.create_task(standby.wait("a"))
        await asyncio.sleep(0.2)
        histories, failures = SqliteFileReads.histories, []

        async def fail_once(self, ids):
            if not failures:
                failures.append(StoreError("the disk hiccups"))
                raise failures[0]
            return await histories(self, ids)

        monkeypatch.setattr(SqliteFileReads, "histories", fail_once)
        await owner.engine.apply("a", Complete(output=7))
        assert (await asyncio.wait_for(waiting, 5)).output == 7
        assert failures
