"""`engine.publish`: an event finds the instance that waits with its correlation key, starts one, or is kept."""

import asyncio
import logging
from datetime import timedelta

import pytest
from engine_parts import settled

from pylon_workflows import (
    CorrelationTooLongError,
    EngineSettings,
    EventTooLargeError,
    InputTooLargeError,
    InvalidIdError,
    InvalidInputError,
    KeptEventsFullError,
    NameTooLongError,
    PublishedStart,
    Status,
    StoreError,
    TagLimitError,
    UnknownWorkflowError,
    WorkflowDefinition,
)
from pylon_workflows.core.transitions import EventReceived
from pylon_workflows.errors import CorruptDatabaseError, StorageFullError
from pylon_workflows.published import Correlation
from pylon_workflows.testing import FakeClock, MemoryStore, engine_in_memory, wait_until
from runner_protocol.messages import Complete, StepComplete, WaitEvent

KEY = "order:7"


class TroubledEvents:
    """The published events of a store, with troubles of the test's choice, by the call's name."""

    def __init__(self, store):
        self._published = store.published
        self.trouble = {}
        self.calls = []

    def __getattr__(self, name):
        found = getattr(self._published, name)
        if name not in ("accept", "get", "kept", "waits", "start", "awaited"):
            return found

        async def call(*arguments, **options):
            self.calls.append(name)
            if (error := self.trouble.get(name)) is not None:
                raise error
            return await found(*arguments, **options)

        return call


class World:
    def __init__(self, **settings):
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.store.published = self.events = TroubledEvents(self.store)
        self.settings = EngineSettings(shutdown_grace_s=0, **settings)
        self.engine = self.another()

    def another(self):
        """The engine after a restart."""
        engine = engine_in_memory(None, clock=self.clock, store=self.store, settings=self.settings)
        for name in ("order", "refund"):
            engine.register(WorkflowDefinition(name))
        return engine

    async def restart(self, engine=None):
        await self.engine.__aexit__(None, None, None)
        self.events.trouble.clear()
        self.engine = self.another() if engine is None else engine
        await self.engine.__aenter__()

    async def settled(self):
        await wait_until(lambda: self.engine._engine._matcher.is_idle)

    async def waiting(self, id, *, event="paid", correlation=KEY, name="order", **terms):
        await self.engine.start(name, id=id)
        await self.wait(id, event=event, correlation=correlation, **terms)
        return id

    async def wait(self, id, *, event="paid", correlation=KEY, **terms):
        self.clock.advance(0.001)
        await self.engine.apply(id, WaitEvent(event=event, correlation=correlation, **terms))
        await self.settled()

    async def publish(self, data=None, *, event="paid", correlation=KEY, **terms):
        receipt = await self.engine.publish(event, {} if data is None else data, correlation=correlation, **terms)
        await self.settled()
        return receipt.is_duplicate

    async def got(self, id):
        """What its waits were given."""
        return [record.output for record in (await self.engine.get(id)).steps if record.kind == "event"]


@pytest.fixture
async def world():
    world = World()
    await world.engine.__aenter__()
    yield world
    await world.engine.__aexit__(None, None, None)


@pytest.fixture
def held_matching(world, monkeypatch):
    """The matcher is so late that it gets to nothing, until this is set."""
    looks, may_look = world.engine._engine._matcher._looks, asyncio.Event()

    async def look_at_last(key, what, look=looks._look):
        await may_look.wait()
        await look(key, what)

    monkeypatch.setattr(looks, "_look", look_at_last)
    return may_look


async def test_an_event_resumes_the_instance_that_waits_with_its_key(world):
    await world.waiting("wf_1")
    await world.waiting("wf_2", correlation="order:8")
    assert await world.publish({"sum": 5}) is False
    assert await world.got("wf_1") == [{"sum": 5}]
    assert (await world.engine.get("wf_1")).status is Status.RUNNING
    assert (await world.engine.get("wf_2")).status is Status.WAITING_FOR_EVENT


async def test_an_event_that_comes_before_the_wait_is_kept_for_it(world):
    await world.publish(1)
    await world.publish(2)
    await world.waiting("wf_1")
    await world.waiting("wf_2")
    assert (await world.got("wf_1"), await world.got("wf_2")) == ([1], [2])


async def test_of_several_waits_the_oldest_wait_gets_it_whichever_instance_is_older(world):
    await world.engine.start("order", id="older")
    await world.waiting("younger")
    await world.wait("older")
    await world.publish(1)
    assert (await world.got("younger"), await world.got("older")) == ([1], [])
    await world.publish(2)
    assert (await world.got("younger"), await world.got("older")) == ([1], [2])


async def test_one_event_resumes_one_instance(world):
    ids = [await world.waiting(f"wf_{number}") for number in range(5)]
    await world.publish("once")
    assert [await world.got(each) for each in ids] == [["once"], [], [], [], []]


async def test_the_oldest_wait_that_matches_gets_it_and_one_that_matches_nobody_is_kept(world):
    await world.waiting("wf_1", match={"n": 1})
    await world.waiting("wf_2", match={"n": 2})
    await world.waiting("wf_3", match={"n": 2})
    await world.publish({"n": 3})
    await world.publish({"n": 2})
    assert [await world.got(f"wf_{n}") for n in (1, 2, 3)] == [[], [{"n": 2}], []]
    assert (await world.engine.get("wf_1")).inbox == ()
    await world.waiting("wf_4", match={"n": 3})
    assert await world.got("wf_4") == [{"n": 3}]


async def test_a_wait_takes_the_oldest_event_that_it_matches(world):
    for n in (1, 2, 3, 2):
        await world.publish({"n": n, "at": n})
    await world.waiting("wf_1", match={"n": 2})
    await world.waiting("wf_2")
    assert (await world.got("wf_1"), await world.got("wf_2")) == ([{"n": 2, "at": 2}], [{"n": 1, "at": 1}])


async def test_a_wait_without_a_key_or_for_another_name_is_left_alone(world):
    await world.waiting("wf_1", correlation=None)
    await world.waiting("wf_2", event="sent")
    await world.publish()
    assert (await world.got("wf_1"), await world.got("wf_2")) == ([], [])
    await world.engine.send_event("wf_2", "sent", "direct")
    assert await world.got("wf_2") == ["direct"]


async def test_a_hundred_that_match_nobody_are_looked_through_page_by_page(world):
    for n in range(250):
        await world.engine.publish("paid", {"n": n}, correlation=KEY)
    await world.waiting("wf_1", match={"n": 249})
    assert await world.got("wf_1") == [{"n": 249}]
    for n in range(230):
        await world.engine.start("order", id=f"many_{n}")
        await world.engine.apply(f"many_{n}", WaitEvent(event="sent", correlation=KEY, match={"n": n}))
    await world.publish({"n": 229}, event="sent")
    assert await world.got("many_229") == [{"n": 229}]


async def test_an_instance_that_waits_again_gets_the_next(world):
    await world.publish(1)
    await world.publish(2)
    await world.waiting("wf_1")
    await world.wait("wf_1")
    assert await world.got("wf_1") == [1, 2]
    await world.wait("wf_1")
    await world.publish(3)
    assert await world.got("wf_1") == [1, 2, 3]


async def test_history_tells_where_the_event_came_from(world):
    await world.waiting("wf_1")
    await world.publish(event_id="evt_1", source="shop")
    received = [each for each in await world.engine.history("wf_1") if isinstance(each, EventReceived)]
    assert [each.event_id for each in received] == ["published:shop:evt_1"]


async def test_a_repeat_is_a_duplicate_whatever_has_become_of_the_first(world):
    assert [await world.publish(1, event_id="evt_1") for _ in range(2)] == [False, True]
    await world.waiting("wf_1")
    await world.waiting("wf_2")
    assert await world.publish(2, event_id="evt_1") is True
    assert (await world.got("wf_1"), await world.got("wf_2")) == ([1], [])
    assert await world.publish(3, event_id="evt_1", source="bank") is False
    assert await world.got("wf_2") == [3]


async def test_a_repeat_that_says_something_else_changes_nothing(world, held_matching):
    await world.engine.start("order", id="wf_1")
    for data in ("first", "second"):
        await world.engine.publish("paid", data, correlation=KEY, event_id="evt_1")
    await world.engine.apply("wf_1", WaitEvent(event="paid", correlation=KEY))
    held_matching.set()  # it may begin
    await world.settled()
    assert await world.got("wf_1") == ["first"]


async def test_a_burst_of_large_events_is_read_again_and_nothing_is_lost(world, monkeypatch):
    monkeypatch.setattr("pylon_workflows.matcher._FRESH_BYTES", 10_000)
    for n in range(20):
        await world.waiting(f"wf_{n}")
    await asyncio.gather(*(world.engine.publish("paid", [n, "x" * 1_500], correlation=KEY) for n in range(20)))
    await world.settled()
    assert [(await world.got(f"wf_{n}"))[0][0] for n in range(20)] == list(range(20))
    assert world.engine._engine._matcher._fresh == {}
    assert world.engine._engine._matcher._fresh_bytes == 0


async def test_events_without_an_id_are_nobodys_duplicates(world):
    assert [await world.publish("same") for _ in range(3)] == [False] * 3
    for number in range(3):
        assert await world.got(await world.waiting(f"wf_{number}")) == ["same"]


async def test_fifty_of_one_id_at_once_are_applied_once(world):
    await world.waiting("wf_1")
    calls = [world.engine.publish("paid", n, correlation=KEY, event_id="evt_1") for n in range(50)]
    receipts = await asyncio.gather(*calls)
    await world.settled()
    assert sum(not receipt.is_duplicate for receipt in receipts) == 1
    assert len(await world.got("wf_1")) == 1


async def test_nobody_waiting_it_starts_what_it_is_to_start(world):
    start = PublishedStart("order", {"n": 7}, id="order-7", tags={"team": "blue"})
    await world.publish(event_id="evt_1", start=start)
    instance = await world.engine.get("order-7")
    assert (instance.name, instance.input, instance.tags, instance.status) == (
        "order", {"n": 7}, {"team": "blue"}, Status.PENDING,
    )  # fmt: skip
    assert await world.publish(event_id="evt_1", start=start) is True
    await world.waiting("wf_1")
    assert await world.got("wf_1") == []


async def test_somebody_waiting_it_starts_nothing(world):
    await world.waiting("wf_1")
    await world.publish(1, start=PublishedStart("order", id="order-7"))
    assert await world.got("wf_1") == [1]
    assert [each.id for each in await world.engine.list()] == ["wf_1"]


async def test_without_an_id_each_event_starts_an_instance_of_its_own(world):
    for _ in range(3):
        await world.publish(start=PublishedStart("order"))
    assert len(await world.engine.list()) == 3
    assert (await world.engine.list())[0].name == "order"


async def test_an_event_that_finds_the_id_taken_is_kept_for_the_instances_wait(world):
    start = PublishedStart("order", id="order-7")
    await world.publish(1, start=start)
    await world.publish(2, start=start)
    assert len(await world.engine.list()) == 1
    await world.wait("order-7")
    assert await world.got("order-7") == [2]


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_of_two_events_of_one_key_that_would_start_one_instance_the_first_does(world, is_restarted):
    start = PublishedStart("order", id="order-7")
    if is_restarted:
        world.events.trouble["get"] = StoreError("not now")
    calls = [world.engine.publish(name, name, correlation=KEY, start=start) for name in ("sent", "paid")]
    await asyncio.gather(*calls)
    if is_restarted:
        await world.restart()
    await world.settled()
    await world.wait("order-7", event="sent", timeout="1s")
    world.clock.advance(1)
    await wait_until(lambda: _is_running(world, "order-7"))
    await world.wait("order-7")
    assert await world.got("order-7") == [None, "paid"]


async def test_it_starts_nothing_later_that_it_could_not_start_then(world):
    await world.engine.start("order", id="order-7")
    await world.publish(1, start=PublishedStart("order", id="order-7"))
    await world.engine.cancel("order-7")
    await world.engine.delete("order-7")
    await world.restart()
    await world.settled()
    assert await world.engine.list() == []


async def test_an_unknown_workflow_is_refused_and_one_that_is_unknown_after_a_restart_waits_for_it(world, caplog):
    with pytest.raises(UnknownWorkflowError, match="nobody"):
        await world.publish(start=PublishedStart("nobody"))
    world.events.trouble["waits"] = StoreError("not now")
    await world.engine.publish("paid", correlation=KEY, start=PublishedStart("refund"))
    await world.restart(engine_in_memory(None, clock=world.clock, store=world.store))
    await world.settled()
    world.clock.advance(61)
    await world.settled()
    assert len([record for record in caplog.records if "starts nothing" in record.message]) == 1
    assert await world.engine.list() == []
    world.engine.register(WorkflowDefinition("refund"))
    world.clock.advance(61)
    await wait_until(lambda: _has(world, 1))


async def _has(world, count):
    return len(await world.engine.list()) == count


@pytest.mark.usefixtures("held_matching")
@pytest.mark.parametrize("length", ["0s", "10s"])
async def test_what_was_published_in_time_comes_before_the_end_of_the_wait(world, length):
    await world.engine.start("order", id="wf_1")
    await world.engine.publish("paid", 1, correlation=KEY)
    await world.engine.apply("wf_1", WaitEvent(event="paid", correlation=KEY, timeout=length))
    world.clock.advance(20)
    await wait_until(lambda: _is_running(world, "wf_1"))
    assert [record.timed_out for record in (await world.engine.get("wf_1")).steps] == [False]
    assert await world.got("wf_1") == [1]


@pytest.mark.usefixtures("held_matching")
async def test_who_advances_an_instance_gives_it_what_was_published_in_time(world):
    await world.engine.start("order", id="wf_1")
    await world.engine.apply("wf_1", WaitEvent(event="paid", correlation=KEY, timeout="10s"))
    await world.engine.publish("paid", 1, correlation=KEY)
    world.clock.jump(timedelta(seconds=20))  # no timer looks before the clock moves
    assert await world.engine.advance("wf_1") is Status.RUNNING
    assert await world.got("wf_1") == [1]


@pytest.mark.parametrize("length", [timedelta(0), timedelta(seconds=-1), timedelta.max])
def test_a_time_to_keep_events_that_makes_no_sense_is_refused(length):
    with pytest.raises(InvalidInputError, match="keep_published_for"):
        EngineSettings(keep_published_for=length)


async def _is_running(world, id):
    return (await world.engine.get(id)).status is Status.RUNNING


async def test_after_the_timeout_it_is_kept_for_the_next_wait(world):
    await world.waiting("wf_1", timeout="10s")
    world.clock.advance(10)
    await wait_until(lambda: _is_running(world, "wf_1"))
    await world.publish(1)
    assert await world.got("wf_1") == [None]
    await world.wait("wf_1")
    assert await world.got("wf_1") == [None, 1]


async def test_a_wait_that_is_over_leaves_the_event_to_the_next(world):
    await world.waiting("wf_1")
    await world.waiting("wf_2")
    await world.engine.cancel("wf_1")
    await world.publish(1)
    assert await world.got("wf_2") == [1]


async def test_the_same_delivery_after_its_id_was_forgotten_is_not_given_twice_to_one_instance(world):
    await world.waiting("wf_1")
    await world.publish(1, event_id="evt_1")
    await world.wait("wf_1")
    world.store.published._published.__init__(
        world.store.create, world.store.append, world.store._waits, world.store._check_open
    )
    assert await world.publish(1, event_id="evt_1") is False
    assert await world.got("wf_1") == [1]
    assert await world.store.published.kept(Correlation(KEY, "paid"), limit=9) == []


# What is left by a process that ends.


@pytest.mark.parametrize("is_wait_first", [True, False])
async def test_what_a_process_has_not_matched_any_more_the_next_one_matches(world, is_wait_first):
    world.events.trouble["waits"] = world.events.trouble["kept"] = StoreError("the end is near")
    await world.engine.start("order", id="wf_1")

    async def begin_to_wait():
        await world.engine.apply("wf_1", WaitEvent(event="paid", correlation=KEY))

    if is_wait_first:
        await begin_to_wait()
    await world.engine.publish("paid", 1, correlation=KEY)
    await world.engine.publish("new", correlation="order:8", start=PublishedStart("order", id="order-8"))
    if not is_wait_first:
        await begin_to_wait()
    await world.restart()
    await world.settled()
    assert await world.got("wf_1") == [1]
    assert (await world.engine.get("order-8")).status is Status.PENDING


async def test_trouble_of_the_store_delays_what_is_to_be_matched_and_is_told_once(world, caplog):
    await world.waiting("wf_1")
    world.events.trouble["waits"] = StoreError("the disk is away")
    await world.engine.publish("paid", 1, correlation=KEY)
    for _ in range(5):
        await asyncio.sleep(0.01)
        world.clock.advance(1)
    assert len([record for record in caplog.records if "cannot be matched yet" in record.message]) == 1
    world.events.trouble.clear()
    world.clock.advance(1)
    await world.settled()
    assert await world.got("wf_1") == [1]


async def test_an_event_of_which_nobody_knows_whether_it_was_stored_is_matched_if_it_was(world):
    await world.waiting("wf_1")
    accept = world.store.published._published.accept

    async def accept_and_fail(*arguments, **options):
        await accept(*arguments, **options)
        raise StoreError("it cannot be told whether this was stored")

    world.store.published._published.accept = accept_and_fail
    with pytest.raises(StoreError, match="cannot be told"):
        await world.engine.publish("paid", 1, correlation=KEY, event_id="evt_1")
    await world.settled()
    assert await world.got("wf_1") == [1]


async def test_a_full_disk_refuses_and_changes_nothing(world):
    world.events.trouble["accept"] = StorageFullError("full")
    with pytest.raises(StorageFullError):
        await world.engine.publish("paid", 1, correlation=KEY)
    assert world.engine._engine._matcher.is_idle


async def test_an_event_that_cannot_be_read_holds_up_no_other(world, caplog):
    world.events.trouble["get"] = CorruptDatabaseError("the published event 1 cannot be read: data")
    await world.publish(1)
    await world.waiting("wf_1")
    assert await world.got("wf_1") == []
    world.events.trouble.clear()
    await world.publish(2)
    assert await world.got("wf_1") == [2]
    assert len([record for record in caplog.records if "nobody gets it" in record.message]) == 1


async def test_a_failure_nobody_foresaw_is_tried_again_after_a_minute(world, caplog):
    await world.waiting("wf_1")
    world.events.trouble["waits"] = RuntimeError("a bug")
    await world.publish(1)
    world.events.trouble.clear()
    world.clock.advance(61)
    await wait_until(lambda: _is_running(world, "wf_1"))
    assert await world.got("wf_1") == [1]
    assert "tried again in a minute" in caplog.text


# How long events are kept, and how many.


async def test_what_nobody_claims_within_seven_days_is_dropped_counted_and_logged(world, caplog):
    await world.publish({"secret": "canary"}, event_id="evt_1")
    world.clock.advance(timedelta(days=7, seconds=-1))
    await world.engine._engine._publishing.sweep()
    assert len(await world.store.published.kept(Correlation(KEY, "paid"), limit=9)) == 1
    world.clock.advance(timedelta(seconds=61))
    await wait_until(lambda: world.engine._engine._publishing.unclaimed == 1)
    assert "1 published events were claimed by nobody within 7 days, 0:00:00: 1 'paid'" in caplog.text
    assert "canary" not in caplog.text
    await world.waiting("wf_1")
    assert await world.got("wf_1") == []


async def test_an_id_is_known_for_seven_days_however_shortly_events_are_kept(caplog):
    world = World(keep_published_for=timedelta(minutes=1))
    async with world.engine:
        await world.publish(event_id="evt_1")
        await settled()
        world.clock.advance(timedelta(days=7, seconds=-1))
        await wait_until(lambda: world.engine._engine._publishing.unclaimed == 1)
        assert await world.publish(event_id="evt_1") is True
        world.clock.advance(timedelta(minutes=2))
        await world.engine._engine._publishing.sweep()
        assert await world.publish(event_id="evt_1") is False


async def test_after_a_stop_longer_than_events_are_kept_what_was_left_is_matched_before_it_is_dropped(world):
    world.events.trouble["waits"] = world.events.trouble["kept"] = StoreError("the end is near")
    await world.engine.start("order", id="wf_1")
    await world.engine.apply("wf_1", WaitEvent(event="paid", correlation=KEY))
    await world.engine.publish("paid", 1, correlation=KEY)
    await world.engine.publish("paid", 2, correlation="order:9")
    start = PublishedStart("order", id="order-8")
    await world.engine.publish("new", correlation="order:8", start=start)
    await world.engine.__aexit__(None, None, None)
    world.clock.advance(timedelta(days=8))
    world.engine = world.another()
    await world.engine.__aenter__()  # looking back fails still
    await asyncio.sleep(0.01)
    assert world.engine._engine._publishing.unclaimed == 0
    world.events.trouble.clear()
    world.clock.advance(1)
    await wait_until(lambda: world.engine._engine._publishing.unclaimed == 1)
    assert await world.got("wf_1") == [1]
    assert (await world.engine.get("order-8")).status is Status.PENDING


@pytest.mark.parametrize("is_wait_first", [True, False])
async def test_an_event_that_is_over_while_its_wait_is_still_to_be_looked_at_is_not_dropped(world, is_wait_first):
    await world.engine.start("order", id="wf_1")
    if not is_wait_first:
        await world.publish(1)
        world.clock.advance(timedelta(days=7, seconds=-1))
    world.events.trouble["waits"] = world.events.trouble["kept"] = StoreError("the disk is away")
    await world.engine.apply("wf_1", WaitEvent(event="paid", correlation=KEY))
    if is_wait_first:
        await world.engine.publish("paid", 1, correlation=KEY)
        world.clock.advance(timedelta(days=7, seconds=-1))
    world.clock.advance(1)
    sweep = asyncio.create_task(world.engine._engine._publishing.sweep())
    await asyncio.sleep(0.01)
    assert not sweep.done()
    world.events.trouble.clear()
    world.clock.advance(1)
    await sweep
    assert await world.got("wf_1") == [1]
    assert world.engine._engine._publishing.unclaimed == 0


async def test_an_event_that_cannot_be_matched_is_dropped_in_time_all_the_same(world):
    await world.waiting("wf_1")
    world.events.trouble["waits"] = RuntimeError("a bug")
    await world.publish(1)
    world.clock.advance(timedelta(days=7, seconds=1))
    await wait_until(lambda: world.engine._engine._publishing.unclaimed == 1)


async def test_an_event_without_an_id_is_forgotten_when_it_is_claimed(world):
    await world.waiting("wf_1")
    await world.publish()
    await world.publish(event_id="evt_1")
    assert await world.store.published.forget(now=world.clock.now(), limit=9) == 1


async def test_one_id_for_several_events_is_told_once_a_minute_without_their_keys_and_data(world, caplog):
    def publish(event, key):
        return world.engine.publish(event, {"canary": 1}, correlation=key, event_id="evt_1", source="psp")

    for _ in range(2):
        await publish("paid", "canary:1")
    assert "came again" not in caplog.text
    for event, key in (("paid", "canary:2"), ("sent", "canary:1"), ("paid", "canary:3")):
        assert (await publish(event, key)).is_duplicate
    world.clock.advance(timedelta(seconds=61))
    assert (await publish("sent", "canary:2")).is_duplicate
    told = [record for record in caplog.records if "came again" in record.getMessage()]
    assert {record.levelname for record in told} == {"WARNING"}
    lead = "source 'psp': the id of an event 'paid' came again with another"
    end = "dropped as its repeat; an id must differ for each event"
    assert [record.getMessage() for record in told] == [
        f"{lead} correlation key: {end}",
        f"{lead} name: {end} (and 2 others since the last was told)",
    ]
    assert "canary" not in caplog.text


async def test_only_so_many_are_kept_for_one_key(caplog):
    world = World(max_kept_events=2)
    async with world.engine:
        await world.publish(1, event_id="evt_1")
        await world.publish(2)
        with pytest.raises(KeptEventsFullError):
            await world.publish(3)
        assert await world.publish(1, event_id="evt_1") is True
        await world.waiting("wf_1")
        await world.publish(3)
        assert await world.got("wf_1") == [1]


async def test_a_batch_is_swept_after_the_other(world, monkeypatch):
    monkeypatch.setattr("pylon_workflows.publishing._BATCH", 3)
    for _ in range(10):
        await world.publish()
    world.clock.advance(timedelta(days=7, seconds=1))
    await wait_until(lambda: world.engine._engine._publishing.unclaimed == 10)


# What is refused.


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"event": ""}, InvalidInputError, "event"),
        ({"event": "x" * 129}, NameTooLongError, "event"),
        ({"event": 7}, InvalidInputError, "event"),
        ({"correlation": ""}, InvalidInputError, "correlation"),
        ({"correlation": "x" * 513}, CorrelationTooLongError, "correlation"),
        ({"correlation": None}, InvalidInputError, "correlation"),
        ({"correlation": "\ud800"}, InvalidInputError, "correlation"),
        ({"event_id": ""}, InvalidInputError, "event_id"),
        ({"event_id": "x" * 129}, NameTooLongError, "event_id"),
        ({"source": "a:b"}, InvalidInputError, "source"),
        ({"source": "x" * 65}, InvalidInputError, "source"),
        ({"source": None}, InvalidInputError, "source"),
        ({"source": "shop\n"}, InvalidInputError, "source"),
        ({"data": float("nan")}, InvalidInputError, "data"),
        ({"data": "x" * 256 * 1024}, EventTooLargeError, "data"),
        ({"start": "order"}, InvalidInputError, "start"),
        ({"start": PublishedStart("")}, InvalidInputError, "start.name"),
        ({"start": PublishedStart("order", "x" * 1024 * 1024)}, InputTooLargeError, "start.input"),
        ({"start": PublishedStart("order", id="a b")}, InvalidIdError, "start.id"),
        ({"start": PublishedStart("order", tags={"a b": ""})}, InvalidInputError, "tags"),
        ({"start": PublishedStart("order", tags={"x": "y" * 257})}, TagLimitError, "tags.x"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_named(world, change, error, field):
    terms = {"correlation": KEY, **change}
    with pytest.raises((InvalidInputError, EventTooLargeError, InputTooLargeError)) as raised:
        await world.engine.publish(terms.pop("event", "paid"), terms.pop("data", {}), **terms)
    assert type(raised.value) is error
    assert str(raised.value).startswith(f"{field}:")


async def test_a_key_may_have_512_characters_as_on_the_wire(world):
    await world.waiting("wf_1", correlation="x" * 512)
    await world.publish(1, correlation="x" * 512)
    assert await world.got("wf_1") == [1]


async def test_an_instance_goes_on_after_what_was_published(world):
    await world.waiting("wf_1")
    await world.publish(1)
    await world.engine.apply("wf_1", StepComplete(step_name="send"))
    await world.engine.apply("wf_1", Complete(output="done"))
    assert await world.engine.result("wf_1") == "done"


async def test_nothing_of_the_data_is_logged(world, caplog):
    caplog.set_level(logging.DEBUG)
    await world.waiting("wf_1", correlation="canary-key")
    await world.publish({"secret": "canary-data"}, correlation="canary-key", event_id="canary-id")
    assert "canary" not in caplog.text
