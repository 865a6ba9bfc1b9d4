"""Schedules: one start a tick, whatever becomes of clocks, engines and definitions in the meantime."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from pylon_workflows import (
    EngineSettings,
    InputTooLargeError,
    InvalidIdError,
    InvalidInputError,
    StorageFullError,
    TooManySchedulesError,
    UnknownScheduleError,
    UnknownWorkflowError,
    WorkflowDefinition,
)
from pylon_workflows.store.memory_schedules import MemorySchedules
from pylon_workflows.testing import FakeClock, MemoryStore, ScriptedRunner, engine_in_memory, wait_until
from runner_protocol.messages import Complete, DescribedWorkflow, Description

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
DAILY, HOURLY = "0 9 * * *", "0 * * * *"


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


class World:
    """An engine in memory, time that stands still, and what was started when, by the clock and by the schedule."""

    def __init__(self, beginning=BEGINNING, store=None):
        self.clock = FakeClock(beginning)
        self.store = MemoryStore() if store is None else store

    def an_engine(self, *, name="report", **options):
        engine = engine_in_memory(
            ScriptedRunner(lambda request: Complete(output=request.input)),
            clock=self.clock,
            store=self.store,
            **options,
        )
        if name is not None:
            engine.register(WorkflowDefinition(name))
        return engine

    async def started(self, engine):
        instances = [await engine.get(summary.id) for summary in await engine.list()]
        return [(each.created_at, each.tags["scheduled_for"]) for each in reversed(instances)]

    async def pass_until(self, engine, end):
        """Let time pass from tick to tick, each of which is done before the next comes."""
        while (dues := await self.dues(engine)) and min(dues) <= end:
            first = min(dues)
            self.clock.advance(max(first - self.clock.now(), timedelta(0)))
            await self.until_done(engine)
        self.clock.advance(end - self.clock.now())
        await self.until_done(engine)

    async def until_done(self, engine):
        async def nothing_is_due():
            return all(due > self.clock.now() for due in await self.dues(engine))

        await wait_until(nothing_is_due)

    async def dues(self, engine):
        return [each.next_at for each in await engine.schedules() if each.next_at is not None]


@pytest.fixture
def world():
    return World()


def at_nine(*days):
    return [(at(f"2026-01-{day:02d}T09:00:00Z"), f"2026-01-{day:02d}T09:00:00Z") for day in days]


class TestTicks:
    async def test_an_instance_is_started_at_each_tick_with_the_input_and_the_tags(self, world):
        async with world.an_engine() as engine:
            schedule = await engine.schedule(DAILY, "report", {"kind": "sales"}, id="daily", tags={"team": "blue"})
            assert schedule.next_at == at("2026-01-01T09:00:00Z")
            await world.pass_until(engine, at("2026-01-03T12:00:00Z"))
            assert await world.started(engine) == at_nine(1, 2, 3)
            instance = await engine.get((await engine.list(limit=1))[0].id)
            assert (instance.name, instance.input) == ("report", {"kind": "sales"})
            assert instance.tags == {
                "team": "blue",
                "schedule": "daily",
                "scheduled_for": "2026-01-03T09:00:00Z",
            }
            assert instance.origin.idempotency_key == "schedule:daily:2026-01-03T09:00:00Z"
            after = await engine.get_schedule("daily")
            assert (after.last_at, after.last_instance_id) == (at("2026-01-03T09:00:00Z"), instance.id)
            assert after.next_at == at("2026-01-04T09:00:00Z")

    async def test_months_pass_in_no_time_and_changes_of_the_clock_neither_lose_nor_double_a_day(self):
        world = World(at("2026-03-20T00:00:00Z"))
        settings = EngineSettings(shutdown_grace_s=0, retain_finished_for=None)
        async with world.an_engine(settings=settings) as engine:
            await engine.schedule("30 2 * * *", "report", timezone="Europe/Berlin")
            await world.pass_until(engine, at("2026-10-31T23:00:00Z"))
            started = [moment async for moment in self.all_started(engine)]
            assert len(started) == (at("2026-11-01T00:00:00Z") - at("2026-03-20T00:00:00Z")).days
            assert at("2026-03-29T03:00:00+02:00") in started
            assert at("2026-10-25T02:30:00+02:00") in started

    @staticmethod
    async def all_started(engine):
        after = None
        while page := await engine.list(after=after):
            for each in page:
                yield each.created_at
            after = page[-1].id

    async def test_a_tick_comes_neither_early_nor_late(self, world):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report")
            world.clock.advance(timedelta(hours=9) - timedelta(milliseconds=1))
            for _ in range(20):
                await asyncio.sleep(0)
            assert await engine.list() == []
            world.clock.advance(0.001)
            await world.until_done(engine)
            assert await world.started(engine) == at_nine(1)

    async def test_many_schedules_each_keep_their_own_times(self, world):
        async with world.an_engine() as engine:
            for minute in range(30):
                await engine.schedule(f"{minute} * * * *", "report", id=f"at-{minute}")
            await world.pass_until(engine, BEGINNING + timedelta(hours=3, seconds=30))
            started = [tag for _, tag in await world.started(engine)]
            assert len(started) == len(set(started)) == 90
            assert started == sorted(started)

    async def test_a_workflow_that_nobody_knows_any_more_holds_up_no_other_and_is_started_once_it_is_back(
        self, world, caplog
    ):
        async with world.an_engine(name="lost") as engine:
            await engine.schedule(DAILY, "lost", id="lost")
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", id="found")
            world.clock.advance(timedelta(hours=9))
            await wait_until(lambda: _count_is(engine, 1))
            await wait_until(lambda: [each for each in caplog.records if "lost" in each.getMessage()])
            engine.register(WorkflowDefinition("lost"))
            await wait_until(lambda: _advanced(world.clock, 60) and _count_is(engine, 2))
            assert {each.name for each in await engine.list()} == {"report", "lost"}
            (lost,) = await engine.list(name="lost")
            assert (await engine.get(lost.id)).tags["scheduled_for"] == "2026-01-01T09:00:00Z"
        errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        assert len([each for each in errors if "cannot start anything" in each]) == 1

    async def test_a_runners_new_workflow_can_be_scheduled_and_its_new_version_is_what_ticks_start(self, world):
        runner = ScriptedRunner(
            lambda request: Complete(output=request.workflow_version),
            description=Description(workflows=[DescribedWorkflow(name="told", version="1")]),
        )
        async with engine_in_memory(runner, clock=world.clock, store=world.store) as engine:
            await engine.schedule(DAILY, "told")
            await world.pass_until(engine, at("2026-01-01T12:00:00Z"))
            runner.description = Description(workflows=[DescribedWorkflow(name="told", version="2")])
            asks = runner.descriptions_asked
            await wait_until(lambda: _advanced(world.clock, 30) and runner.descriptions_asked > asks)
            await world.pass_until(engine, at("2026-01-02T12:00:00Z"))
            assert [each.version for each in await engine.list()] == ["2", "1"]


class TestMissedTicks:
    async def test_once_starts_one_instance_for_all_that_passed_while_no_engine_ran(self, world):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", id="daily")
        world.clock.jump(timedelta(days=10, hours=12))
        async with world.an_engine() as engine:
            await world.until_done(engine)
            assert await world.started(engine) == [(at("2026-01-11T12:00:00Z"), "2026-01-11T09:00:00Z")]
            await world.pass_until(engine, at("2026-01-12T12:00:00Z"))
            assert len(await engine.list()) == 2

    async def test_skip_starts_none_of_them(self, world, caplog):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", id="daily", missed="skip")
        world.clock.jump(timedelta(days=10, hours=12))
        async with world.an_engine() as engine:
            await world.until_done(engine)
            assert await engine.list() == []
            await world.pass_until(engine, at("2026-01-12T12:00:00Z"))
            assert await world.started(engine) == at_nine(12)
        assert "schedule daily: nothing was started since 2026-01-01 09:00:00+00:00" in caplog.text

    @pytest.mark.parametrize(
        ("late_s", "is_started"), [(0, True), (59, True), (60, True), (60.001, False), (3600, False)]
    )
    async def test_a_tick_is_missed_after_a_minute(self, world, late_s, is_started):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", missed="skip")
        world.clock.jump(timedelta(days=3, hours=9, seconds=late_s))
        async with world.an_engine() as engine:
            await world.until_done(engine)
            assert [tag for _, tag in await world.started(engine)] == ["2026-01-04T09:00:00Z"] * is_started

    @pytest.mark.parametrize("missed", ["once", "skip"])
    async def test_a_schedule_of_every_minute_that_nobody_served_for_a_year_is_caught_up_with_at_once(
        self, world, missed
    ):
        async with world.an_engine() as engine:
            await engine.schedule("* * * * *", "report", missed=missed)
        world.clock.jump(timedelta(days=365, seconds=20))
        async with world.an_engine() as engine:
            began = asyncio.get_running_loop().time()
            await world.until_done(engine)
            assert asyncio.get_running_loop().time() - began < 1
            assert [tag for _, tag in await world.started(engine)] == ["2027-01-01T00:00:00Z"]

    async def test_what_passed_during_a_pause_is_not_missed(self, world):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", id="daily")
            paused = await engine.pause_schedule("daily")
            assert (paused.is_paused, paused.next_at) == (True, None)
            assert await engine.pause_schedule("daily") == paused
            world.clock.advance(timedelta(days=5, hours=12))
            resumed = await engine.resume_schedule("daily")
            assert (resumed.is_paused, resumed.next_at) == (False, at("2026-01-07T09:00:00Z"))
            assert await engine.resume_schedule("daily") == resumed
            await world.pass_until(engine, at("2026-01-07T12:00:00Z"))
            assert await world.started(engine) == at_nine(7)


class TestClocksThatJump:
    async def test_back_repeats_nothing(self, world):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report")
            await world.pass_until(engine, at("2026-01-03T12:00:00Z"))
            world.clock.jump(timedelta(days=-2))
            await world.pass_until(engine, at("2026-01-04T12:00:00Z"))
            assert [tag for _, tag in await world.started(engine)] == [tag for _, tag in at_nine(1, 2, 3, 4)]

    async def test_forward_is_a_time_that_nobody_served(self, world):
        async with world.an_engine() as engine:
            await engine.schedule(HOURLY, "report")
            world.clock.jump(timedelta(days=3, minutes=30))
            world.clock.advance(1)  # it is looked at twice a second
            await world.until_done(engine)
            assert [tag for _, tag in await world.started(engine)] == ["2026-01-04T00:00:00Z"]


class TestTheSameScheduleTwice:
    async def test_without_an_id_the_same_terms_are_the_same_schedule(self, world):
        async with world.an_engine() as engine:
            first = await engine.schedule(DAILY, "report", {"a": 1, "b": [2]}, tags={"x": "y"})
            world.clock.advance(timedelta(hours=3))
            assert await engine.schedule("0 9  * * *", "report", {"a": 1, "b": [2]}, tags={"x": "y"}) == first
            others = [
                await engine.schedule("0 8 * * *", "report", {"a": 1, "b": [2]}, tags={"x": "y"}),
                await engine.schedule(DAILY, "report", {"a": 2}, tags={"x": "y"}),
                await engine.schedule(DAILY, "report", {"a": 1, "b": [2]}),
                await engine.schedule(DAILY, "report", {"a": 1, "b": [2]}, tags={"x": "y"}, missed="skip"),
                await engine.schedule(DAILY, "report", {"a": 1, "b": [2]}, tags={"x": "y"}, timezone="Asia/Tokyo"),
            ]
            assert len({first.id, *(each.id for each in others)}) == len(await engine.schedules()) == 6

    async def test_a_repeated_one_keeps_its_next_tick_also_one_that_is_overdue(self, world):
        """A program that makes its schedules whenever it starts does not lose what it has missed."""
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", {"n": 1}, id="daily")
        world.clock.jump(timedelta(days=2, hours=12))
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", {"n": 1.0}, id="daily")
            await world.until_done(engine)
            assert len(await engine.list()) == 1

    async def test_other_terms_for_an_id_count_from_now_on(self, world):
        async with world.an_engine() as engine:
            first = await engine.schedule(DAILY, "report", id="daily")
            await world.pass_until(engine, at("2026-01-01T10:00:00Z"))
            changed = await engine.schedule("0 18 * * *", "report", {"late": True}, id="daily")
            assert changed.next_at == at("2026-01-01T18:00:00Z")
            assert (changed.created_at, changed.last_at) == (first.created_at, at("2026-01-01T09:00:00Z"))
            await world.pass_until(engine, at("2026-01-02T12:00:00Z"))
            assert [tag for _, tag in await world.started(engine)] == ["2026-01-01T09:00:00Z", "2026-01-01T18:00:00Z"]

    async def test_other_terms_leave_a_paused_one_paused(self, world):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", id="daily")
            await engine.pause_schedule("daily")
            changed = await engine.schedule(HOURLY, "report", id="daily")
            assert (changed.is_paused, changed.next_at, changed.cron) == (True, None, HOURLY)
            assert (await engine.resume_schedule("daily")).next_at == at("2026-01-01T01:00:00Z")

    async def test_one_that_was_removed_and_made_again_does_not_repeat_a_tick(self, world):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", id="daily")
            await world.pass_until(engine, at("2026-01-01T10:00:00Z"))
            await engine.unschedule("daily")
            world.clock.jump(timedelta(hours=-2))
            await engine.schedule(DAILY, "report", id="daily")
            await world.pass_until(engine, at("2026-01-01T10:00:00Z"))
            assert len(await engine.list()) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("terms", "kind", "sentence"),
        [
            ({"cron": "0 9 * *"}, InvalidInputError, "^cron: "),
            ({"timezone": "Mars/Olympus"}, InvalidInputError, "^timezone: "),
            ({"timezone": ""}, InvalidInputError, "^timezone: "),
            ({"missed": "twice"}, InvalidInputError, "^missed: must be one of once, skip, not 'twice'"),
            ({"missed": ""}, InvalidInputError, "^missed: "),
            ({"id": ""}, InvalidIdError, "^id: "),
            ({"id": "a/b"}, InvalidIdError, "^id: "),
            ({"id": ".."}, InvalidIdError, "^id: "),
            ({"id": "x" * 65}, InvalidIdError, "^id: "),
            ({"id": 7}, InvalidIdError, "^id: "),
            ({"tags": {"schedule": "x"}}, InvalidInputError, "^tags: 'schedule'"),
            ({"tags": {"scheduled_for": "x"}}, InvalidInputError, "^tags: 'scheduled_for'"),
            ({"tags": {"x": 1}}, InvalidInputError, r"^tags\.x: "),
            ({"tags": {f"t{n}": "" for n in range(31)}}, InvalidInputError, "^tags: "),
            ({"name": "nobody"}, UnknownWorkflowError, "nobody"),
            ({"name": ""}, InvalidInputError, "^name: "),
            ({"input": float("nan")}, InvalidInputError, "^input: "),
            ({"input": "x" * 2_000_000}, InputTooLargeError, "^input: "),
        ],
    )
    async def test_what_makes_no_sense_is_refused_and_named_and_nothing_is_kept(self, world, terms, kind, sentence):
        async with world.an_engine() as engine:
            given = {"cron": DAILY, "name": "report", "input": {}, **terms}
            with pytest.raises(kind, match=sentence):
                await engine.schedule(given.pop("cron"), given.pop("name"), given.pop("input"), **given)
            assert await engine.schedules() == []

    async def test_an_argument_that_there_is_not_is_a_type_error(self, world):
        async with world.an_engine() as engine:
            with pytest.raises(TypeError, match="a schedule has no argument 'tz'"):
                await engine.schedule(DAILY, "report", tz="UTC")

    async def test_the_longest_id_fits_and_ticks(self, world):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", id="x" * 64)
            await world.pass_until(engine, at("2026-01-01T10:00:00Z"))
            assert len(await engine.list()) == 1

    @pytest.mark.parametrize("call", ["get_schedule", "unschedule", "pause_schedule", "resume_schedule"])
    async def test_one_that_there_is_not_is_unknown(self, world, call):
        async with world.an_engine() as engine:
            with pytest.raises(UnknownScheduleError, match="no schedule has the id 'nobody'"):
                await getattr(engine, call)("nobody")

    async def test_there_are_a_thousand_at_most(self, world, monkeypatch):
        monkeypatch.setattr("pylon_workflows.schedules.MAX_SCHEDULES", 2)
        async with world.an_engine() as engine:
            for name in ("a", "b"):
                await engine.schedule(DAILY, "report", id=name)
            with pytest.raises(TooManySchedulesError):
                await engine.schedule(DAILY, "report", id="c")
            await engine.schedule(HOURLY, "report", id="b")
            await engine.unschedule("a")
            await engine.schedule(DAILY, "report", id="c")

    async def test_a_removed_one_starts_nothing_more_and_what_it_started_stays(self, world):
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report", id="daily")
            await world.pass_until(engine, at("2026-01-01T10:00:00Z"))
            await engine.unschedule("daily")
            await world.pass_until(engine, at("2026-01-05T10:00:00Z"))
            assert len(await engine.list()) == 1


class TestTrouble:
    async def test_a_full_disk_delays_a_tick_and_neither_loses_nor_doubles_it(self, world):
        class FullSchedules(MemorySchedules):
            is_full = False

            async def tick(self, schedule, tick, instance):
                if self.is_full:
                    raise StorageFullError("full")
                return await super().tick(schedule, tick, instance)

        world.store.schedules = schedules = FullSchedules(world.store.create, lambda: None)
        async with world.an_engine() as engine:
            await engine.schedule(DAILY, "report")
            schedules.is_full = True
            world.clock.advance(timedelta(hours=9))
            for _ in range(20):
                world.clock.advance(1)
                await asyncio.sleep(0)
            assert await engine.list() == []
            schedules.is_full = False
            await wait_until(lambda: _advanced(world.clock, 1) and _count_is(engine, 1))
            assert [tag for _, tag in await world.started(engine)] == ["2026-01-01T09:00:00Z"]

    async def test_a_tick_that_another_transaction_has_done_is_not_done_again(self, world):
        class StaleSchedules(MemorySchedules):
            """Shows the schedule as it was before its last tick, as a slow reader might."""

            async def get(self, schedule_id):
                return self.stale or await super().get(schedule_id)

            stale = None

        world.store.schedules = schedules = StaleSchedules(world.store.create, lambda: None)
        async with world.an_engine() as engine:
            before = await engine.schedule(DAILY, "report", id="daily")
            await world.pass_until(engine, at("2026-01-01T10:00:00Z"))
            schedules.stale = before
            await engine._engine._schedules.wake(["daily"])
            schedules.stale = None
            assert len(await engine.list()) == 1
            assert (await engine.get_schedule("daily")).next_at == at("2026-01-02T09:00:00Z")


async def _count_is(engine, count):
    return len(await engine.list()) == count


def _advanced(clock, seconds):
    clock.advance(seconds)
    return True
