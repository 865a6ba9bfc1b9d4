"""At most one turn per instance and so many in all; what does not fit waits in the store and is not forgotten."""

import asyncio
import logging

import pytest

from pylon_workflows.call_places import CallPlaces
from pylon_workflows.dispatcher import AnotherWorkflow, Dispatcher
from pylon_workflows.errors import RunnerUnavailableError, StorageFullError
from pylon_workflows.fair_queue import TURNS_IN_A_ROW, FairQueue
from pylon_workflows.pace import FLOOR, LOOK_S, LOOKS, Pace
from pylon_workflows.runner_health import RunnerHealth
from pylon_workflows.testing import FakeClock, wait_until


def name_of(instance_id):
    """`noisy-7` is an instance of the workflow `noisy`, and all that have no name are of one."""
    name, dash, _ = instance_id.partition("-")
    return name if dash else "wf"


class Drives:
    """Records who is driven, and for which workflow; a drive lasts until the test ends it, or not at all when
    `is_instant`.
    """

    def __init__(self, *, is_instant=False):
        self.begun = []
        self.cancelled = []
        self.now = {}
        self.places = {}
        self.most_at_once = 0
        self.is_instant = is_instant
        self.pauses = {}

    async def __call__(self, instance_id, name):
        assert instance_id not in self.now, "driven twice at once"
        self.begun.append(instance_id)
        self.places[instance_id] = name
        end = self.now[instance_id] = asyncio.get_running_loop().create_future()
        self.most_at_once = max(self.most_at_once, len(self.now))
        try:
            if self.is_instant:
                await asyncio.sleep(0)
                return self.pauses.pop(instance_id, None)
            return await end
        except asyncio.CancelledError:
            self.cancelled.append(instance_id)
            raise
        finally:
            del self.now[instance_id], self.places[instance_id]

    def end(self, instance_id, pause_s=None):
        self.now[instance_id].set_result(pause_s)

    def fail(self, instance_id, error):
        self.now[instance_id].set_exception(error)


class Backlog:
    """The runnable instances of a store, oldest first; one is `done` when it is runnable no more."""

    def __init__(self, ids=()):
        self.ids = list(ids)
        self.done = set()
        self.trouble = None
        self.asked = 0

    async def runnable_names(self):
        await asyncio.sleep(0)
        return sorted({name_of(each) for each in self.ids if each not in self.done})

    async def runnable(self, name, *, after=None, limit):
        self.asked += 1
        start = 0 if after is None else self.ids.index(after) + 1
        page = [each for each in self.ids[start:] if each not in self.done and name_of(each) == name][:limit]
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        return page


class Setting:
    def __init__(self, drives=None, ids=(), *, max_in_flight=100, max_queued=1000, limits=None, is_shared=False):
        self.limits = limits or {}
        self.drives = drives or Drives()
        self.backlog = Backlog(ids)
        self.health = RunnerHealth()
        self.clock = FakeClock()
        self.dispatcher = Dispatcher(
            self.drives,
            self.backlog,
            self.health,
            self.clock,
            queue=FairQueue(
                places=max_in_flight,
                room=max_queued,
                limit_of=self.limits.get,
                is_shared=lambda: is_shared,
            ),
            pace=Pace(max_in_flight, is_shared=lambda: is_shared),
            calls=CallPlaces(max_in_flight, lambda _name, _calls: True),
        )

    def offer(self, *instance_ids):
        for instance_id in instance_ids:
            self.dispatcher.offer(instance_id, name_of(instance_id))

    def changed(self, instance_id, **facts):
        self.dispatcher.changed(instance_id, name_of(instance_id), **facts)

    async def __aenter__(self):
        self.dispatcher.open()
        await settled()
        return self

    async def __aexit__(self, *_):
        await self.dispatcher.drain(0)


async def settled():
    """Let everything that can go on without time passing go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_offered_instance_is_driven():
    async with Setting() as it:
        it.offer("a")
        await settled()
        assert it.drives.begun == ["a"]


async def test_an_instance_that_is_being_driven_is_not_driven_twice():
    async with Setting() as it:
        for _ in range(3):
            it.offer("a")
            await settled()
        assert it.drives.begun == ["a"]
        it.drives.end("a")
        await settled()
        assert it.drives.begun == ["a"]
        assert it.dispatcher.is_idle


async def test_an_instance_may_be_offered_again_after_its_drive_has_ended():
    async with Setting() as it:
        it.offer("a")
        await settled()
        it.drives.end("a")
        await settled()
        it.offer("a")
        await settled()
        assert it.drives.begun == ["a", "a"]


async def test_no_more_are_driven_at_a_time_than_allowed_and_they_come_in_order():
    async with Setting(max_in_flight=2) as it:
        for instance_id in "abcde":
            it.offer(instance_id)
        await settled()
        assert it.drives.begun == ["a", "b"]
        assert it.dispatcher.is_crowded("wf")
        it.drives.end("b")
        await settled()
        assert it.drives.begun == ["a", "b", "c"]
        for instance_id in "acde":
            await wait_until(lambda each=instance_id: each in it.drives.now)
            it.drives.end(instance_id)
        await settled()
        assert (it.drives.begun, it.drives.most_at_once) == (list("abcde"), 2)
        assert not it.dispatcher.is_crowded("wf")


async def test_one_that_steps_back_comes_again_after_those_that_wait():
    async with Setting(max_in_flight=1) as it:
        it.offer("a")
        it.offer("b")
        await settled()
        it.drives.end("a", 0.0)
        await settled()
        it.drives.end("b")
        await settled()
        assert it.drives.begun == ["a", "b", "a"]


async def test_what_the_store_holds_is_driven_from_the_start():
    async with Setting(Drives(is_instant=True), ids=["a", "b", "c"]) as it:
        await wait_until(lambda: it.dispatcher.is_idle)
        assert it.drives.begun == ["a", "b", "c"]


@pytest.mark.parametrize("count", [11, 500, 999, 1000, 1001, 3500])
@pytest.mark.parametrize("max_queued", [1, 10, 999])
async def test_a_backlog_beyond_the_queue_is_driven_to_its_end(count, max_queued):
    async def drive(instance_id, name):
        await drives(instance_id, name)
        it.backlog.done.add(instance_id)

    drives = Drives(is_instant=True)
    it = Setting(drive, [f"wf_{number}" for number in range(count)], max_in_flight=7, max_queued=max_queued)
    async with it:
        await wait_until(lambda: it.dispatcher.is_idle, timeout_s=60)  # thousands of drives, on a busy machine
    assert len(it.backlog.done) == count
    assert drives.most_at_once == 7


async def test_what_is_refused_while_the_backlog_is_being_read_is_not_forgotten():
    async with Setting(max_in_flight=1, max_queued=1) as it:
        it.backlog.ids = ["a", "b", "c"]
        for instance_id in "abc":  # there is no room for c: it stays in the store
            it.offer(instance_id)
        await settled()
        asked = it.backlog.asked
        it.backlog.done.add("a")
        it.drives.end("a")
        await wait_until(lambda: it.backlog.asked > asked)
        it.backlog.ids += ["d", "e"]  # too late to be found by this reading
        it.offer("d")
        it.offer("e")
        while not it.dispatcher.is_idle:
            await settled()
            for instance_id in list(it.drives.now):
                it.backlog.done.add(instance_id)
                it.drives.end(instance_id)
        assert sorted(it.drives.begun) == list("abcde")


async def test_a_postponed_instance_waits_its_time_and_then_comes_by_itself():
    async with Setting() as it:
        it.offer("a")
        await settled()
        it.drives.end("a", 5.0)
        await settled()
        it.clock.advance(4.9)
        await settled()
        assert it.drives.begun == ["a"]
        assert not it.dispatcher.is_idle
        it.clock.advance(0.2)
        await settled()
        assert it.drives.begun == ["a", "a"]


async def test_the_sooner_of_two_postponed_instances_comes_first():
    async with Setting() as it:
        for instance_id, pause_s in (("late", 10.0), ("soon", 2.0)):
            it.offer(instance_id)
            await settled()
            it.drives.end(instance_id, pause_s)
            await settled()
        it.clock.advance(2)
        await settled()
        assert it.drives.begun == ["late", "soon", "soon"]
        it.clock.advance(8)
        await settled()
        assert it.drives.begun == ["late", "soon", "soon", "late"]


async def test_an_offer_does_not_cut_a_postponement_short():
    async with Setting(ids=["a"]) as it:
        it.drives.end("a", 60.0)
        await settled()
        it.offer("a")
        await settled()
        assert it.drives.begun == ["a"]
        it.clock.advance(60)
        await settled()
        assert it.drives.begun == ["a", "a"]


@pytest.mark.parametrize("is_runnable", [True, False])
async def test_a_postponement_ends_with_the_instance_that_it_was_for(is_runnable):
    async with Setting() as it:
        it.offer("a")
        await settled()
        it.drives.end("a", 3600.0)
        await settled()
        it.changed("a", is_runnable=is_runnable, is_new=is_runnable)
        await settled()
        assert it.drives.begun == ["a", "a"], "driven once more, to be forgotten or to begin"
        it.drives.end("a")
        await settled()
        assert it.dispatcher.is_idle
        it.changed("a", is_runnable=True, is_new=False)
        await settled()
        assert it.drives.begun == ["a", "a", "a"]


async def test_an_instance_that_can_go_no_further_is_not_driven():
    async with Setting() as it:
        it.changed("a", is_runnable=False, is_new=False)
        await settled()
        assert it.drives.begun == []


async def test_a_postponed_instance_can_be_hurried_and_no_other():
    async with Setting() as it:
        it.offer("a")
        await settled()
        it.drives.end("a", 3600.0)
        await settled()
        it.dispatcher.hurry("a")
        it.dispatcher.hurry("b")
        await settled()
        assert it.drives.begun == ["a", "a"]


async def test_a_postponement_that_was_cut_short_does_not_cut_short_the_next():
    async with Setting() as it:
        it.offer("a")
        await settled()
        it.drives.end("a", 10.0)
        await settled()
        it.dispatcher.hurry("a")
        await settled()
        it.drives.end("a", 60.0)
        await settled()
        it.clock.advance(10)
        await settled()
        assert it.drives.begun == ["a", "a"]
        it.clock.advance(50)
        await settled()
        assert it.drives.begun == ["a", "a", "a"]


async def test_however_often_one_is_hurried_nothing_piles_up():
    async with Setting() as it:
        it.offer("a")
        for _ in range(500):
            await wait_until(lambda: "a" in it.drives.now)
            it.drives.end("a", 3600.0)
            await wait_until(lambda: "a" in it.dispatcher._postponed)
            it.dispatcher.hurry("a")
        assert len(it.dispatcher._postponed._by_time) < 200


async def test_reading_the_backlog_again_does_not_cut_a_postponement_short():
    async with Setting(max_in_flight=1, max_queued=1) as it:
        it.offer("a")
        await settled()
        it.drives.end("a", 60.0)
        await settled()
        for instance_id in "bcd":
            it.offer(instance_id)
        it.backlog.ids = ["a", "b", "c", "d"]
        for instance_id in "bcd":
            await wait_until(lambda each=instance_id: each in it.drives.now)
            it.backlog.done.add(instance_id)
            it.drives.end(instance_id)
        await settled()
        assert it.backlog.asked, "nothing has been read"
        assert it.drives.begun == list("abcd")


async def test_a_drive_that_raises_is_logged_and_tried_again_in_a_minute(caplog):
    async def drive(instance_id, name):
        begun.append(instance_id)
        raise RuntimeError("a bug")

    begun = []
    it = Setting(drive)
    async with it:
        with caplog.at_level(logging.ERROR):
            it.offer("a")
            it.offer("b")
            await settled()
        assert "a: driving failed" in caplog.text
        assert "a bug" in caplog.text
        it.clock.advance(59)
        await settled()
        assert begun == ["a", "b"]
        it.clock.advance(1)
        await settled()
        assert begun == ["a", "b", "a", "b"]


async def test_a_backlog_that_cannot_be_read_is_read_again_a_second_later(caplog):
    it = Setting(ids=["a"])
    it.backlog.trouble = StorageFullError("the disk is full")
    with caplog.at_level(logging.ERROR):
        async with it:
            assert it.backlog.asked == 1
            it.backlog.trouble = None
            it.clock.advance(1)
            await settled()
            assert it.drives.begun == ["a"]
    assert "the disk is full" in caplog.text


REFUSED = RunnerUnavailableError("connection refused")


def fail(it, instance_id, error=REFUSED):
    it.health.asked(instance_id, name_of(instance_id))
    it.health.failed(instance_id, error, monotonic=it.clock.monotonic(), jitter=1.0)


def answer(it, instance_id):
    it.health.asked(instance_id, name_of(instance_id))
    it.health.answered(instance_id)


def bring_down(it, name="wf"):
    for each in "xyz":
        fail(it, f"{name}-{each}")
    assert it.health.is_down(name)


async def test_a_runner_that_is_down_is_probed_by_one_instance_at_a_time():
    async with Setting() as it:
        bring_down(it)
        for instance_id in "abc":
            it.offer(instance_id)
        await settled()
        assert it.drives.begun == []
        it.clock.advance(it.health.seconds_until_probe("wf", it.clock.monotonic()))
        await settled()
        assert it.drives.begun == ["a"]
        fail(it, "a")
        it.drives.end("a", 30.0)
        await settled()
        assert it.drives.begun == ["a"]
        it.clock.advance(it.health.seconds_until_probe("wf", it.clock.monotonic()))
        await settled()
        assert it.drives.begun == ["a", "b"]


async def test_the_first_answer_lets_everybody_in_again():
    async with Setting() as it:
        bring_down(it)
        for instance_id in "abc":
            it.offer(instance_id)
        it.clock.advance(1)
        await settled()
        assert it.drives.begun == ["a"]
        answer(it, "a")
        it.drives.end("a")
        await settled()
        assert it.drives.begun == ["a", "b", "c"]


async def test_one_that_waits_behind_a_crowd_of_another_workflow_comes_next():
    async with Setting(max_in_flight=2) as it:
        it.offer(*(f"noisy-{number}" for number in range(100)))
        await settled()
        it.offer("quiet-0")
        it.drives.end("noisy-0", 0.0)
        await settled()
        assert it.drives.begun == ["noisy-0", "noisy-1", "quiet-0"]


async def test_a_crowd_of_slow_turns_leaves_places_for_others():
    async with Setting(max_in_flight=40) as it:
        it.offer("quiet-0")
        it.offer(*(f"noisy-{number}" for number in range(100)))
        it.offer("quiet-1", "quiet-2")
        await settled()
        assert [each for each in it.drives.begun if name_of(each) == "quiet"] == ["quiet-0", "quiet-1", "quiet-2"]
        assert len(it.drives.begun) == 30 + 3


async def test_a_workflow_takes_no_more_places_than_its_definition_allows():
    async with Setting(limits={"limited": 2}) as it:
        it.offer(*(f"limited-{number}" for number in range(5)), "other-0", "other-1", "other-2")
        await settled()
        assert sorted(it.drives.begun) == ["limited-0", "limited-1", "other-0", "other-1", "other-2"]
        it.drives.end("limited-1")
        await settled()
        assert it.drives.begun[-1] == "limited-2"


async def look_at_the_loop(it, *, late_s, turns=0):
    """Let the dispatcher measure once how late the loop is, while so many turns end."""
    for _ in range(LOOKS):
        for _ in range(turns):
            it.dispatcher.is_crowded("wf")
        it.clock.advance(LOOK_S + late_s)
        await settled()


async def test_while_short_turns_stand_in_line_for_the_loop_fewer_are_in_flight():
    async with Setting(max_in_flight=512, is_shared=True) as it:
        it.offer(*(f"wf_{number}" for number in range(600)))
        await settled()
        assert len(it.drives.now) == 384
        await look_at_the_loop(it, late_s=0.03, turns=500)
        for instance_id in list(it.drives.now)[:300]:
            it.drives.end(instance_id, 0.0)
        await settled()
        assert len(it.drives.now) == 144
        crowded = [it.dispatcher.is_crowded("wf") for _ in range(2 * TURNS_IN_A_ROW)]
        assert sum(crowded) == 2, "short turns go on for some before they make room for others of their own"
        for _ in range(5):
            await look_at_the_loop(it, late_s=0)
        assert len(it.drives.now) == 384, "all are there again"


async def test_slow_turns_stay_in_flight_however_late_a_busy_host_makes_the_loop():
    async with Setting(max_in_flight=512, is_shared=True) as it:
        it.offer(*(f"wf_{number}" for number in range(600)))
        await settled()
        for _ in range(5):
            await look_at_the_loop(it, late_s=0.3)
            it.drives.end(next(iter(it.drives.now)))
            await settled()
            assert len(it.drives.now) == 384


async def test_the_loop_is_not_looked_at_while_few_are_driven():
    async with Setting(max_in_flight=512, is_shared=True) as it:
        it.offer(*(f"wf_{number}" for number in range(FLOOR)))
        await settled()
        assert not is_looking()
        it.offer("wf_one_more")
        await settled()
        assert is_looking()
        it.drives.end("wf_one_more")
        await look_at_the_loop(it, late_s=0)
        assert not is_looking()
        it.offer("wf_another")
        await settled()
        assert is_looking()
    assert not is_looking()


def is_looking():
    return any(task.get_name() == "look how late the event loop is" for task in asyncio.all_tasks())


async def test_at_a_start_the_backlog_of_one_workflow_does_not_delay_another():
    ids = [*(f"noisy-{number}" for number in range(5000)), "quiet-0"]
    async with Setting(ids=ids, max_in_flight=4, max_queued=100, is_shared=True) as it:
        await wait_until(lambda: "quiet-0" in it.drives.now)
        assert len(it.drives.begun) <= 4


async def test_a_full_queue_of_one_workflow_has_room_for_another():
    async with Setting(max_in_flight=1, max_queued=10) as it:
        it.offer(*(f"noisy-{number}" for number in range(50)))
        it.offer("quiet-0")  # which the store is not asked about: its backlog is empty
        await settled()
        it.drives.end("noisy-0")
        await settled()
        assert it.drives.begun == ["noisy-0", "quiet-0"]


async def test_a_backlog_of_many_workflows_is_driven_to_its_end():
    async def drive(instance_id, name):
        await drives(instance_id, name)
        it.backlog.done.add(instance_id)

    drives = Drives(is_instant=True)
    ids = [f"{'abcdefg'[number % 7]}-{number}" for number in range(500)]
    it = Setting(drive, ids, max_in_flight=3, max_queued=5)
    async with it:
        await wait_until(lambda: it.dispatcher.is_idle)
    assert it.backlog.done == set(ids)


async def test_a_runner_that_is_down_for_one_workflow_is_asked_about_others():
    async with Setting() as it:
        bring_down(it, "noisy")
        it.offer("noisy-1", "noisy-2", "quiet-1", "quiet-2")
        await settled()
        assert it.drives.begun == ["quiet-1", "quiet-2"]
        it.clock.advance(0.1)
        await settled()
        assert it.drives.begun == ["quiet-1", "quiet-2", "noisy-1"]
        assert not it.dispatcher.is_crowded("quiet")


async def test_the_first_answer_lets_every_workflow_ask_again():
    async with Setting() as it:
        bring_down(it, "one")
        for _ in range(8):  # asked about so often that its next probe is seconds away
            fail(it, "two-a")
            fail(it, "two-b")
            fail(it, "two-c")
        it.offer("one-1", "two-1", "two-2")
        it.clock.advance(it.health.seconds_until_probe("one", it.clock.monotonic()))
        await settled()
        assert it.drives.begun == ["one-1"]
        answer(it, "one-1")
        assert it.dispatcher.is_crowded("one"), "it steps back, so that the others are let go"
        it.drives.end("one-1", 0.0)
        await settled()
        assert it.drives.begun == ["one-1", "two-1", "one-1"]
        answer(it, "two-1")
        it.drives.end("two-1")
        await settled()
        assert it.drives.begun[3:] == ["two-2"]


async def test_draining_begins_nothing_more_and_waits_for_what_is_driven():
    it = Setting(max_in_flight=1)
    async with it:
        it.offer("a")
        it.offer("b")
        await settled()
        draining = asyncio.create_task(it.dispatcher.drain(10.0))
        await settled()
        it.offer("c")
        it.drives.end("a", 0.0)
        await draining
        assert (it.drives.begun, it.drives.cancelled) == (["a"], [])


async def test_draining_lets_a_drive_go_on_to_no_further_turn():
    async with Setting() as it:
        it.offer("a")
        await settled()
        assert not it.dispatcher.is_crowded("wf")
        draining = asyncio.create_task(it.dispatcher.drain(10.0))
        await settled()
        assert it.dispatcher.is_crowded("wf")
        it.drives.end("a")
        await draining


async def test_draining_cuts_off_what_does_not_end_in_time():
    it = Setting()
    async with it:
        it.offer("a")
        await settled()
        await it.dispatcher.drain(0.01)
        assert (it.drives.cancelled, it.drives.now) == (["a"], {})


async def test_draining_ends_a_drive_that_has_not_even_begun():
    it = Setting()
    it.dispatcher.open()
    it.offer("a")
    await it.dispatcher.drain(0)
    assert it.drives.begun in ([], ["a"])
    assert it.dispatcher.is_idle or it.backlog.asked == 0


async def test_nothing_is_offered_before_it_is_open():
    it = Setting()
    it.offer("a")
    await settled()
    assert it.drives.begun == []


async def test_it_can_be_opened_again():
    it = Setting(ids=["a"])
    async with it:
        it.drives.end("a", 3600.0)
        await settled()
    async with it:
        assert it.drives.begun == ["a", "a"]
        it.drives.end("a", 5.0)
        await settled()
        it.clock.advance(5)
        await settled()
        assert it.drives.begun == ["a", "a", "a"]


async def test_an_id_that_is_started_anew_does_not_wait_where_its_former_instance_did():
    async with Setting(max_in_flight=1) as it:
        it.offer("first", "again", "other")
        await settled()
        assert (it.drives.begun, it.drives.places) == (["first"], {"first": "wf"})
        it.dispatcher.changed("again", "another", is_runnable=True, is_new=True)
        it.drives.end("first")
        await settled()
        assert it.drives.places == {"again": "another"}
        it.drives.end("again")
        await settled()
        it.drives.end("other")
        await settled()
        assert it.drives.begun == ["first", "again", "other"]
        assert it.dispatcher.is_idle


async def test_an_id_that_is_started_anew_is_not_postponed_as_its_former_instance_was():
    async with Setting() as it:
        it.offer("again")
        await settled()
        it.drives.end("again", 3600.0)
        await settled()
        it.dispatcher.changed("again", "another", is_runnable=True, is_new=True)
        await settled()
        assert it.drives.places == {"again": "another"}
        it.drives.end("again")
        await settled()
        assert it.dispatcher.is_idle


async def test_a_drive_that_finds_an_instance_of_another_workflow_is_repeated_in_its_name():
    async with Setting(max_in_flight=2, limits={"another": 1}) as it:
        it.offer("again", "other")
        await settled()
        it.drives.fail("again", AnotherWorkflow("another"))
        await settled()
        assert it.drives.places == {"other": "wf", "again": "another"}
        assert not it.dispatcher.is_crowded("another")
        it.drives.end("again")
        it.drives.end("other")
        await settled()
        assert it.dispatcher.is_idle
