"""Streams: the actions of one answer, each durable as it comes, and what may happen between two of them."""

import asyncio
import logging

import pytest
from engine_parts import TroubledStore, at, settled

from pylon_workflows import WorkflowDefinition
from pylon_workflows.core.instance import Status
from pylon_workflows.errors import (
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

BROKEN = RunnerUnavailableError("connection lost", has_dropped_turn=True)


class Spoken:
    """A runner whose stream the test speaks, line by line; it hears when it is hung up."""

    def __init__(self):
        self.requests = []
        self.wanted = []
        self.is_hung_up = False
        self._lines = asyncio.Queue()

    async def take_turn(self, turn, apply):
        self.requests.append(turn)
        try:
            while (actions := await self._lines.get()) is not None:
                if isinstance(actions, Exception):
                    raise actions
                self.wanted.append(await apply(actions))
                if not self.wanted[-1]:
                    return
        except asyncio.CancelledError:
            self.is_hung_up = True
            raise

    async def say(self, *actions):
        """Say actions at once, and wait until the engine has done with them."""
        self._lines.put_nowait(actions)
        await settled()

    async def end(self, error=None):
        self._lines.put_nowait(error)
        await settled()


def step(name, **fields):
    return StepComplete(step_name=name, key=name, **fields)


def engine_with(answer, *, clock=None, store=None, **settings):
    runner = answer if hasattr(answer, "take_turn") else ScriptedRunner(answer)
    engine = engine_in_memory(
        runner,
        clock=clock or FakeClock(),
        store=store or TroubledStore(),
        settings=EngineSettings(**{"shutdown_grace_s": 0, **settings}),
    )
    engine.register(WorkflowDefinition("order", max_retries=2))
    return engine


async def names(engine, instance_id="a"):
    return [record.name for record in (await engine.get(instance_id)).steps]


async def kinds(engine, instance_id="a"):
    return [type(each).__name__ for each in await engine.history(instance_id)]


async def test_a_whole_workflow_in_one_answer_is_one_turn_and_one_write():
    store = TroubledStore()
    runner = ScriptedRunner(script([*(step(f"s{number}") for number in range(50)), Complete(output="done")]))
    async with engine_with(runner, store=store) as engine:
        await engine.start("order", id="a")
        assert (await engine.wait("a", 5)).output == "done"
        assert (len(runner.requests), store.appends) == (1, 1)
        assert await names(engine) == [f"s{number}" for number in range(50)]


async def test_what_has_come_is_durable_and_seen_while_the_runner_goes_on():
    runner = Spoken()
    async with engine_with(runner) as engine:
        await engine.start("order", id="a")
        for name in ("one", "two"):
            await runner.say(step(name))
            assert (await names(engine))[-1] == name
        await runner.say(Complete())
        assert (await engine.wait("a", 5)).status is Status.COMPLETED
        assert (len(runner.requests), runner.wanted) == (1, [True, True, False])


async def test_a_stream_that_ends_before_the_workflow_is_followed_by_the_next_turn():
    runner = ScriptedRunner(script([step("one"), step("two")], [step("three"), Complete()]))
    async with engine_with(runner) as engine:
        await engine.start("order", id="a")
        await engine.wait("a", 5)
        assert [request.current_step for request in runner.requests] == [0, 2]


async def test_nothing_of_a_batch_is_seen_before_all_of_it_is_durable():
    runner, store = Spoken(), TroubledStore()
    async with engine_with(runner, store=store) as engine:
        await engine.start("order", id="a")
        store.is_writing.clear()
        await runner.say(step("one"), step("two"))
        assert await names(engine) == []
        store.is_writing.set()
        await wait_until(lambda: runner.wanted == [True])
        assert await names(engine) == ["one", "two"]


async def test_an_event_between_two_lines_goes_to_the_inbox_and_throws_nothing_away():
    runner = Spoken()
    async with engine_with(runner) as engine:
        await engine.start("order", id="a")
        await runner.say(step("one"))
        await engine.send_event("a", "paid", 7)
        await runner.say(step("two"))
        await runner.say(WaitEvent(event="paid", key="event:paid"))
        await runner.say(Complete())
        instance = await engine.wait("a", 5)
        assert [(record.name, record.output) for record in instance.steps] == [
            ("one", None),
            ("two", None),
            ("event:paid", 7),
        ]
        assert (len(runner.requests), runner.is_hung_up) == (1, False)


async def test_a_cancel_between_two_lines_ends_the_turn_and_drops_what_comes_after():
    runner = Spoken()
    async with engine_with(runner) as engine:
        await engine.start("order", id="a")
        await runner.say(step("one"))
        await engine.cancel("a")
        await settled()
        assert runner.is_hung_up
        assert (await engine.get("a")).status is Status.CANCELLED
        assert await names(engine) == ["one"]


async def test_lines_that_come_while_a_cancel_is_being_committed_are_dropped(caplog):
    caplog.set_level(logging.INFO, logger="pylon_workflows.turns")
    runner, store = Spoken(), TroubledStore()
    async with engine_with(runner, store=store) as engine:
        await engine.start("order", id="a")
        await runner.say(step("one"))
        store.is_writing.clear()
        cancelling = asyncio.create_task(engine.cancel("a"))
        await settled()
        await runner.say(step("two"))
        store.is_writing.set()
        await cancelling
        await wait_until(lambda: runner.wanted == [True, False])
        assert await names(engine) == ["one"]
        assert "a: an answer came too late and was dropped (1 so far)" in caplog.text


async def test_a_line_that_cannot_be_applied_is_a_failed_attempt_and_ends_the_turn():
    runner, store = Spoken(), TroubledStore()
    async with engine_with(runner, store=store) as engine:
        await engine.start("order", id="a")
        await runner.say(step("one"), step("two"), step("one"), step("three"))
        assert runner.wanted == [False]
        assert store.appends == 1, "what came before it and the failure are one change"
        instance = await engine.get("a")
        assert [(record.name, record.status) for record in instance.steps] == [
            ("one", "completed"),
            ("two", "completed"),
            ("unknown", "failed"),
        ]
        assert instance.steps[-1].error == "malformed-answer: key: 'one' is already recorded in this run"
        assert instance.retry_at == at(1)


async def test_an_action_after_the_last_is_ignored():
    runner = ScriptedRunner(script([step("one"), Sleep(duration="1h"), step("two"), Complete()]))
    async with engine_with(runner) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.SLEEPING)
        assert await names(engine) == ["one", "sleep:1h"]


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (TurnTimedOutError("timed out after 30 s"), "timed out after 30 s"),
        (MalformedAnswerError("line 2: not JSON"), "malformed-answer: line 2: not JSON"),
    ],
)
async def test_what_goes_wrong_in_the_middle_is_a_failed_attempt_after_what_came_before(error, recorded):
    clock = FakeClock()
    runner = ScriptedRunner(script([step("one"), error], [step("two"), Complete()]))
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        assert [record.error for record in (await engine.get("a")).steps] == [None, recorded]
        clock.advance(1)
        await engine.wait("a", 5)
        assert [request.attempt.number for request in runner.requests] == [1, 2]


async def test_a_connection_lost_in_the_middle_uses_up_no_retry_and_what_came_counts():
    clock = FakeClock()
    runner = ScriptedRunner(script([step("one"), step("two"), BROKEN], [step("three"), Complete()]))
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        clock.advance(60)
        await engine.wait("a", 5)
        assert await names(engine) == ["one", "two", "three"]
        assert [(request.current_step, request.attempt.number) for request in runner.requests] == [(0, 1), (2, 1)]


async def test_a_runner_that_answers_without_an_action_is_not_asked_again_at_once():
    runner = Spoken()
    async with engine_with(runner) as engine:
        await engine.start("order", id="a")
        await settled()
        await runner.end()
        await settled()
        assert len(runner.requests) == 1
        waiting = engine.waiting_for_runner(await engine.get("a"))
        assert waiting.reason == "the runner is unavailable: the runner answered without an action"


async def test_a_batch_that_a_full_disk_refuses_is_kept_and_no_step_runs_again():
    clock, store, runner = FakeClock(), TroubledStore(), Spoken()
    async with engine_with(runner, clock=clock, store=store) as engine:
        await engine.start("order", id="a")
        await runner.say(step("one"))
        store.write_trouble = StorageFullError("the disk is full")
        await runner.say(step("two"), step("three"))
        for _ in range(3):
            clock.advance(1)
            await settled()
        with pytest.raises(TurnOpenError):
            await engine.apply("a", Complete())
        assert await names(engine) == ["one"]
        store.write_trouble = None
        clock.advance(1)
        await wait_until(lambda: runner.wanted == [True, True])
        await runner.say(Complete())
        await engine.wait("a", 5)
        assert await names(engine) == ["one", "two", "three"]
        assert len(runner.requests) == 1


async def test_a_batch_kept_on_a_full_disk_is_dropped_by_a_cancel():
    clock, store, runner = FakeClock(), TroubledStore(), Spoken()
    async with engine_with(runner, clock=clock, store=store) as engine:
        await engine.start("order", id="a")
        await runner.say(step("one"))
        store.write_trouble = StorageFullError("the disk is full")
        await runner.say(step("two"))
        store.write_trouble = None
        await engine.cancel("a")
        await settled()
        assert runner.is_hung_up
        clock.advance(5)
        await settled()
        assert await names(engine) == ["one"]


async def test_a_batch_of_which_nobody_knows_whether_it_was_stored_ends_the_turn_and_the_next_one_knows():
    clock, store, runner = FakeClock(), TroubledStore(), Spoken()
    async with engine_with(runner, clock=clock, store=store) as engine:
        await engine.start("order", id="a")
        await runner.say(step("one"))
        store.write_trouble = StoreError("disk I/O error")
        await runner.say(step("two"))
        store.write_trouble = None
        clock.advance(1)
        await wait_until(lambda: len(runner.requests) == 2)
        await runner.say(step("two"), Complete())
        await engine.wait("a", 5)
        assert await names(engine) == ["one", "two"]


async def test_a_deferral_in_the_middle_keeps_what_came_before_it():
    clock = FakeClock()
    runner = ScriptedRunner(script([step("one"), Defer(retry_after="5s", reason="busy"), step("two")], Complete()))
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        assert await names(engine) == ["one"]
        assert engine.waiting_for_runner(await engine.get("a")).reason == "the runner puts it off: busy"
        clock.advance(5)
        assert (await engine.wait("a", 5)).status is Status.COMPLETED


async def test_a_divergence_in_the_middle_blocks_with_what_came_before_it():
    runner = ScriptedRunner(script([step("one"), Diverged(position=1, expected="two", got="three"), step("two")]))
    async with engine_with(runner) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.BLOCKED)
        assert await names(engine) == ["one"]


async def test_a_run_that_becomes_too_large_in_the_middle_of_a_stream_is_blocked():
    def endless(_):
        return spoken()

    async def spoken():
        number = 0
        while True:
            yield step(f"s{number}")
            number += 1

    async with engine_with(endless, max_records=5) as engine:
        await engine.start("order", id="a")
        instance = await wait_for_status(engine, "a", Status.BLOCKED)
        assert len(instance.steps) == 5
        assert instance.blocked_reason.startswith("history-too-large: this run has 5 records")


async def test_an_attempt_that_is_retried_is_no_end_for_the_steps_that_run_beside_it():
    clock, runner = FakeClock(), Spoken()
    failed = Fail(step_name="two", key="two", error="declined", on_exhausted="throw")
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await runner.say(step("one"))
        await runner.say(failed)
        assert (await engine.get("a")).retry_at == at(1)
        await engine.send_event("a", "paid")
        await runner.say(step("three"))
        clock.advance(1)
        await settled()
        await runner.say(step("four"))
        assert (runner.is_hung_up, runner.wanted) == (False, [True] * 4)
        assert await names(engine) == ["one", "two", "three", "four"]
        await runner.end()
        await wait_until(lambda: len(runner.requests) == 2)


async def test_the_runner_is_asked_again_when_the_time_of_a_retry_has_come_and_not_before():
    clock = FakeClock()
    failed = Fail(step_name="two", key="two", error="declined", on_exhausted="throw")
    runner = ScriptedRunner(script([failed, step("three")], [step("two"), Complete()]))
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        assert len(runner.requests) == 1
        clock.advance(1)
        await engine.wait("a", 5)
        assert await names(engine) == ["two", "three", "two"]


async def test_an_engine_that_stops_hangs_up_and_what_came_stays():
    runner, store = Spoken(), TroubledStore()
    engine = engine_with(runner, store=store)
    async with engine:
        await engine.start("order", id="a")
        await runner.say(step("one"))
    assert runner.is_hung_up
    async with engine:
        await wait_until(lambda: len(runner.requests) == 2)
        assert await names(engine) == ["one"]


async def test_a_step_without_times_of_its_own_began_when_the_line_before_it_was_applied():
    clock, runner = FakeClock(), Spoken()
    async with engine_with(runner, clock=clock) as engine:
        await engine.start("order", id="a")
        await settled()
        for name in ("one", "two"):
            clock.advance(3)
            await runner.say(step(name))
        instance = await engine.get("a")
        assert [(record.started_at, record.completed_at) for record in instance.steps] == [
            (at(0), at(3)),
            (at(3), at(6)),
        ]


async def test_the_history_of_a_stream_begins_the_run_once():
    runner = ScriptedRunner(script([step("one"), step("two"), Complete()]))
    async with engine_with(runner) as engine:
        await engine.start("order", id="a")
        await engine.wait("a", 5)
        assert await kinds(engine) == [
            "InstanceStarted",
            "RunStarted",
            "StepSucceeded",
            "StepSucceeded",
            "InstanceCompleted",
        ]
