"""Workflows that wait: for time, for an event, for another try."""

from datetime import timedelta

import pytest

from pylon_workflows import InstanceFinishedError, PublishedStart, Status, WorkflowDefinition
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, script, wait_for_status, wait_until
from runner_protocol.messages import Complete, Fail, Sleep, StepComplete, WaitEvent

ORDER = WorkflowDefinition("order", max_retries=2, initial_backoff=timedelta(seconds=10))


def an_order(*answers, clock=None):
    engine = engine_in_memory(ScriptedRunner(script(*answers)), clock=clock)
    engine.register(ORDER)
    return engine


async def test_a_workflow_sleeps_a_month_in_a_millisecond():
    """A sleep is a row in the store: it costs nothing, survives a restart, and never ends early."""
    clock = FakeClock()
    async with an_order(Sleep(duration="30d"), Complete(output="awake"), clock=clock) as engine:
        instance_id = await engine.start("order")
        instance = await wait_for_status(engine, instance_id, Status.SLEEPING)
        assert instance.wake_at == clock.now() + timedelta(days=30)
        clock.advance(timedelta(days=29))
        assert (await engine.get(instance_id)).status is Status.SLEEPING
        clock.advance(timedelta(days=1))
        assert await engine.result(instance_id) == "awake"


async def test_a_start_may_be_for_later():
    """`delay` and `at` put the first turn off; until then the instance is pending, and can be cancelled."""
    clock = FakeClock()
    async with an_order(Complete(output="done"), clock=clock) as engine:
        instance_id = await engine.start("order", delay="24h")
        cancelled = await engine.start("order", at=clock.now() + timedelta(hours=1))
        instance = await engine.get(instance_id)
        assert (instance.status, instance.wake_at) == (Status.PENDING, clock.now() + timedelta(hours=24))
        await engine.cancel(cancelled)
        clock.advance(timedelta(hours=24) - timedelta(milliseconds=1))
        assert (await engine.get(instance_id)).status is Status.PENDING
        clock.advance(timedelta(milliseconds=1))
        assert await engine.result(instance_id) == "done"
        assert (await engine.get(cancelled)).status is Status.CANCELLED


async def test_a_step_that_fails_is_tried_again():
    """A failed attempt is retried after a backoff that doubles; each attempt stays in the records."""
    clock = FakeClock()
    declined = Fail(step_name="charge", error="card declined")
    charged = StepComplete(step_name="charge", output="ch_1")
    async with an_order(declined, declined, charged, Complete(), clock=clock) as engine:
        instance_id = await engine.start("order")

        async def backs_off():
            retry_at = (await engine.get(instance_id)).retry_at
            return retry_at is not None and retry_at > clock.now()

        for seconds in (10, 20):
            await wait_until(backs_off)
            assert (await engine.get(instance_id)).retry_at == clock.now() + timedelta(seconds=seconds)
            clock.advance(seconds)
        instance = await engine.wait(instance_id)
    assert [(step.status, step.error, step.retry_count) for step in instance.steps] == [
        ("failed", "card declined", 1),
        ("failed", "card declined", 2),
        ("completed", None, 0),
    ]


async def test_a_workflow_waits_for_an_event_and_gets_its_data():
    """A webhook's event resumes the workflow; what it carried becomes the record's output."""
    async with an_order(WaitEvent(event="paid"), Complete()) as engine:
        instance_id = await engine.start("order")
        assert (await wait_for_status(engine, instance_id, "waiting_for_event")).waiting_for == "paid"
        await engine.send_event(instance_id, "paid", {"amount": 42})
        [record] = (await engine.wait(instance_id)).steps
    assert (record.name, record.output) == ("event:paid", {"amount": 42})


async def test_an_event_that_comes_early_is_kept():
    """Events are stored first and matched second: one that comes before its wait is taken when the wait comes."""
    engine = engine_in_memory(runner=None)
    engine.register(ORDER)
    async with engine:
        instance_id = await engine.start("order")
        await engine.send_event(instance_id, "paid", {"amount": 42})
        instance = await engine.apply(instance_id, WaitEvent(event="paid"))
    assert (instance.status, instance.steps[0].output) == (Status.RUNNING, {"amount": 42})


async def test_an_event_that_comes_twice_counts_once():
    """Webhooks are delivered again when in doubt: an `event_id` makes the repetition harmless."""
    engine = engine_in_memory(runner=None)
    engine.register(ORDER)
    async with engine:
        instance_id = await engine.start("order")
        first = await engine.send_event(instance_id, "paid", event_id="evt_1")
        again = await engine.send_event(instance_id, "paid", event_id="evt_1")
        assert (first.is_duplicate, again.is_duplicate) == (False, True)
        await engine.apply(instance_id, WaitEvent(event="paid"))
        instance = await engine.apply(instance_id, WaitEvent(event="paid"))
    assert instance.status is Status.WAITING_FOR_EVENT


async def test_an_event_that_comes_too_late_is_refused_and_one_that_comes_again_is_not():
    """A finished workflow takes no more events, but the repetition of an accepted one is acknowledged as before."""
    async with an_order(WaitEvent(event="paid"), Complete()) as engine:
        instance_id = await engine.start("order")
        await engine.send_event(instance_id, "paid", event_id="evt_1")
        await engine.wait(instance_id)
        assert (await engine.send_event(instance_id, "paid", event_id="evt_1")).is_duplicate
        with pytest.raises(InstanceFinishedError):
            await engine.send_event(instance_id, "paid", event_id="evt_2")


async def test_who_sends_an_event_need_not_know_the_instance():
    """An event is published under a key of the application's own; the workflow that waits with the key gets it."""
    async with an_order(WaitEvent(event="paid", correlation="order:7"), Complete()) as engine:
        instance_id = await engine.start("order")
        await engine.publish("paid", {"amount": 42}, correlation="order:7", event_id="evt_1")
        [record] = (await engine.wait(instance_id)).steps
        assert (await engine.publish("paid", correlation="order:7", event_id="evt_1")).is_duplicate
    assert record.output == {"amount": 42}


async def test_an_event_for_which_nobody_waits_may_start_a_workflow():
    """The first webhook of an order starts its workflow; those after it find it by the same key."""
    async with an_order(WaitEvent(event="paid", correlation="order:7"), Complete(output="shipped")) as engine:
        start = PublishedStart("order", {"number": 7}, id="order-7")
        await engine.publish("created", correlation="order:7", start=start)
        await engine.publish("paid", {"amount": 42}, correlation="order:7", start=start)
        await wait_until(lambda: _is_started(engine, "order-7"))
        assert await engine.result("order-7") == "shipped"
        assert len(await engine.list()) == 1


async def _is_started(engine, instance_id):
    return any(summary.id == instance_id for summary in await engine.list())


async def test_a_wait_may_have_a_timeout():
    """When no event comes in time the workflow goes on, with nothing in its hands."""
    clock = FakeClock()
    async with an_order(WaitEvent(event="paid", timeout=timedelta(days=3)), Complete(), clock=clock) as engine:
        instance_id = await engine.start("order")
        await wait_for_status(engine, instance_id, "waiting_for_event")
        clock.advance(timedelta(days=3))
        [record] = (await engine.wait(instance_id)).steps
    assert (record.timed_out, record.output) == (True, None)
