"""load -> decide -> evolve -> append -> tell: what is in memory is what was committed."""

import asyncio

import pytest
from engine_parts import TroubledStore, an_instance, at, settled

from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import ApplyAction, Cancel, DeliverEvent, WakeUp
from pylon_workflows.core.instance import Status
from pylon_workflows.errors import CorruptDatabaseError, StorageFullError, UnknownInstanceError
from pylon_workflows.live_instances import LiveInstances
from pylon_workflows.testing import FakeClock
from runner_protocol.messages import Fail

PAID = DeliverEvent(event="paid", data_json=b"1", event_id="e1")


class Setting:
    def __init__(self, capacity=100):
        self.store = TroubledStore()
        self.live = LiveInstances(capacity, 1_000_000)
        self.committed = []
        self.changes = Changes(self.store, FakeClock(), self.live, self.committed.append)

    async def create(self, *ids, due_in=None):
        for instance_id in ids:
            await self.store.create(an_instance(instance_id, due_in=due_in))


@pytest.fixture
async def it():
    setting = Setting()
    await setting.store.open()
    return setting


async def test_a_change_is_told_after_its_commit(it):
    await it.create("a")
    instance, transitions = await it.changes.change("a", PAID)
    assert [type(each).__name__ for each in transitions] == ["EventReceived"]
    assert it.committed == [instance]
    assert (await it.store.summary("a")).revision == instance.revision == 2


async def test_a_change_is_seen_and_told_only_after_its_commit(it):
    await it.create("a")
    it.store.is_writing.clear()
    change = asyncio.create_task(it.changes.change("a", PAID))
    await settled()
    seen = (await it.changes.read("a")).revision, list(it.committed)
    it.store.is_writing.set()
    await change
    assert seen == (1, [])
    assert ((await it.changes.read("a")).revision, len(it.committed)) == (2, 1)


async def test_what_decides_nothing_is_neither_written_nor_told(it):
    await it.create("a")
    await it.changes.change("a", PAID)
    instance, transitions = await it.changes.change("a", PAID)
    assert (transitions, instance.revision, it.store.appends, len(it.committed)) == ([], 2, 1, 1)


async def test_an_unknown_instance_is_named(it):
    with pytest.raises(UnknownInstanceError, match="no instance has the id 'nobody'"):
        await it.changes.change("nobody", PAID)
    with pytest.raises(UnknownInstanceError):
        await it.changes.read("nobody")


async def test_an_unreadable_instance_is_the_error_that_the_store_gave(it):
    await it.create("a")
    it.store.unreadable = {"a"}
    with pytest.raises(CorruptDatabaseError, match="a, revision 1: unreadable"):
        await it.changes.read("a")


async def test_a_history_that_does_not_fold_is_corrupt(it):
    await it.create("a")
    await it.changes.change("a", PAID)
    it.live.clear()
    it.store._instances["a"].history.pop(0)
    with pytest.raises(CorruptDatabaseError, match="a: its history does not fold"):
        await it.changes.read("a")


async def test_after_a_write_that_failed_memory_is_what_the_store_holds(it):
    await it.create("a")
    await it.changes.change("a", PAID)
    it.store.write_trouble = StorageFullError("the disk is full")
    for command in (DeliverEvent(event="late", data_json=b"1"), Cancel()):
        with pytest.raises(StorageFullError):
            await it.changes.change("a", command)
        assert (await it.changes.read("a")).revision == 2
    it.store.write_trouble = None
    assert (await it.changes.read("a")).status is Status.PENDING
    instance, _ = await it.changes.change("a", Cancel())
    assert (instance.status, instance.revision) == (Status.CANCELLED, 3)
    assert len(it.committed) == 2


async def test_a_change_that_is_cut_off_lets_nobody_in_before_its_write_has_landed(it):
    await it.create("a")
    it.store.is_writing.clear()
    cut_off = asyncio.create_task(it.changes.change("a", PAID))
    await settled()
    cut_off.cancel()
    await settled()
    cut_off.cancel()
    next_one = asyncio.create_task(it.changes.change("a", Cancel()))
    await settled()
    assert (cut_off.done(), it.store.appends) == (False, 1)
    it.store.is_writing.set()
    with pytest.raises(asyncio.CancelledError):
        await cut_off
    assert (await next_one)[0].revision == 3
    assert [instance.revision for instance in it.committed] == [2, 3], "what has landed is told"


async def test_a_change_that_is_cut_off_and_could_not_be_written_is_read_again(it):
    await it.create("a")
    it.store.is_writing.clear()
    cut_off = asyncio.create_task(it.changes.change("a", PAID))
    await settled()
    it.store.acknowledgement_trouble = StorageFullError("the disk is full")
    cut_off.cancel()
    await settled()
    it.store.is_writing.set()
    with pytest.raises(asyncio.CancelledError):
        await cut_off
    reads = len(it.store.reads)
    await it.changes.read("a")
    assert (len(it.store.reads), it.committed) == (reads + 1, [])


async def test_the_count_of_failed_attempts_goes_on_after_a_restart(it):
    await it.create("a")
    failed, _ = await it.changes.change("a", ApplyAction(action=Fail(error="declined"), turn_started_at=at(0)))
    assert failed.failures_here == 1
    it.live.clear()
    assert (await it.changes.read("a")).failures_here == 1


async def test_changes_of_one_instance_that_come_at_once_follow_one_another(it):
    await it.create("a")
    events = (DeliverEvent(event="paid", data_json=b"%d" % number) for number in range(50))
    await asyncio.gather(*(it.changes.change("a", event) for event in events))
    instance = await it.changes.read("a")
    assert (instance.revision, len(instance.inbox)) == (51, 50)
    assert len(it.store.reads) == 1


async def test_many_are_loaded_with_one_read(it):
    await it.create("a", "b", "c")
    await it.changes.load_many(["a", "b", "c"])
    await asyncio.gather(*map(it.changes.read, "abc"))
    assert it.store.reads == [["a", "b", "c"]]


async def test_loading_many_leaves_those_in_memory_those_unreadable_and_those_unknown(it):
    await it.create("a", "bad", "c")
    await it.changes.read("a")
    it.store.unreadable = {"bad"}
    await it.changes.load_many(["a", "bad", "nobody", "c"])
    assert it.store.reads[1:] == [["bad", "nobody", "c"]]
    assert (await it.changes.read("c")).id == "c"
    assert len(it.store.reads) == 2
    with pytest.raises(CorruptDatabaseError):
        await it.changes.read("bad")


async def test_loading_many_does_not_wait_for_one_that_is_in_use(it):
    await it.create("a", "b")
    with it.live.use("a") as live:
        async with live.lock:
            await it.changes.load_many(["a", "b"])
    assert it.store.reads == [["b"]]


async def test_one_that_is_being_loaded_with_others_can_be_changed_right_after(it):
    await it.create("a", "b")
    it.store.hold()
    loading = asyncio.create_task(it.changes.load_many(["a", "b"]))
    await settled()
    changing = asyncio.create_task(it.changes.change("b", PAID))
    await settled()
    assert not changing.done()
    it.store.release()
    await loading
    assert (await changing)[0].revision == 2
    assert it.store.reads == [["a", "b"]]


async def test_two_loads_of_the_same_instances_do_not_block_each_other(it):
    ids = [f"wf_{number}" for number in range(20)]
    await it.create(*ids)
    loads = (it.changes.load_many(ids), it.changes.load_many(ids[::-1]), *map(it.changes.read, ids))
    await asyncio.wait_for(asyncio.gather(*loads), 5)
    with it.live.use("wf_3") as live:
        assert not live.lock.locked()


async def test_a_load_that_is_cut_off_leaves_nothing_locked(it):
    await it.create("a", "b")
    it.store.hold()
    loading = asyncio.create_task(it.changes.load_many(["a", "b"]))
    await settled()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    it.store.release()
    assert (await it.changes.change("b", PAID))[0].revision == 2


async def test_more_than_the_cache_holds_can_be_woken_at_once():
    it = Setting(capacity=5)
    await it.store.open()
    ids = [f"wf_{number}" for number in range(100)]
    await it.create(*ids, due_in=0)
    assert await it.changes.wake(ids) == []
    assert len(it.committed) == 100
    assert len(it.live) <= 100


async def test_waking_tells_which_could_not_be_woken(it):
    await it.create("a", "bad", due_in=0)
    it.store.unreadable = {"bad"}
    assert await it.changes.wake(["a", "bad", "nobody"]) == ["bad", "nobody"]
    assert [instance.id for instance in it.committed] == ["a"]


async def test_waking_raises_the_files_own_trouble(it):
    await it.create("a", due_in=0)
    it.store.write_trouble = StorageFullError("the disk is full")
    with pytest.raises(StorageFullError):
        await it.changes.wake(["a"])


async def test_waking_what_is_not_due_does_nothing(it):
    await it.create("a", due_in=10)
    await it.changes.wake(["a"])
    assert it.committed == []
    assert (await it.changes.change("a", WakeUp()))[1] == []
