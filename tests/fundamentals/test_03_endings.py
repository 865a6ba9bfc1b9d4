"""How workflows end, are stopped, parked and forgotten, and who hears of it."""

from datetime import timedelta

import pytest

from pylon_workflows import (
    EngineSettings,
    InstanceNotFinishedError,
    Status,
    UnknownInstanceError,
    WorkflowCancelledError,
    WorkflowDefinition,
    WorkflowFailedError,
)
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, script, wait_for_status, wait_until
from runner_protocol.messages import Complete, Diverged, Fail, Sleep, StepComplete


def an_engine(*answers, **options):
    engine = engine_in_memory(ScriptedRunner(script(*answers)) if answers else None, **options)
    engine.register(WorkflowDefinition("order", max_retries=0))
    return engine


async def test_a_workflow_fails_when_a_step_has_no_tries_left():
    """`result` raises what the runner said; `wait` returns the instance whatever its end was."""
    async with an_engine(Fail(step_name="charge", error="card declined")) as engine:
        instance_id = await engine.start("order")
        with pytest.raises(WorkflowFailedError, match="card declined"):
            await engine.result(instance_id)
        assert (await engine.wait(instance_id)).status is Status.FAILED


async def test_a_workflow_may_catch_the_failure_of_a_step_and_go_on():
    """With `on_exhausted="throw"` the last failure goes to the code, which may do something else instead."""
    declined = Fail(step_name="charge", key="charge", error="card declined", on_exhausted="throw")
    async with an_engine(declined, StepComplete(step_name="invoice"), Complete(output="invoiced")) as engine:
        instance_id = await engine.start("order")
        assert await engine.result(instance_id) == "invoiced"
        assert [step.status for step in (await engine.get(instance_id)).steps] == ["failed", "completed"]


async def test_a_workflow_can_be_cancelled():
    """After `cancel` returns no further step starts; cancelling again is no error."""
    async with an_engine(Sleep(duration="30d")) as engine:
        instance_id = await engine.start("order")
        await engine.cancel(instance_id)
        await engine.cancel(instance_id)
        with pytest.raises(WorkflowCancelledError):
            await engine.result(instance_id)


async def test_waiting_may_be_limited():
    """`wait` and `result` take a timeout; the workflow itself goes on."""
    async with an_engine(Sleep(duration="30d")) as engine:
        instance_id = await engine.start("order")
        with pytest.raises(TimeoutError):
            await engine.wait(instance_id, timeout=timedelta(milliseconds=5))
        assert not (await engine.get(instance_id)).is_finished


async def test_code_that_no_longer_fits_is_parked_until_somebody_has_fixed_it():
    """A blocked instance says why; nothing is lost, and `resume` goes on from where it stood."""
    changed = Diverged(position=0, expected="charge", got="email")
    async with an_engine(StepComplete(step_name="charge"), changed, Complete(output="fixed")) as engine:
        instance_id = await engine.start("order")
        instance = await wait_for_status(engine, instance_id, Status.BLOCKED)
        assert "the record is 'charge', the code asks for 'email'" in instance.blocked_reason
        await engine.resume(instance_id)
        assert await engine.result(instance_id) == "fixed"


async def test_callbacks_hear_of_every_finished_instance():
    """`on_finished` is called after the end is stored, at least once for each instance."""
    engine = an_engine(Complete(output=1))
    told = []

    @engine.on_finished
    async def remember(instance):
        told.append((instance.id, instance.output))

    async with engine:
        instance_id = await engine.start("order")
        await wait_until(lambda: told)
    assert told == [(instance_id, 1)]


async def test_instances_are_listed_newest_first_a_page_at_a_time():
    """`list` filters by status and name; the last id of a page asks for the next."""
    engine = an_engine()
    engine.register(WorkflowDefinition("refund"))
    async with engine:
        ids = [await engine.start("order") for _ in range(5)]
        refund = await engine.start("refund")
        await engine.apply(ids[2], Complete())

        assert [found.id for found in await engine.list(name="order", limit=2)] == [ids[4], ids[3]]
        assert [found.id for found in await engine.list(name="order", limit=2, after=ids[3])] == [ids[2], ids[1]]
        assert [found.id for found in await engine.list(statuses=[Status.COMPLETED])] == [ids[2]]
        assert [found.id for found in await engine.list()] == [refund, *ids[::-1]]


async def test_instances_are_found_by_their_tags_and_the_time_of_their_start():
    """`tags` are a caller's own words on an instance; `list` takes them, and times of creation."""
    async with an_engine() as engine:
        first = await engine.start("order", tags={"customer": "7", "env": "live"})
        second = await engine.start("order", tags={"customer": "7", "env": "test"})
        await engine.start("order")
        assert [found.id for found in await engine.list(tags={"customer": "7"})] == [second, first]
        assert [found.id for found in await engine.list(tags={"customer": "7", "env": "live"})] == [first]
        tomorrow = (await engine.get(first)).created_at + timedelta(days=1)
        assert await engine.list(started_after=tomorrow) == []
        assert len(await engine.list(started_before=tomorrow)) == 3


async def test_everything_that_happened_can_be_read():
    """`history` tells each transition of an instance, in order."""
    async with an_engine(StepComplete(step_name="charge"), Complete()) as engine:
        instance_id = await engine.start("order")
        await engine.wait(instance_id)
        happened = [type(transition).__name__ for transition in await engine.history(instance_id)]
    assert happened == ["InstanceStarted", "RunStarted", "StepSucceeded", "InstanceCompleted"]


async def test_an_instance_can_be_seen_as_it_was():
    """`get(as_of=...)` folds the history up to a revision; `history` tells what followed it."""
    async with an_engine(StepComplete(step_name="charge"), StepComplete(step_name="mail"), Complete()) as engine:
        instance_id = await engine.start("order")
        revision = (await engine.wait(instance_id)).revision
        then = await engine.get(instance_id, as_of=revision - 2)
        assert (then.status, [step.name for step in then.steps]) == (Status.RUNNING, ["charge"])
        happened = [type(each).__name__ for each in await engine.history(instance_id, after=then.revision)]
    assert happened == ["StepSucceeded", "InstanceCompleted"]


async def test_a_finished_instance_can_be_deleted():
    """`delete` forgets a finished instance with its history; its id and key are free again."""
    async with an_engine() as engine:
        instance_id = await engine.start("order", idempotency_key="order-7")
        with pytest.raises(InstanceNotFinishedError):
            await engine.delete(instance_id)
        await engine.cancel(instance_id)
        await engine.delete(instance_id)
        with pytest.raises(UnknownInstanceError):
            await engine.get(instance_id)
        assert (await engine.start_or_find("order", idempotency_key="order-7")).is_new


async def test_finished_instances_are_deleted_by_themselves_after_a_while():
    """Retention: finished instances stay readable for `retain_finished_for`, then they go. Living ones stay."""
    clock = FakeClock()
    async with an_engine(clock=clock, settings=EngineSettings(retain_finished_for=timedelta(days=7))) as engine:
        finished, living = await engine.start("order"), await engine.start("order")
        await engine.cancel(finished)
        clock.advance(timedelta(days=6))
        assert (await engine.get(finished)).is_finished

        async def is_gone():
            clock.advance(timedelta(minutes=1))
            return [found.id for found in await engine.list()] == [living]

        clock.advance(timedelta(days=1))
        await wait_until(is_gone)
