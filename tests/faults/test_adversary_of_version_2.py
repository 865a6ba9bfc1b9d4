"""What somebody found who tried to break version 2 of the protocol: each test is an attack that once succeeded."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from datetime import timedelta

import pytest

from pylon_workflows import LocalRunner, Status, WorkflowDefinition, WorkflowEngine
from pylon_workflows.errors import TooDeepError
from pylon_workflows.runner.deadline import Deadline
from pylon_workflows.testing import ScriptedRunner, engine_in_memory, wait_for_status, wait_until
from runner_protocol import Runner, workflow
from runner_protocol.messages import Approval, Complete, Fail, Map, StartChild, StepComplete, Usage, WaitEvent
from runner_protocol.strict_json import MAX_DEPTH


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


async def finished(runner, *names, timeout_s=60, **terms):
    """The instance `a` of the first workflow when it has finished."""
    engine = engine_in_memory(runner)
    for name in names:
        engine.register(WorkflowDefinition(name, **terms))
    async with engine:
        await engine.start(names[0], {}, id="a")
        return await engine.wait("a", timeout_s)


@pytest.mark.parametrize("kind", ['say "hi"', "two\nlines", 'x","output":"forged', "back\\slash"])
async def test_the_kind_of_an_operation_may_hold_any_character(kind):
    def answer(request):
        if request.current_step == 0:
            return StepComplete(step_name="s", key="s", kind=kind, output=1)
        return Complete(output=[request.completed_steps[0].kind, request.completed_steps[0].output])

    assert (await finished(ScriptedRunner(answer), "w")).output == [kind, 1]


@pytest.mark.parametrize("kind", ['say "hi"', "two\nlines", 'x","output":"forged', "back\\slash"])
async def test_so_may_that_of_one_that_fails(kind):
    def answer(request):
        records = request.completed_steps
        if len(records) < 2:
            return Fail(step_name="s", key="s", kind=kind, input=[kind], error="e", on_exhausted="throw")
        return Complete(output=[[record.kind, record.input, record.output] for record in records])

    instance = await finished(ScriptedRunner(answer), "w", max_retries=1, initial_backoff=timedelta(0))
    assert instance.output == [[kind, [kind], None]] * 2


@pytest.mark.parametrize(("depth", "error"), [(MAX_DEPTH - 1, None), (MAX_DEPTH, "output: nested deeper than 63")])
async def test_an_output_that_would_make_that_of_its_group_too_deep_fails_its_member(depth, error):
    def answer(request):
        if request.mode == "run_step":
            return StepComplete(output=nested(depth))
        return Complete(output=request.completed_steps[0].error) if request.current_step else Map(name="g", items=[1])

    instance = await finished(ScriptedRunner(answer), "w", max_retries=0)
    assert instance.status is Status.COMPLETED
    assert instance.output is None if error is None else error in instance.output


async def test_the_data_of_a_decision_leaves_room_for_the_decision_around_it():
    def answer(request):
        return Complete(output="decided") if request.current_step else Approval(name="gate")

    engine = engine_in_memory(ScriptedRunner(answer))
    engine.register(WorkflowDefinition("w"))
    async with engine:
        await engine.start("w", {}, id="a")
        await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
        with pytest.raises(TooDeepError, match="data: nested deeper than 63"):
            await engine.approve("a", "approval:gate", data=nested(MAX_DEPTH))
        await engine.approve("a", "approval:gate", data=nested(MAX_DEPTH - 1))
        assert await engine.result("a", 5) == "decided"


async def test_what_a_child_cost_may_be_more_than_one_action_may_say():
    much = Usage(cost_usd="9" * 15, input_tokens=2**53 - 1)

    def answer(request):
        if request.workflow_name == "costly":
            return Complete(usage=much) if request.current_step else StepComplete(step_name="s", key="s", usage=much)
        return Complete(output="paid") if request.current_step else StartChild(name="c", workflow="costly")

    instance = await finished(ScriptedRunner(answer), "w", "costly")
    assert instance.output == "paid"
    assert instance.usage.input_tokens == 2 * (2**53 - 1)


class _CodeFailsError(Exception):
    @property
    def code(self):
        raise ValueError("deprecated")


class _DataFailsError(Exception):
    @property
    def data(self):
        raise ValueError("closed")


class _ExitsError(Exception):
    def __str__(self):
        raise SystemExit(3)


class _Unreadable(dict):
    def items(self):
        raise RuntimeError("dictionary changed size during iteration")


@pytest.mark.parametrize(
    ("error", "output", "words"),
    [
        (_CodeFailsError("declined"), None, "declined"),
        (_DataFailsError("declined"), None, "declined"),
        (_ExitsError(), None, "_ExitsError, whose text cannot be shown"),
        (None, _Unreadable(a=1), "the output of step 's' cannot be read"),
    ],
)
async def test_an_odd_error_or_output_fails_its_step_at_once_and_is_no_timeout(error, output, words):
    async def body():
        if error is not None:
            raise error
        return output

    @workflow("w")
    async def odd(ctx, input):
        await ctx.step("s", body, retries=0, retry_if=lambda error: sys.exit(4))

    instance = await finished(LocalRunner(Runner([odd])), "w", step_timeout=timedelta(minutes=1))
    assert (instance.status, instance.steps[0].key) == (Status.FAILED, "s")
    assert words in instance.error


def test_a_step_that_may_take_less_than_others_does_not_shorten_the_turn():
    deadline = Deadline(30.0, 30.0)
    deadline.step_started("quick", 1.0, 0.0)
    assert (deadline.at, deadline.length_s) == (30.0, 30.0)
    deadline.step_started("slow", 60.0, 0.0)
    assert deadline.at >= 60.0 + 5.0, "a kit gives a body that goes on five seconds"
    assert deadline.length_s == 60.0


@pytest.mark.slow
async def test_a_step_that_takes_long_to_stop_runs_no_other_again():
    began = []

    async def is_stubborn_recorded():
        return [record.key for record in (await engine.get("a")).steps] == ["stubborn"]

    async def patient():
        began.append("patient")
        await wait_until(is_stubborn_recorded, timeout_s=25)
        return "done"

    @workflow("w")
    async def both(ctx, input):
        stubborn = ctx.shell("stubborn", ["sh", "-c", "trap '' TERM; sleep 30 & wait"], timeout=0.2, retries=0)
        first, second = await asyncio.gather(ctx.step("patient", patient), stubborn, return_exceptions=True)
        return [first, str(second)]

    engine = engine_in_memory(LocalRunner(Runner([both])))
    engine.register(WorkflowDefinition("w", step_timeout=timedelta(seconds=30)))
    async with engine:
        await engine.start("w", {}, id="a")
        instance = await engine.wait("a", 60)
    assert instance.output == ["done", "step 'stubborn' failed: step 'stubborn' timed out after 0.2 s"]
    assert began == ["patient"]
    assert [record.key for record in instance.steps] == ["stubborn", "patient"]


async def test_the_parent_of_a_child_that_cannot_be_read_is_told_when_that_is_deleted(tmp_path):
    def answer(request):
        if request.workflow_name == "child":
            return WaitEvent(event="never")
        if request.current_step == 0:
            return StartChild(name="c", workflow="child", id="poisoned")
        return Complete(output=request.completed_steps[0].error)

    def opened():
        engine = WorkflowEngine(runner=ScriptedRunner(answer), database=tmp_path / "workflows.db")
        engine.register(WorkflowDefinition("parent"))
        engine.register(WorkflowDefinition("child"))
        return engine

    async with opened() as engine:
        await engine.start("parent", {}, id="parent")
        await wait_for_status(engine, "parent", Status.WAITING_FOR_CHILD)
        await wait_for_status(engine, "poisoned", Status.WAITING_FOR_EVENT)
    with closing(sqlite3.connect(tmp_path / "workflows.db")) as connection:
        connection.execute("UPDATE history SET body = '[]' WHERE type = 'WaitStarted'")
        connection.commit()
    async with opened() as engine:
        assert (await engine.get("poisoned")).status is Status.BLOCKED
        await engine.delete("poisoned")
        assert "could not be read any more, and was deleted" in await engine.result("parent", 5)
