"""An instance that is put off because of its runner says so, though nothing of it is written."""

from datetime import timedelta

import httpx
from engine_parts import TroubledStore, at, settled

from pylon_workflows import WorkflowDefinition, create_app
from pylon_workflows.api.schemas import InstanceAnswer
from pylon_workflows.errors import RunnerUnavailableError
from pylon_workflows.ports import RunnerWait
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, script
from runner_protocol.messages import Complete, Defer, Fail, StepComplete

AWAY = RunnerUnavailableError("connection refused; the body begins 'secret'")


def engine_with(answer, clock):
    engine = engine_in_memory(
        ScriptedRunner(answer), clock=clock, store=TroubledStore(), settings=EngineSettings(shutdown_grace_s=0)
    )
    engine.register(WorkflowDefinition("order", max_retries=2))
    return engine


async def wait_of(engine, instance_id):
    return engine.waiting_for_runner(await engine.get(instance_id))


async def test_a_runner_that_is_away_is_told_with_since_when_and_the_next_try():
    clock = FakeClock()
    async with engine_with(script(AWAY, AWAY, Complete()), clock) as engine:
        await engine.start("order", id="a")
        await settled()
        first = await wait_of(engine, "a")
        assert (first.reason, first.since) == ("the runner is unavailable: connection refused", at(0))
        assert at(0) < first.next_try_at < at(1)
        clock.advance(1)
        await settled()
        second = await wait_of(engine, "a")
        assert (second.since, second.next_try_at > at(1)) == (at(0), True)
        clock.advance(1)
        await engine.wait("a", 5)
        assert await wait_of(engine, "a") is None
        assert len(await engine.history("a")) == 3, "nothing of it was written"


async def test_a_deferral_is_told_as_one_and_forgotten_with_the_next_action():
    clock = FakeClock()
    later = Defer(retry_after=timedelta(seconds=5), reason="unknown workflow 'order'")
    failed = Fail(step_name="pay", error="no", retry_after=timedelta(seconds=60))
    async with engine_with(script(later, StepComplete(step_name="one"), failed, Complete()), clock) as engine:
        await engine.start("order", id="a")
        await settled()
        assert await wait_of(engine, "a") == RunnerWait(
            reason="the runner puts it off: unknown workflow 'order'", since=at(0), next_try_at=at(5)
        )
        clock.advance(5)
        await settled()
        assert (await engine.get("a")).retry_at is not None
        assert await wait_of(engine, "a") is None
        assert engine._engine._dispatcher._health.waits == {}


async def test_one_that_is_held_back_because_others_found_the_runner_down_says_so_too():
    clock = FakeClock()
    async with engine_with(lambda _: AWAY, clock) as engine:
        for instance_id in ("a", "b", "c"):
            await engine.start("order", id=instance_id)
        await settled()
        await engine.start("order", id="held-back")
        await settled()
        wait = await wait_of(engine, "held-back")
        assert (wait.reason, wait.since) == ("the runner is unavailable: connection refused", at(0))
        assert wait.next_try_at > at(0)


async def test_one_that_is_cancelled_or_deleted_leaves_no_memory_of_it():
    clock = FakeClock()
    async with engine_with(lambda _: AWAY, clock) as engine:
        await engine.start("order", id="a")
        await settled()
        await engine.cancel("a")
        await settled()
        assert await wait_of(engine, "a") is None
        assert engine._engine._dispatcher._health.waits == {}


async def test_what_was_told_before_an_engine_was_closed_is_not_told_when_it_is_entered_again():
    clock = FakeClock()
    engine = engine_with(lambda _: AWAY, clock)
    async with engine:
        await engine.start("order", id="a")
        await settled()
    assert engine._engine._dispatcher._health.waits == {}


async def test_get_shows_it_as_the_document_says():
    clock = FakeClock()
    later = Defer(retry_after=timedelta(seconds=5), reason="busy")
    async with (
        engine_with(lambda _: later, clock) as engine,
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(engine)), base_url="http://localhost") as client,
    ):
        await engine.start("order", id="a")
        await settled()
        shown = (await client.get("/a")).json()
        InstanceAnswer.model_validate_json((await client.get("/a")).content)
        assert list(shown["waiting_for_runner"]) == ["reason", "since", "next_try_at"]
        assert shown["waiting_for_runner"]["reason"] == "the runner puts it off: busy"
        assert "waiting_for_runner" not in (await client.get("/")).json()[0]
