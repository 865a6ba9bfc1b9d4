"""`continue_as_new`: the next run of an instance, with the terms of its workflow as they are then."""

from datetime import timedelta

import pytest

from pylon_workflows import InvalidInputError, WorkflowDefinition
from pylon_workflows.core.instance import Status
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import ScriptedRunner, engine_in_memory, wait_for_status
from runner_protocol.messages import Complete, ContinueAsNew, Fail, StartChild, StepComplete, WaitEvent


def engine_with(answer, **settings):
    engine = engine_in_memory(
        ScriptedRunner(answer) if answer else None, settings=EngineSettings(**{"shutdown_grace_s": 0, **settings})
    )
    engine.register(WorkflowDefinition("order", version="1"))
    return engine


async def test_a_run_begins_with_its_own_input_and_no_records_and_the_variables_there_are():
    requests = []

    def answer(request):
        requests.append(request)
        if not request.completed_steps:
            return StepComplete(step_name="s", vars={"total": request.run}, noted=1)
        return ContinueAsNew(input={"n": request.run}) if request.run < 3 else Complete(output=request.input)

    async with engine_with(answer) as engine:
        instance = await engine.wait(await engine.start("order", {"n": 0}, id="a"), 10)
    assert (instance.run, instance.output, len(instance.steps)) == (3, {"n": 2}, 1)
    first_of_run = [request for request in requests if not request.completed_steps]
    assert [(each.run, each.input, each.vars, each.current_step) for each in first_of_run] == [
        (1, {"n": 0}, {}, 0),
        (2, {"n": 1}, {"total": 1}, 0),
        (3, {"n": 2}, {"total": 2}, 0),
    ]
    assert len({request.seed for request in requests}) == 3
    assert [request.noted for request in requests] == [0, 1] * 3
    assert [request.idempotency_key for request in first_of_run] == ["a:1:0", "a:2:0", "a:3:0"]


async def test_version_retries_and_timeout_are_those_of_the_definition_at_that_moment():
    seen = []

    def answer(request):
        seen.append((request.run, request.workflow_version, request.attempt.max, request.deadline - request.now))
        if request.run == 1 and not request.completed_steps:
            later = WorkflowDefinition("order", version="2", max_retries=7, step_timeout=timedelta(seconds=99))
            engine.register(later)
            return StepComplete(step_name="s")
        return ContinueAsNew() if request.run == 1 else Complete()

    async with engine_with(answer) as engine:
        instance = await engine.wait(await engine.start("order"), 10)
    assert [each[:3] for each in seen] == [(1, "1", 4), (1, "1", 4), (2, "2", 8)]
    assert seen[2][3] >= timedelta(seconds=99) > seen[1][3]
    assert (instance.version, instance.max_retries) == ("2", 7)


async def test_limits_are_those_of_a_run():
    def answer(request):
        if len(request.completed_steps) < 2:
            return StepComplete(step_name="s")
        return ContinueAsNew() if request.run < 5 else Complete(output="done")

    async with engine_with(answer, max_records=3) as engine:
        assert (await engine.wait(await engine.start("order"), 10)).output == "done"


async def test_what_follows_in_the_same_answer_belongs_to_no_run():
    def answer(request):
        return [ContinueAsNew(), StepComplete(step_name="late")] if request.run == 1 else Complete(output="done")

    async with engine_with(answer) as engine:
        instance = await engine.wait(await engine.start("order"), 10)
    assert (instance.output, instance.steps) == ("done", ())


async def test_an_input_that_is_too_large_is_a_failed_attempt():
    engine = engine_with(lambda _: ContinueAsNew(input="x" * 99), max_input_bytes=100)
    engine.register(WorkflowDefinition("order", max_retries=0))
    async with engine:
        instance = await engine.wait(await engine.start("order"), 10)
    assert instance.error == "malformed-answer: input: has 101 bytes, the limit is 100"


async def test_a_canned_run_has_the_terms_of_the_definition_too():
    engine = engine_with(None, max_input_bytes=100)
    async with engine:
        await engine.start("order", id="a")
        engine.register(WorkflowDefinition("order", version="2"))
        instance = await engine.apply("a", ContinueAsNew(input=5))
        assert (instance.run, instance.version, instance.input) == (2, "2", 5)
        with pytest.raises(InvalidInputError, match="input: has 101 bytes"):
            await engine.apply("a", ContinueAsNew(input="x" * 99))


async def test_open_children_go_along_and_end_with_the_instance():
    def answer(request):
        if request.workflow_name == "ship":
            return WaitEvent(event="never")
        if request.run == 1 and not request.completed_steps:
            return StartChild(name="s", workflow="ship", id="ship-1", wait=False)
        if request.run == 1:
            return ContinueAsNew()
        return Fail(error="no", retryable=False) if request.completed_steps else WaitEvent(event="end")

    engine = engine_with(answer)
    engine.register(WorkflowDefinition("ship"))
    async with engine:
        await engine.start("order", id="a")
        instance = await wait_for_status(engine, "a", Status.WAITING_FOR_EVENT)
        assert [(child.id, child.run) for child in instance.children.values()] == [("ship-1", 1)]
        await engine.send_event("a", "end")
        await engine.wait("a", 10)
        assert (await engine.wait("ship-1", 10)).status is Status.CANCELLED
