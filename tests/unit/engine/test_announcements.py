"""The program's callbacks hear of every finished instance: after the commit, at least once."""

import asyncio
from contextlib import suppress

import pytest
from engine_parts import TroubledStore, an_instance, settled

from pylon_workflows.announcements import Announcements
from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import Cancel
from pylon_workflows.errors import StorageFullError
from pylon_workflows.live_instances import LiveInstances
from pylon_workflows.testing import FakeClock


class Process:
    """What one process does with a store: changes, and announcements of those that finish."""

    def __init__(self, store, *callbacks):
        self.clock = FakeClock()
        self.changes = Changes(store, self.clock, LiveInstances(100, 1_000_000), self._committed)
        self.announcements = Announcements(store, self.changes.read, self.clock)
        for callback in callbacks:
            self.announcements.add(callback)
        self.changes.has_announcements = self.announcements.has_callbacks

    def _committed(self, instance):
        if instance.is_finished:
            self.announcements.announce(instance)

    async def __aenter__(self):
        self._running = asyncio.create_task(self.announcements.run())
        await settled()
        return self

    async def __aexit__(self, *_):
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running


@pytest.fixture
async def store():
    store = TroubledStore()
    await store.open()
    return store


async def finish(process, *ids):
    for instance_id in ids:
        await process.changes._store.create(an_instance(instance_id))
        await process.changes.change(instance_id, Cancel())
    await settled()


async def test_each_callback_plain_or_async_hears_of_each_finished_instance(store):
    async def remember(instance):
        await asyncio.sleep(0)
        later.append(instance.id)

    told, later = [], []
    async with Process(store, lambda instance: told.append(instance.id), remember) as process:
        await finish(process, "a", "b")
    assert (told, later) == (["a", "b"], ["a", "b"])
    assert await store.unannounced(limit=9) == []


async def test_what_was_cut_off_is_told_after_the_restart(store):
    async def hang(instance):
        begun.append(instance.id)
        await asyncio.get_running_loop().create_future()

    begun, told = [], []
    async with Process(store, hang) as process:
        await finish(process, "a", "b")
    assert begun == ["a"]
    async with Process(store, lambda instance: told.append((instance.id, str(instance.status)))):
        pass
    assert told == [("a", "cancelled"), ("b", "cancelled")]
    assert await store.unannounced(limit=9) == []


async def test_a_callback_that_raises_is_told_again_after_the_restart_and_holds_up_no_other_instance(store, caplog):
    def refuse_a(instance):
        if instance.id == "a":
            raise ValueError("not today")
        told.append(instance.id)

    told, again = [], []
    async with Process(store, refuse_a) as process:
        await finish(process, "a", "b")
    assert told == ["b"]
    assert "a: a callback for finished instances raised" in caplog.text
    assert list(await store.unannounced(limit=9)) == ["a"]
    async with Process(store, lambda instance: again.append(instance.id)):
        pass
    assert again == ["a"]


async def test_without_callbacks_nothing_is_kept_to_be_announced(store):
    async with Process(store) as process:
        await finish(process, "a")
    assert await store.unannounced(limit=9) == []


@pytest.mark.parametrize("left", [1, 3, 4, 7])
async def test_what_an_earlier_program_left_untold_is_marked_when_nobody_wants_to_know(store, monkeypatch, left):
    def refuse(instance):
        raise ValueError("not today")

    monkeypatch.setattr("pylon_workflows.announcements._PAGE", 3)
    async with Process(store, refuse) as process:
        await finish(process, *(f"wf_{number}" for number in range(left)))
    assert await store.expired(completed_before=None, keep=0, limit=9) == []
    async with Process(store):
        pass
    assert await store.unannounced(limit=9) == []
    assert len(await store.expired(completed_before=None, keep=0, limit=9)) == left


async def test_an_instance_that_cannot_be_marked_is_told_again_after_the_restart(store, caplog):
    async def refuse(ids):
        raise StorageFullError("the disk is full")

    told, mark = [], store.mark_announced
    store.mark_announced = refuse
    async with Process(store, lambda instance: told.append(instance.id)) as process:
        await finish(process, "a")
    assert "a: could not be marked as announced" in caplog.text
    store.mark_announced = mark
    async with Process(store, lambda instance: told.append(instance.id)):
        pass
    assert told == ["a", "a"]


@pytest.mark.parametrize("has_callback", [False, True])
async def test_a_full_disk_at_the_start_is_told_once_and_what_was_left_is_dealt_with_after_it(
    store, caplog, monkeypatch, has_callback
):
    def refuse(instance):
        raise ValueError("not today")

    async with Process(store, refuse) as process:
        await finish(process, "a")
    caplog.clear()

    async def full(*_, **__):
        raise StorageFullError("the disk is full")

    told = []
    call = "unannounced" if has_callback else "mark_announced"
    with monkeypatch.context() as trouble:
        trouble.setattr(store, call, full)
        process = Process(store, *([lambda instance: told.append(instance.id)] if has_callback else ()))
        async with process:
            for _ in range(10):
                process.clock.advance(1.0)
                await settled()
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            trouble.undo()
            process.clock.advance(1.0)
            await settled()
            assert await store.unannounced(limit=9) == []
    assert told == (["a"] if has_callback else [])


async def test_an_unreadable_instance_holds_up_no_other(store, caplog):
    def refuse(instance):
        raise ValueError("not today")

    async with Process(store, refuse) as process:
        await finish(process, "bad", "good")
    store.unreadable = {"bad"}
    told = []
    async with Process(store, lambda instance: told.append(instance.id)):
        pass
    assert told == ["good"]
    assert "bad: could not be read to be announced" in caplog.text
