"""Finished instances go when they are old, or too many; whatever lives stays."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from engine_parts import TroubledStore, an_instance, settled

from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import Cancel
from pylon_workflows.errors import StorageFullError, UnknownInstanceError
from pylon_workflows.live_instances import LiveInstances
from pylon_workflows.retention import Retention
from pylon_workflows.testing import FakeClock


class Setting:
    def __init__(self):
        self.clock = FakeClock()
        self.store = TroubledStore()
        self.live = LiveInstances(1000, 1_000_000)
        self.changes = Changes(self.store, self.clock, self.live, lambda instance: None)
        self.running = []

    async def finish(self, *ids):
        for instance_id in ids:
            await self.store.create(an_instance(instance_id))
            await self.changes.change(instance_id, Cancel())

    def run(self, *, keep_for=None, keep=None):
        retention = Retention(self.store, self.clock, self.live, keep_for=keep_for, keep=keep)
        self.running.append(asyncio.create_task(retention.run()))
        return self.running[-1]

    async def left(self):
        return [summary.id for summary in await self.store.list(limit=10_000)][::-1]


@pytest.fixture
async def it():
    setting = Setting()
    await setting.store.open()
    yield setting
    for task in setting.running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_finished_long_enough_ago_is_deleted(it):
    await it.finish("old")
    it.clock.advance(timedelta(days=29))
    await it.finish("young")
    it.run(keep_for=timedelta(days=30))
    await settled()
    assert await it.left() == ["old", "young"]
    it.clock.advance(timedelta(days=1, seconds=1))
    await settled()
    assert await it.left() == ["young"]
    with pytest.raises(UnknownInstanceError):
        await it.changes.read("old")


async def test_whatever_lives_stays_however_old_it_is(it):
    await it.store.create(an_instance("living"))
    it.run(keep_for=timedelta(0), keep=0)
    it.clock.advance(timedelta(days=365))
    await settled()
    assert await it.left() == ["living"]


async def test_only_the_newest_are_kept_when_there_is_a_limit(it):
    await it.finish("a", "b", "c", "d")
    it.run(keep=2)
    await settled()
    assert await it.left() == ["c", "d"]


async def test_more_than_a_batch_is_deleted_without_waiting_a_minute(it):
    await it.finish(*(f"wf_{number}" for number in range(450)))
    it.run(keep=0)
    await settled()
    await settled()
    assert (await it.left(), len(it.live)) == ([], 0)


async def test_without_a_limit_nothing_is_ever_deleted(it):
    await it.finish("a")
    await it.run()
    assert await it.left() == ["a"]


async def test_a_store_in_trouble_is_tried_again_a_minute_later(it, caplog):
    await it.finish("a")
    delete = it.store.delete

    async def refuse(ids):
        raise StorageFullError("the disk is full")

    it.store.delete = refuse
    it.run(keep=0)
    await settled()
    assert await it.left() == ["a"]
    assert "retention could not delete: the disk is full" in caplog.text
    it.store.delete = delete
    it.clock.advance(60)
    await settled()
    assert await it.left() == []


async def test_a_read_under_way_puts_no_deleted_instance_back_into_memory(it):
    await it.finish("a", "b")
    it.live.clear()
    it.store.hold()
    reading = asyncio.create_task(it.changes.read("a"))
    await settled()
    it.run(keep=0)
    await settled()
    it.store.release()
    assert (await reading).id == "a", "it had been read before it was deleted"
    await settled()
    assert (await it.left(), len(it.live)) == ([], 0)
    with pytest.raises(UnknownInstanceError):
        await it.changes.read("a")


async def test_deleting_pushes_nobody_else_out_of_memory(it):
    await it.finish(*(f"wf_{number}" for number in range(100)))
    it.live.clear()
    await it.store.create(an_instance("living"))
    await it.changes.read("living")
    it.run(keep=0)
    await settled()
    assert (await it.left(), len(it.live)) == (["living"], 1)
