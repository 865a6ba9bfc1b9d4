"""What goes wrong around a workflow does not go wrong in it: restarts, and runners that are away."""

import asyncio
from datetime import timedelta

from pylon_workflows import RunnerUnavailableError, Status, WorkflowDefinition
from pylon_workflows.testing import (
    FakeClock,
    MemoryStore,
    ScriptedRunner,
    engine_in_memory,
    wait_for_status,
    wait_until,
)
from runner_protocol.messages import Complete, Sleep, StepComplete

DOWN = RunnerUnavailableError("connection refused")


def an_engine(runner, **options):
    engine = engine_in_memory(runner, **options)
    engine.register(WorkflowDefinition("order"))
    return engine


async def test_after_a_restart_everything_goes_on_and_no_recorded_step_runs_again():
    """All state is in the store: another engine on it takes up every instance where it stood."""
    ran = []

    def code(request):
        done = [step.name for step in request.completed_steps]
        if "charge" not in done:
            ran.append("charge")
            return StepComplete(step_name="charge")
        if "sleep:1h" not in done:
            return Sleep(duration="1h")
        ran.append("ship")
        return Complete(output="shipped")

    store, clock = MemoryStore(), FakeClock()
    async with an_engine(ScriptedRunner(code), store=store, clock=clock) as engine:
        instance_id = await engine.start("order")
        await wait_for_status(engine, instance_id, Status.SLEEPING)
    clock.advance(timedelta(hours=2))
    async with an_engine(ScriptedRunner(code), store=store, clock=clock) as engine:
        assert await engine.result(instance_id) == "shipped"
    assert ran == ["charge", "ship"]


async def test_a_step_that_was_cut_off_runs_again_with_the_same_idempotency_key():
    """A step runs at least once. Its key lets what it calls recognise the repetition."""
    keys = []

    async def hang(request):
        keys.append(request.idempotency_key)
        return await asyncio.get_running_loop().create_future()

    def finish(request):
        keys.append(request.idempotency_key)
        return Complete()

    store = MemoryStore()
    async with an_engine(ScriptedRunner(hang), store=store) as engine:
        instance_id = await engine.start("order")
        await wait_until(lambda: keys)
    async with an_engine(ScriptedRunner(finish), store=store) as engine:
        await engine.wait(instance_id)
    assert keys == [f"{instance_id}:1:0"] * 2


async def test_a_runner_that_is_down_costs_a_workflow_nothing_but_time():
    """The runner is asked again for as long as it takes; no retry is used up and nothing is written."""
    clock, is_up = FakeClock(), False
    runner = ScriptedRunner(lambda _: Complete(output="at last") if is_up else DOWN)

    def has_been_asked_often():
        clock.advance(timedelta(seconds=30))
        return len(runner.requests) > 20

    async with an_engine(runner, clock=clock) as engine:
        instance_id = await engine.start("order")
        await wait_until(has_been_asked_often)
        instance = await engine.get(instance_id)
        assert (instance.status, instance.steps) == (Status.PENDING, ())
        is_up = True

        async def is_finished():
            clock.advance(timedelta(seconds=30))
            return (await engine.get(instance_id)).is_finished

        await wait_until(is_finished)
        assert await engine.result(instance_id) == "at last"


async def test_a_runner_that_is_asked_too_often_says_when_to_come_back():
    """`Retry-After` is obeyed."""
    clock, asked_at = FakeClock(), []

    def answer(request):
        asked_at.append(clock.now())
        return RunnerUnavailableError("429", retry_after_s=120.0) if len(asked_at) == 1 else Complete()

    def has_been_asked_again():
        clock.advance(1)
        return len(asked_at) == 2

    async with an_engine(ScriptedRunner(answer), clock=clock) as engine:
        instance_id = await engine.start("order")
        await wait_until(has_been_asked_again)
        await engine.wait(instance_id)
    assert asked_at[1] - asked_at[0] >= timedelta(seconds=120)
