"""Starting here: an engine, a workflow, its steps and its result.

In these tests a `ScriptedRunner` stands for the process that holds your workflow code: the test says what it answers.
Time stands still until a test moves it.
"""

import pytest

from pylon_workflows import (
    InvalidInputError,
    StartConflictError,
    Status,
    TurnNotOpenError,
    UnknownInstanceError,
    UnknownWorkflowError,
    WorkflowDefinition,
)
from pylon_workflows.testing import ScriptedRunner, engine_in_memory, script
from runner_protocol.messages import Complete, Sleep, StepComplete


async def test_a_workflow_is_started_driven_to_its_end_and_its_result_read():
    """`start` returns an id once the start is stored; `result` waits for the workflow's output."""
    runner = ScriptedRunner(
        script(StepComplete(step_name="greet", output="hello alice"), Complete(output={"ok": True}))
    )
    engine = engine_in_memory(runner)
    engine.register(WorkflowDefinition("onboarding"))
    async with engine:
        instance_id = await engine.start("onboarding", {"user": "alice"})
        assert await engine.result(instance_id) == {"ok": True}


async def test_the_runner_is_asked_once_a_step_with_all_that_was_recorded_before():
    """Each question carries the input and the finished steps, so that the runner needs no memory of its own."""
    runner = ScriptedRunner(
        script(StepComplete(step_name="one", output=1), StepComplete(step_name="two", output=2), Complete())
    )
    engine = engine_in_memory(runner)
    engine.register(WorkflowDefinition("count"))
    async with engine:
        await engine.wait(await engine.start("count", {"upto": 2}))
    assert [request.input for request in runner.requests] == [{"upto": 2}] * 3
    assert [[step.output for step in request.completed_steps] for request in runner.requests] == [[], [1], [1, 2]]


async def test_an_instance_can_be_looked_at_while_it_runs():
    """`get` shows the state as it was last stored: status, input, steps with their outputs and times."""
    engine = engine_in_memory(runner=None)
    engine.register(WorkflowDefinition("onboarding", version="3"))
    async with engine:
        instance_id = await engine.start("onboarding", {"user": "alice"})
        assert (await engine.get(instance_id)).status is Status.PENDING
        await engine.apply(instance_id, StepComplete(step_name="greet", output="hello", duration_ms=12))
        instance = await engine.get(instance_id)
    assert (instance.name, instance.version, instance.input) == ("onboarding", "3", {"user": "alice"})
    assert (instance.status, instance.current_step) == (Status.RUNNING, 1)
    [step] = instance.steps
    assert (step.name, step.status, step.output, step.duration_ms) == ("greet", "completed", "hello", 12)


async def test_steps_may_have_the_same_name():
    """A loop records every round: names repeat, keys do not."""
    engine = engine_in_memory(runner=None)
    engine.register(WorkflowDefinition("poll"))
    async with engine:
        instance_id = await engine.start("poll")
        for number in range(3):
            instance = await engine.apply(instance_id, StepComplete(step_name="look", output=number))
    assert [(step.name, step.key, step.output) for step in instance.steps] == [
        ("look", "look", 0),
        ("look", "look#2", 1),
        ("look", "look#3", 2),
    ]


async def test_without_a_runner_the_test_gives_the_answers():
    """`runner=None` and `apply` try a workflow's path by hand; an answer is refused when none is awaited."""
    engine = engine_in_memory(runner=None)
    engine.register(WorkflowDefinition("nap"))
    async with engine:
        instance_id = await engine.start("nap")
        assert (await engine.apply(instance_id, Sleep(duration="1h"))).status is Status.SLEEPING
        with pytest.raises(TurnNotOpenError):
            await engine.apply(instance_id, Complete())


async def test_a_start_repeated_with_the_same_key_finds_the_first_instance():
    """An idempotency key makes a start safe to repeat; with another input it is refused and changes nothing."""
    engine = engine_in_memory(runner=None)
    engine.register(WorkflowDefinition("onboarding"))
    async with engine:
        first = await engine.start("onboarding", {"user": "alice"}, idempotency_key="signup-42")
        again = await engine.start("onboarding", {"user": "alice"}, idempotency_key="signup-42")
        assert again == first
        with pytest.raises(StartConflictError):
            await engine.start("onboarding", {"user": "bob"}, idempotency_key="signup-42")
        assert len(await engine.list()) == 1


async def test_an_instance_may_have_an_id_of_your_own():
    """An id that you choose is unique too: starting it again finds the instance."""
    engine = engine_in_memory(runner=None)
    engine.register(WorkflowDefinition("onboarding"))
    async with engine:
        assert await engine.start("onboarding", id="user:alice") == "user:alice"
        assert not (await engine.start_or_find("onboarding", id="user:alice")).is_new


async def test_whatever_cannot_be_done_says_why():
    """Every mistake has an exception of its own, whose message names what was wrong."""
    engine = engine_in_memory(runner=None)
    engine.register(WorkflowDefinition("onboarding"))
    async with engine:
        with pytest.raises(UnknownWorkflowError, match="no workflow is named 'onbording'; registered: onboarding"):
            await engine.start("onbording")
        with pytest.raises(UnknownInstanceError, match="no instance has the id 'wf_1'"):
            await engine.get("wf_1")
        with pytest.raises(InvalidInputError, match="input"):
            await engine.start("onboarding", {"a set is no JSON": {1, 2}})
