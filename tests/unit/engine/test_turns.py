"""Turns: what an answer, or none, does to an instance, and what may happen while the runner is being asked."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

import pytest
from engine_parts import TroubledStore, at, settled

from pylon_workflows import WorkflowDefinition
from pylon_workflows.core.instance import Status
from pylon_workflows.errors import (
    EngineNotRunningError,
    InstanceFinishedError,
    MalformedAnswerError,
    RunnerUnavailableError,
    StorageFullError,
    StoreError,
    TurnOpenError,
    TurnTimedOutError,
)
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, script, wait_for_status, wait_until
from runner_protocol.messages import Complete, Defer, Diverged, Fail, Sleep, StepComplete, WaitEvent

DROPPED = RunnerUnavailableError("connection lost", has_dropped_turn=True)


class Asked:
    """Turns that the test answers by hand."""

    def __init__(self):
        self.open = {}
        self.count = {}
        self.given_up = []

    def __call__(self, request):
        self.count[request.workflow_id] = self.count.get(request.workflow_id, 0) + 1
        answer = self.open[request.workflow_id] = asyncio.get_running_loop().create_future()
        return self._wait(request.workflow_id, answer)

    async def _wait(self, instance_id, answer):
        try:
            return await answer
        except asyncio.CancelledError:
            self.given_up.append(instance_id)
            raise
        finally:
            del self.open[instance_id]

    async def until_asked(self, instance_id):
        await wait_until(lambda: instance_id in self.open)

    def answer(self, instance_id, action):
        self.open[instance_id].set_result(action)


class Stubborn:
    """A runner that notices a cancellation and answers all the same."""

    def __init__(self):
        self.is_asked = asyncio.Event()

    async def take_turn(self, turn, apply):
        self.is_asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        await apply([StepComplete(step_name="late")])


def engine_with(answer, *, clock=None, store=None, **settings):
    runner = answer if hasattr(answer, "take_turn") else ScriptedRunner(answer)
    engine = engine_in_memory(
        runner,
        clock=clock,
        store=store or TroubledStore(),
        settings=EngineSettings(**{"shutdown_grace_s": 0, **settings}),
    )
    engine.register(WorkflowDefinition("order", max_retries=2))
    return engine


def stale_answers(engine):
    return engine._engine._dispatcher._drive.__self__.stale_answers


async def test_cancelling_during_a_turn_gives_it_up_and_frees_its_place():
    asked = Asked()
    async with engine_with(asked, max_in_flight=1) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        await engine.start("order", id="b")
        await engine.cancel("a")
        await asked.until_asked("b")
        assert asked.given_up == ["a"]
        asked.answer("b", Complete())
        assert (await engine.wait("b")).status is Status.COMPLETED
        assert (await engine.get("a")).steps == ()
        assert asked.count == {"a": 1, "b": 1}


async def test_an_answer_that_comes_after_a_cancel_is_dropped_and_counted():
    runner = Stubborn()
    async with engine_with(runner) as engine:
        await engine.start("order", id="a")
        await runner.is_asked.wait()
        await engine.cancel("a")
        await wait_until(lambda: stale_answers(engine) == 1)
        instance = await engine.get("a")
        assert (instance.status, instance.steps) == (Status.CANCELLED, ())


class Afterwards:
    """A runner whose first turn times out, and which hands over that turn's answer while it is asked again."""

    def __init__(self):
        self.applies = []

    async def take_turn(self, turn, apply):
        self.applies.append(apply)
        if len(self.applies) == 1:
            raise TurnTimedOutError("timed out after 30 s")
        assert not await self.applies[0]([Complete(output="late")])
        await apply([Complete(output="in time")])


async def test_an_answer_that_comes_in_the_time_of_the_next_turn_is_dropped_and_costs_that_one_nothing():
    runner, clock = Afterwards(), FakeClock()
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: runner.applies)
        await settled()
        clock.advance(60)
        assert (await engine.wait("a", 5)).output == "in time"
        assert (len(runner.applies), stale_answers(engine)) == (2, 1)


async def test_each_answer_that_is_dropped_is_logged_with_their_number_so_far(caplog):
    caplog.set_level(logging.INFO, logger="pylon_workflows.turns")
    runner = Stubborn()
    async with engine_with(runner) as engine:
        for instance_id in ("a", "b"):
            runner.is_asked.clear()
            await engine.start("order", id=instance_id)
            await runner.is_asked.wait()
            await engine.cancel(instance_id)
            await wait_until(lambda each=instance_id: f"{each}: an answer came too late" in caplog.text)
    assert [record.getMessage() for record in caplog.records if "too late" in record.getMessage()] == [
        "a: an answer came too late and was dropped (1 so far)",
        "b: an answer came too late and was dropped (2 so far)",
    ]


async def test_an_answer_that_comes_while_a_cancel_is_being_committed_is_dropped():
    asked, store = Asked(), TroubledStore()
    async with engine_with(asked, store=store) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        store.is_writing.clear()
        cancelling = asyncio.create_task(engine.cancel("a"))
        await settled()
        asked.answer("a", Complete(output=1))
        await settled()
        assert (await engine.get("a")).status is Status.PENDING, "nothing is seen before it is durable"
        store.is_writing.set()
        await cancelling
        await wait_until(lambda: stale_answers(engine) == 1)
        assert (await engine.get("a")).status is Status.CANCELLED


async def test_no_turn_begins_while_a_cancel_is_being_committed():
    asked, store = Asked(), TroubledStore()
    async with engine_with(asked, store=store, max_in_flight=1) as engine:
        await engine.start("order", id="b")
        await asked.until_asked("b")
        await engine.start("order", id="a")
        store.is_writing.clear()
        cancelling = asyncio.create_task(engine.cancel("a"))
        await settled()
        asked.open["b"].set_exception(RunnerUnavailableError("busy", retry_after_s=3600))  # its place is free for a
        await settled()
        store.is_writing.set()
        await cancelling
        await settled()
        assert "a" not in asked.count


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (Sleep(duration="1h"), Status.SLEEPING),
        (WaitEvent(event="paid"), Status.WAITING_FOR_EVENT),
        (Complete(), Status.COMPLETED),
        (Diverged(position=0, expected="one", got="two"), Status.BLOCKED),
    ],
)
async def test_the_joined_records_of_an_instance_that_is_not_driven_are_not_kept(action, status):
    runner = ScriptedRunner(script(StepComplete(step_name="one", output="x" * 10_000), action))
    async with engine_with(runner, clock=FakeClock()) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", status)
        await wait_until(lambda: engine._engine._dispatcher.is_idle)
        with engine._engine._live.use("a") as live:
            assert len(live.records._joined) == 1


async def test_after_a_sleep_the_runner_is_sent_all_records_again():
    runner = ScriptedRunner(script(StepComplete(step_name="one", output=1), Sleep(duration="1h"), Complete()))
    clock = FakeClock()
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.SLEEPING)
        await settled()
        clock.advance(timedelta(hours=1))
        await engine.wait("a")
    assert [len(request.completed_steps) for request in runner.requests] == [0, 1, 2]
    assert runner.requests[-1].completed_steps[0].output == 1


async def test_an_instance_that_is_cancelled_while_it_waits_for_a_place_is_never_asked_about():
    asked = Asked()
    async with engine_with(asked, max_in_flight=1) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        await engine.start("order", id="b")
        await engine.cancel("b")
        asked.answer("a", Complete())
        await engine.wait("a")
        await wait_until(lambda: engine._engine._dispatcher.is_idle)
        assert asked.count == {"a": 1}


async def test_an_answer_that_is_there_when_the_cancel_comes_is_one_or_the_other_never_both():
    asked = Asked()
    async with engine_with(asked) as engine:
        for number in range(40):
            instance_id = f"wf_{number}"
            await engine.start("order", id=instance_id)
            await asked.until_asked(instance_id)
            asked.answer(instance_id, Complete(output=1))
            for _ in range(number % 8):
                await asyncio.sleep(0)
            try:
                await engine.cancel(instance_id)
            except InstanceFinishedError:
                assert (await engine.get(instance_id)).status is Status.COMPLETED
            else:
                assert (await engine.get(instance_id)).status is Status.CANCELLED
            kinds = [type(each).__name__ for each in await engine.history(instance_id)]
            assert len({"InstanceCompleted", "InstanceCancelled"} & set(kinds)) == 1
            assert asked.count[instance_id] == 1


async def test_after_the_acknowledgement_of_a_cancel_no_further_step_starts():
    asked = Asked()
    async with engine_with(asked) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        asked.answer("a", StepComplete(step_name="one"))
        await wait_until(lambda: asked.count["a"] == 2)
        await engine.cancel("a")
        begun = asked.count["a"]
        await settled()
        assert asked.count["a"] == begun
        assert [record.name for record in (await engine.get("a")).steps] == ["one"]


async def test_an_event_during_a_turn_goes_to_the_inbox_and_the_answer_counts():
    asked = Asked()
    async with engine_with(asked) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        await engine.send_event("a", "paid", 1)
        assert asked.given_up == []
        asked.answer("a", StepComplete(step_name="one"))
        await wait_until(lambda: asked.count["a"] == 2)
        asked.answer("a", WaitEvent(event="paid"))
        await wait_until(lambda: asked.count["a"] == 3)
        assert [(record.name, record.output) for record in (await engine.get("a")).steps] == [
            ("one", None),
            ("event:paid", 1),
        ]


async def test_an_answer_counts_although_an_event_could_not_be_stored_meanwhile():
    asked, store = Asked(), TroubledStore()
    async with engine_with(asked, store=store) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        store.write_trouble = StorageFullError("the disk is full")
        with pytest.raises(StorageFullError):
            await engine.send_event("a", "paid", 1)
        store.write_trouble = None
        asked.answer("a", StepComplete(step_name="one"))
        await wait_until(lambda: asked.count["a"] == 2)
        asked.answer("a", Complete())
        assert [record.name for record in (await engine.wait("a")).steps] == ["one"]


async def test_a_turn_goes_on_when_its_cancel_could_not_be_stored():
    asked, store = Asked(), TroubledStore()
    async with engine_with(asked, store=store) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        store.write_trouble = StorageFullError("the disk is full")
        with pytest.raises(StorageFullError):
            await engine.cancel("a")
        store.write_trouble = None
        asked.answer("a", Complete(output=1))
        assert (await engine.wait("a")).output == 1


async def test_an_answer_that_cannot_be_stored_is_asked_for_again_with_the_same_key():
    clock, store = FakeClock(), TroubledStore()
    runner = ScriptedRunner(lambda request: Complete(output=request.idempotency_key))
    async with engine_with(runner, clock=clock, store=store) as engine:
        store.write_trouble = StoreError("the disk is broken")
        await engine.start("order", id="a")
        await settled()
        clock.advance(1)
        await settled()
        assert len(runner.requests) == 2
        store.write_trouble = None
        clock.advance(1)
        assert (await engine.wait("a")).output == "a:1:0"
        assert len({request.idempotency_key for request in runner.requests}) == 1


async def test_an_answer_that_a_full_disk_refuses_is_kept_until_there_is_room_and_no_step_runs_again():
    clock, store = FakeClock(), TroubledStore()
    runner = ScriptedRunner(lambda request: Complete(output=1))
    async with engine_with(runner, clock=clock, store=store) as engine:
        store.write_trouble = StorageFullError("the disk is full")
        await engine.start("order", id="a")
        for _ in range(5):
            await settled()
            clock.advance(1)
        with pytest.raises(TurnOpenError):
            await engine.apply("a", Complete(output=2))
        store.write_trouble = None
        clock.advance(1)
        assert (await engine.wait("a")).output == 1
    assert len(runner.requests) == 1


async def test_an_answer_kept_on_a_full_disk_counts_no_more_after_a_cancel():
    clock, store = FakeClock(), TroubledStore()
    runner = ScriptedRunner(lambda request: Complete(output=1))
    async with engine_with(runner, clock=clock, store=store) as engine:
        store.write_trouble = StorageFullError("the disk is full")
        await engine.start("order", id="a")
        await settled()
        store.write_trouble = None
        await engine.cancel("a")
        clock.advance(1)
        await settled()
        assert (await engine.get("a")).status is Status.CANCELLED
    assert len(runner.requests) == 1


async def test_a_cancel_frees_the_place_of_an_answer_that_was_kept_on_a_full_disk():
    clock, store = FakeClock(), TroubledStore()
    runner = ScriptedRunner(lambda request: Complete(output=1))
    async with engine_with(runner, clock=clock, store=store) as engine:
        store.write_trouble = StorageFullError("the disk is full")
        await engine.start("order", id="a")
        await settled()
        store.write_trouble = None
        await engine.cancel("a")
        await engine.delete("a")
        await engine.start("order", id="a")
        await settled()
        assert (await engine.get("a")).output == 1, "the clock has stood still"


async def test_an_engine_that_stops_on_a_full_disk_lets_the_kept_answer_go():
    clock, store = FakeClock(), TroubledStore()
    runner = ScriptedRunner(lambda request: Complete(output=1))
    engine = engine_with(runner, clock=clock, store=store)
    async with engine:
        store.write_trouble = StorageFullError("the disk is full")
        await engine.start("order", id="a")
        await settled()
    store.write_trouble = None
    async with engine:
        assert (await engine.wait("a")).output == 1
    assert len(runner.requests) == 2


async def test_a_canned_answer_is_refused_while_a_turn_is_open_and_taken_after_it_broke(caplog):
    asked = Asked()
    clock = FakeClock()
    async with engine_with(asked, clock=clock) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        with pytest.raises(TurnOpenError, match="the runner is being asked"):
            await engine.apply("a", Complete())
        asked.open["a"].set_exception(ZeroDivisionError("a bug of the runner's"))
        await settled()
        assert (await engine.apply("a", Complete())).status is Status.COMPLETED
    assert "a: driving failed" in caplog.text


async def test_a_call_that_waits_for_an_event_to_be_stored_comes_before_the_turn_that_follows_from_it():
    asked, store = Asked(), TroubledStore()
    async with engine_with(asked, store=store) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        asked.answer("a", WaitEvent(event="paid"))
        await wait_for_status(engine, "a", "waiting_for_event")
        store.is_writing.clear()
        sending = asyncio.create_task(engine.send_event("a", "paid"))
        await settled()
        applying = asyncio.create_task(engine.apply("a", StepComplete(step_name="one")))
        await settled()
        store.is_writing.set()
        await sending
        assert [step.name for step in (await applying).steps] == ["event:paid", "one"]


async def test_an_instance_that_is_woken_while_its_drive_looks_at_its_row_is_asked_about():
    asked, store = Asked(), TroubledStore()
    async with engine_with(asked, store=store) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        asked.answer("a", Defer(retry_after=timedelta(hours=1), reason="busy"))
        await wait_until(lambda: "a" not in asked.open)
        store.is_writing.clear()
        applying = asyncio.create_task(engine.apply("a", Sleep(duration="0s")))
        await settled()
        sending = asyncio.create_task(engine.send_event("a", "paid"))
        await settled()
        store.is_writing.set()
        await asyncio.gather(applying, sending)
        await asked.until_asked("a")


async def test_an_unavailable_runner_uses_up_no_retry_and_nothing_is_written():
    clock, store = FakeClock(), TroubledStore()
    answer = script(*[RunnerUnavailableError("refused")] * 50, Complete())
    async with engine_with(answer, clock=clock, store=store) as engine:
        await engine.start("order", id="a")
        for _ in range(50):
            await settled()
            assert store.appends == 0
            clock.advance(30)
        assert (await engine.wait("a")).steps == ()
        assert store.appends == 1


async def test_retry_after_is_obeyed_even_when_an_event_comes_meanwhile():
    clock = FakeClock()
    runner = ScriptedRunner(script(RunnerUnavailableError("503", retry_after_s=60.0), Complete()))
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        await engine.send_event("a", "paid")
        clock.advance(59)
        await settled()
        assert len(runner.requests) == 1
        clock.advance(1)
        assert (await engine.wait("a")).status is Status.COMPLETED


async def test_a_timeout_is_a_failed_attempt_of_the_position():
    clock = FakeClock()
    answer = script(TurnTimedOutError("timed out after 30 s"), StepComplete(step_name="one"), Complete())
    async with engine_with(answer, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        instance = await engine.get("a")
        assert (instance.status, instance.retry_at) == (Status.RUNNING, at(1))
        clock.advance(1)
        steps = (await engine.wait("a")).steps
    assert [(record.name, record.error) for record in steps] == [("unknown", "timed out after 30 s"), ("one", None)]


async def test_malformed_answers_are_failed_attempts_that_end_in_a_failure():
    clock = FakeClock()
    async with engine_with(lambda _: MalformedAnswerError("action: the field is missing"), clock=clock) as engine:
        await engine.start("order", id="a")
        for seconds in (1, 2):
            await settled()
            clock.advance(seconds)
        instance = await engine.wait("a")
    assert (instance.status, instance.error) == (Status.FAILED, "malformed-answer: action: the field is missing")
    assert [record.retry_count for record in instance.steps] == [1, 2, 3]


async def test_an_action_with_a_key_that_is_already_recorded_is_a_failed_attempt():
    clock, asked = FakeClock(), Asked()
    async with engine_with(asked, clock=clock) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        asked.answer("a", StepComplete(step_name="one", key="one"))
        await wait_until(lambda: asked.count["a"] == 2)
        clock.advance(7)
        asked.answer("a", StepComplete(step_name="one", key="one"))
        await wait_until(lambda: "a" not in asked.open)
        await settled()
        record = (await engine.get("a")).steps[-1]
    assert (record.name, record.error) == (
        "unknown",
        "malformed-answer: key: 'one' is already recorded in this run",
    )
    assert (record.started_at, record.completed_at) == (at(0), at(7))


async def test_a_deferral_burns_no_retry_and_comes_ever_later_up_to_five_minutes():
    clock = FakeClock()
    runner = ScriptedRunner(lambda _: Defer(retry_after=timedelta(seconds=5)))
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        gaps = []
        for _ in range(9):
            asked, gap = len(runner.requests), 0
            while len(runner.requests) == asked:
                clock.advance(5)
                gap += 5
                await settled()
            gaps.append(gap)
        assert gaps == [5, 10, 20, 40, 80, 160, 300, 300, 300]
        instance = await engine.get("a")
        assert (instance.status, instance.revision) == (Status.PENDING, 1)


async def test_after_an_action_a_deferral_begins_anew():
    clock = FakeClock()
    soon = Defer(retry_after=timedelta(seconds=1))
    runner = ScriptedRunner(script(soon, soon, StepComplete(step_name="one"), soon, Complete()))
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        for seconds in (1, 2, 1):
            await settled()
            clock.advance(seconds)
        assert (await engine.wait("a", 5)).status is Status.COMPLETED


async def test_a_cancelled_instance_leaves_no_memory_of_its_deferrals():
    def answer(request):
        return Defer(retry_after=timedelta(seconds=1)) if asked.count == {} else asked(request)

    clock, asked = FakeClock(), Asked()
    async with engine_with(answer, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        asked.count["a"] = 0
        clock.advance(1)
        await asked.until_asked("a")
        turns = engine._engine._dispatcher._drive.__self__
        assert list(turns._deferrals._counts) == ["a"]
        await engine.cancel("a")
        await settled()
        assert turns._deferrals._counts == {}


async def test_an_instance_that_is_started_anew_does_not_wait_for_what_its_forerunner_was_put_off_to():
    clock = FakeClock()
    runner = ScriptedRunner(script(Defer(retry_after=timedelta(hours=1)), Complete()))
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        await engine.cancel("a")
        await engine.delete("a")
        await engine.start("order", id="a")
        assert (await engine.wait("a", 5)).status is Status.COMPLETED
        await settled()
        assert engine._engine._dispatcher.is_idle


async def test_an_instance_that_is_cancelled_while_it_is_put_off_is_forgotten_at_once():
    async with engine_with(ScriptedRunner(script(Defer(retry_after=timedelta(hours=1)))), clock=FakeClock()) as engine:
        await engine.start("order", id="a")
        await settled()
        await engine.cancel("a")
        await settled()
        dispatcher = engine._engine._dispatcher
        assert (dispatcher.is_idle, dispatcher._drive.__self__._deferrals._counts) == (True, {})


async def test_advance_asks_now_about_an_instance_that_was_put_off():
    runner = ScriptedRunner(script(Defer(retry_after=timedelta(hours=1)), Complete()))
    async with engine_with(runner, clock=FakeClock()) as engine:
        await engine.start("order", id="a")
        await settled()
        assert await engine.advance("a") is Status.PENDING
        assert (await engine.wait("a", 5)).status is Status.COMPLETED


async def test_an_instance_that_was_blocked_while_it_was_put_off_goes_on_at_once_after_resume():
    later = Defer(retry_after=timedelta(hours=1))
    runner = ScriptedRunner(script(later, Diverged(position=0, expected="one", got="two"), later, Complete()))
    async with engine_with(runner, clock=FakeClock()) as engine:
        await engine.start("order", id="a")
        await settled()
        await engine.advance("a")
        await wait_for_status(engine, "a", Status.BLOCKED)
        await engine.resume("a")
        await wait_until(lambda: len(runner.requests) == 3)
        await settled()
        await engine.advance("a")
        assert (await engine.wait("a", 5)).status is Status.COMPLETED


async def test_a_deferral_of_no_time_is_no_hot_loop():
    clock = FakeClock()
    runner = ScriptedRunner(lambda _: Defer(retry_after=timedelta(0)))
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        assert len(runner.requests) == 1


async def test_a_run_whose_history_is_too_large_is_blocked_not_failed():
    async with engine_with(lambda _: StepComplete(step_name="again"), max_records=5) as engine:
        await engine.start("order", id="a")
        instance = await wait_for_status(engine, "a", Status.BLOCKED)
        assert len(instance.steps) == 5
        assert instance.blocked_reason.startswith("history-too-large: this run has 5 records and ")
        assert await engine.resume("a") == Status.RUNNING
        await wait_for_status(engine, "a", Status.BLOCKED)


async def test_a_run_with_too_many_bytes_is_blocked_too():
    async with engine_with(lambda _: StepComplete(step_name="x", output="y" * 100), max_history_bytes=1000) as engine:
        await engine.start("order", id="a")
        instance = await wait_for_status(engine, "a", Status.BLOCKED)
        assert 1000 <= instance.history_bytes < 1200


async def test_a_step_on_which_the_runner_dies_is_blocked_while_others_go_on_and_resume_tries_again():
    def answer(request):
        if request.workflow_id == "poison" and not is_fixed:
            return DROPPED
        return Complete()

    is_fixed = False
    clock = FakeClock()
    async with engine_with(answer, clock=clock) as engine:
        await engine.start("order", id="poison")
        for number in range(40):
            await engine.start("order", id=f"healthy-{number}")
            await settled()
            clock.advance(30)
            await settled()
        instance = await engine.get("poison")
        assert instance.status is Status.BLOCKED
        assert "the runner dies on this step" in instance.blocked_reason
        assert all([(await engine.get(f"healthy-{number}")).is_finished for number in range(40)])
        is_fixed = True
        await engine.resume("poison")
        assert (await engine.wait("poison")).status is Status.COMPLETED


async def test_code_that_diverged_is_blocked_and_goes_on_after_the_fix():
    answers = script(StepComplete(step_name="one"), Diverged(position=0, expected="one", got="two"), Complete())
    async with engine_with(answers) as engine:
        await engine.start("order", id="a")
        instance = await wait_for_status(engine, "a", Status.BLOCKED)
        assert "'one'" in instance.blocked_reason
        assert "'two'" in instance.blocked_reason
        assert await engine.resume("a") == Status.RUNNING
        assert (await engine.wait("a")).status is Status.COMPLETED


async def test_an_instance_that_was_deleted_while_it_waited_for_a_place_leaves_nothing_behind(caplog):
    asked = Asked()
    async with engine_with(asked, max_in_flight=1) as engine:
        await engine.start("order", id="a")
        await engine.start("order", id="b")
        await asked.until_asked("a")
        await engine.cancel("b")
        await engine.delete("b")
        with caplog.at_level(logging.WARNING):
            asked.answer("a", Complete())
            await engine.wait("a")
            await wait_until(lambda: engine._engine._dispatcher.is_idle)
    assert caplog.text == ""


async def test_an_unreadable_instance_stops_no_other_and_is_tried_again_in_a_minute(caplog):
    store, clock = TroubledStore(), FakeClock()
    async with engine_in_memory(None, store=store) as engine:
        engine.register(WorkflowDefinition("order"))
        await engine.start("order", id="bad")
    store.unreadable = {"bad"}
    async with engine_with(lambda _: Complete(), store=store, clock=clock) as engine:
        await engine.start("order", id="good")
        assert (await engine.wait("good")).status is Status.COMPLETED
        assert caplog.text.count("bad: cannot be driven") == 1
        clock.advance(30)
        await settled()
        assert caplog.text.count("bad: cannot be driven") == 1
        store.unreadable.clear()
        clock.advance(30)
        assert (await engine.wait("bad")).status is Status.COMPLETED


async def test_a_step_in_flight_may_finish_when_the_engine_closes_and_no_further_one_begins():
    asked, store = Asked(), TroubledStore()
    engine = engine_with(asked, store=store, shutdown_grace_s=10)
    async with engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        asyncio.get_running_loop().call_later(0.01, lambda: asked.answer("a", StepComplete(step_name="one")))
    assert (asked.count, asked.given_up) == ({"a": 1}, [])
    async with engine_with(script(Complete()), store=store) as engine:
        assert [record.name for record in (await engine.wait("a")).steps] == ["one"]


async def test_while_turns_in_flight_may_finish_the_engine_says_that_it_is_stopping(caplog):
    caplog.set_level(logging.INFO)
    asked = Asked()
    engine = engine_with(asked, shutdown_grace_s=10)
    async with engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
        leaving = asyncio.create_task(engine.__aexit__(None, None, None))
        await settled()
        for call in (lambda: engine.start("order"), lambda: engine.get("a")):
            with pytest.raises(EngineNotRunningError, match=r"stopping: what is in flight \(turns: 1\) has 10 s"):
                await call()
        asked.answer("a", Complete())
        await leaving
        assert "the engine is stopping: what is in flight (turns: 1) has 10 s to end" in caplog.messages
        with pytest.raises(EngineNotRunningError, match="is not running"):
            await engine.get("a")


async def test_what_is_cut_off_when_the_engine_closes_runs_again_with_the_same_key():
    asked, store = Asked(), TroubledStore()
    async with engine_with(asked, store=store) as engine:
        await engine.start("order", id="a")
        await asked.until_asked("a")
    assert asked.given_up == ["a"]
    runner = ScriptedRunner(script(StepComplete(step_name="one"), Complete()))
    async with engine_with(runner, store=store) as engine:
        await engine.wait("a")
    assert [request.idempotency_key for request in runner.requests] == ["a:1:0", "a:1:1"]


async def test_an_instance_with_many_steps_steps_back_for_others():
    order = []

    def answer(request):
        order.append(request.workflow_id)
        return StepComplete(step_name="s") if request.current_step < 5 else Complete()

    async with engine_with(answer, max_in_flight=1) as engine:
        await asyncio.gather(*(engine.start("order", id=each) for each in "ab"))
        await asyncio.gather(*map(engine.wait, "ab"))
    assert order == ["a", "b"] * 6


@pytest.mark.parametrize("action", [Sleep(duration="1h"), WaitEvent(event="never"), Fail(step_name="x")])
async def test_an_instance_that_has_to_wait_gives_its_place_to_others(action):
    def answer(request):
        return action if request.workflow_id == "a" else Complete()

    async with engine_with(answer, clock=FakeClock(), max_in_flight=1) as engine:
        await engine.start("order", id="a")
        await engine.start("order", id="b")
        assert (await engine.wait("b")).status is Status.COMPLETED


async def test_an_id_started_anew_in_another_workflow_does_not_wait_for_the_runner_of_the_former_one():
    def answer(request):
        if request.workflow_name == "order":
            raise RunnerUnavailableError("connection refused")
        return Complete(output="shipped")

    async with engine_with(answer, clock=FakeClock()) as engine:
        engine.register(WorkflowDefinition("ship"))
        for instance_id in ("a", "b", "c", "d", "e"):
            await engine.start("order", id=instance_id)
        await settled()
        await engine.cancel("a")
        await engine.delete("a")
        await engine.start("ship", id="a")
        await settled()
        assert (await engine.get("a")).output == "shipped"


async def test_a_drive_that_finds_its_id_in_another_workflow_leaves_it_to_one_of_that_workflow(caplog):
    store = TroubledStore()
    runner = ScriptedRunner(
        script(RunnerUnavailableError("connection refused"), StepComplete(step_name="one"), Complete())
    )
    async with engine_with(runner, clock=FakeClock(), store=store) as engine:
        engine.register(WorkflowDefinition("ship"))
        await engine.start("order", id="a")
        await settled()
        store.is_writing.clear()
        calls = [
            asyncio.ensure_future(call)
            for call in (engine.cancel("a"), engine.advance("a"), engine.delete("a"), engine.start("ship", id="a"))
        ]
        await settled()
        store.is_writing.set()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (await engine.wait("a", 5)).name == "ship"
        await settled()
        assert "driving failed" not in caplog.text
        assert engine._engine._dispatcher.is_idle
