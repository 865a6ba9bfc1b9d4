"""Never early (P15), soon after (P16); no clock that jumps (P17) and no unreadable instance is in the way."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from engine_parts import TroubledStore, an_instance, at, settled

from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import ApplyAction
from pylon_workflows.errors import CorruptDatabaseError, StorageFullError, StoreError
from pylon_workflows.live_instances import LiveInstances
from pylon_workflows.testing import FakeClock
from pylon_workflows.timers import DueInstances, Timers
from runner_protocol.messages import Sleep


class Setting:
    """Timers over a store of delayed instances; `woken` says who was woken when."""

    def __init__(self):
        self.clock = FakeClock()
        self.store = TroubledStore()
        self.changes = Changes(self.store, self.clock, LiveInstances(1000, 1_000_000), self._committed)
        self.woken = []
        self.timers = Timers(DueInstances(self.store), self.clock, self.changes.wake)
        self.asked = 0

    def _committed(self, instance):
        self.woken.append((instance.id, (self.clock.now() - at(0)).total_seconds()))

    async def delay(self, instance_id, seconds):
        await self.store.create(an_instance(instance_id, due_in=seconds))
        self.timers.notice(at(seconds))

    async def pass_by(self, seconds, *, step=0.1):
        """Let time pass in small steps, so that whoever sleeps wakes on time."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await settled()

    @property
    def ids(self):
        return [instance_id for instance_id, _ in self.woken]


@pytest.fixture
async def it():
    setting = Setting()
    await setting.store.open()
    running = asyncio.create_task(setting.timers.run())
    await settled()
    yield setting
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_an_instance_is_woken_when_its_time_has_come_and_not_before(it):
    await it.delay("a", 30)
    await it.pass_by(29.9)
    assert it.woken == []
    it.clock.advance(0.1)
    await settled()
    assert it.woken == [("a", 30.0)]
    await it.pass_by(5)
    assert it.woken == [("a", 30.0)]


async def test_a_time_that_is_sooner_than_the_next_is_noticed(it):
    await it.delay("late", 100)
    await settled()
    await it.delay("soon", 0.05)
    await it.pass_by(0.1, step=0.05)
    assert it.woken == [("soon", 0.05)]


async def test_a_time_that_is_later_than_the_next_is_not_forgotten(it):
    await it.delay("soon", 1)
    await settled()
    await it.delay("late", 2)
    await it.pass_by(3)
    assert it.ids == ["soon", "late"]


async def test_a_time_that_is_noticed_while_the_store_is_being_asked_is_not_forgotten(it):
    next_due = it.store.next_due

    async def slow_next_due(*, after):
        found = await next_due(after=after)
        if not is_noticed.is_set():
            is_noticed.set()
            await it.delay("a", 5)  # too late to be found
        return found

    is_noticed = asyncio.Event()
    it.store.next_due = slow_next_due
    await it.delay("first", 0)
    await settled()
    assert is_noticed.is_set()
    await it.pass_by(6)
    assert it.ids == ["first", "a"]


async def test_those_that_are_long_overdue_come_first(it):
    for instance_id, seconds in (("c", 3), ("a", 1), ("b", 2)):
        await it.delay(instance_id, seconds)
    it.clock.advance(10)
    await settled()
    assert it.ids == ["a", "b", "c"]


async def test_a_thousand_that_are_due_at_once_are_all_woken(it):
    for number in range(1300):
        await it.store.create(an_instance(f"wf_{number}", due_in=5))
    it.timers.notice(at(5))
    await it.pass_by(5, step=0.5)
    assert len(it.woken) == 1300


async def test_a_clock_that_jumps_forward_delays_nothing(it):
    await it.delay("a", 3600)
    await settled()
    it.clock.jump(timedelta(hours=2))
    assert it.woken == []
    await it.pass_by(0.6)
    assert it.ids == ["a"]


async def test_a_clock_that_jumps_back_wakes_nothing_early_and_holds_nothing_else_up(it):
    await it.delay("a", 10)
    await it.pass_by(5)
    it.clock.jump(timedelta(hours=-1))
    await it.delay("b", -3590)
    await it.pass_by(6)
    assert it.ids == ["b"]
    await it.pass_by(3600, step=1)
    assert it.ids == ["b", "a"]
    await it.pass_by(60, step=1)
    assert it.ids == ["b", "a"]


async def test_what_is_to_come_again_as_the_clock_is_set_back_in_the_middle_of_a_look_is_not_forgotten(it):
    due = it.store.due

    async def due_and_then_the_clock_is_set_back(*, now, limit):
        found = await due(now=now, limit=limit)
        if it.ids == ["first"] and not found and it.clock.now() > at(0):
            it.clock.jump(timedelta(minutes=-1))
            await it.delay("a", -30)  # half a minute from now, and before the time that was looked at
        return found

    it.store.due = due_and_then_the_clock_is_set_back
    await it.delay("first", 1)
    await it.pass_by(1, step=0.5)
    assert it.clock.now() < at(-30)
    await it.pass_by(28, step=0.5)
    assert it.ids == ["first"]
    await it.pass_by(1, step=0.5)
    assert it.ids == ["first", "a"]


async def test_an_unreadable_instance_is_left_for_a_minute_and_holds_up_no_other(it, caplog):
    it.store.unreadable = {"bad"}
    await it.delay("bad", 1)
    await it.delay("good", 1)
    await it.delay("later", 20)
    await it.pass_by(30)
    assert it.ids == ["good", "later"]
    reads_of_bad = sum("bad" in ids for ids in it.store.reads)
    assert reads_of_bad <= 2, "asked again and again"
    assert "bad: could not be woken" in caplog.text
    it.store.unreadable.clear()
    await it.pass_by(40)
    assert it.ids == ["good", "later", "bad"]


async def test_a_full_disk_is_tried_again_within_seconds(it, caplog):
    it.store.write_trouble = StorageFullError("the disk is full")
    await it.delay("a", 1)
    await it.pass_by(10)
    assert it.woken == []
    it.store.write_trouble = None
    await it.pass_by(2)
    assert it.ids == ["a"]
    assert caplog.text == "", "the store tells of it"


async def test_a_store_that_cannot_be_read_is_asked_again_a_second_later(it, caplog):
    it.store.read_trouble = StoreError("gone")
    await it.delay("a", 1)
    await it.pass_by(5)
    it.store.read_trouble = None
    await it.pass_by(1.2)
    assert it.ids == ["a"]
    assert caplog.text.count("timers could not be read: gone") == 1, "once an outage"


async def test_nothing_is_asked_while_nothing_is_due(it):
    asked = []
    due = it.store.due

    async def counted(*, now, limit):
        asked.append(now)
        return await due(now=now, limit=limit)

    it.store.due = counted
    await it.pass_by(600, step=10)
    assert asked == []


async def test_one_that_is_not_there_any_more_holds_up_no_other(it):
    wake = it.changes.wake
    await it.delay("a", 1)
    it.store.due = lambda **_: due()

    async def due():
        return ["gone", "a"] if it.woken == [] else []

    assert await wake(["gone"]) == ["gone"]
    it.timers.notice(at(-1))
    it.clock.advance(1)
    await settled()
    assert it.ids == ["a"]


async def test_one_that_becomes_due_between_two_looks_at_the_clock_is_not_forgotten(it):
    due = it.store.due

    async def due_and_then_time_passes(*, now, limit):
        found = await due(now=now, limit=limit)
        if it.ids == ["a"] and not found:
            it.clock.advance(0.001)
        return found

    it.store.due = due_and_then_time_passes
    await it.delay("a", 1)
    await it.delay("b", 1.0005)
    await it.pass_by(1.5, step=0.5)
    assert it.ids == ["a", "b"]


async def test_one_that_is_due_by_its_row_but_not_by_its_history_gets_the_row_that_it_should_have(it, caplog):
    async def counted(ids):
        wakes.extend(ids)
        return await wake(ids)

    wakes, wake = [], it.timers._wake
    it.timers._wake = counted
    await it.store.create(an_instance("astray", due_in=90))
    row = it.store._instances["astray"]
    row.summary = replace(row.summary, due_at=at(1))
    it.timers.notice(at(1))
    await it.delay("good", 1)
    await it.delay("later", 20)
    await it.pass_by(30)
    assert it.ids == ["good", "astray", "later"], "astray was told, not woken"
    assert row.summary.due_at == at(90)
    assert wakes.count("astray") == 1, "woken again and again"
    assert "astray: its row did not say what its history does" in caplog.text
    await it.pass_by(100)
    assert it.ids == ["good", "astray", "later", "astray"]


async def test_many_that_stay_due_hold_up_no_other(it):
    async def restore(instance):
        """As if the rows were lost again at once."""

    it.store.restore = restore
    for number in range(600):
        await it.store.create(an_instance(f"astray_{number}", due_in=9999))
        row = it.store._instances[f"astray_{number}"]
        row.summary = replace(row.summary, due_at=at(1))
    await it.delay("good", 2)
    it.timers.notice(at(1))
    await it.pass_by(3)
    assert [instance_id for instance_id in it.ids if not instance_id.startswith("astray")] == ["good"]
    assert len(it.ids) < 2000, "woken again and again"


async def test_a_row_that_stays_due_and_cannot_be_read_is_left_for_a_minute(it):
    async def unreadable(instance_id):
        raise CorruptDatabaseError(f"instance {instance_id}: its row is unreadable")

    it.store.summary = unreadable
    await it.store.create(an_instance("astray", due_in=90))
    row = it.store._instances["astray"]
    row.summary = replace(row.summary, due_at=at(1))
    it.timers.notice(at(1))
    await it.delay("good", 2)
    await it.pass_by(3)
    assert it.ids == ["good"]


async def test_one_that_is_due_again_at_once_is_woken_again(it):
    async def wake_and_sleep_again(ids):
        failed = await wake(ids)
        if len(it.woken) < 5:
            action = Sleep(duration="0s")
            await it.changes.change("a", ApplyAction(action=action, turn_started_at=it.clock.now()))
            it.timers.notice(it.clock.now())
        return failed

    wake = it.timers._wake
    it.timers._wake = wake_and_sleep_again
    await it.delay("a", 1)
    await it.pass_by(2)
    assert it.ids.count("a") >= 5
