"""What somebody found who tried to break it: each test is an attack that once succeeded."""

import asyncio
from datetime import timedelta

import pytest

from pylon_workflows import (
    DatabaseInUseError,
    LocalRunner,
    Status,
    WorkflowDefinition,
    WorkflowEngine,
)
from pylon_workflows.errors import RunnerUnavailableError
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, wait_for_status, wait_until
from runner_protocol import Runner, workflow
from runner_protocol.messages import DESCRIBE_REQUEST, Complete, WaitEvent, parse_action


@pytest.fixture
def engine_on_disk(tmp_path):
    def make(runner=None, **options):
        engine = WorkflowEngine(runner=runner, database=tmp_path / "workflows.db", **options)
        engine.register(WorkflowDefinition("w"))
        return engine

    return make


async def test_an_idempotency_key_with_a_nul_in_it_finds_its_instance(engine_on_disk):
    async with engine_on_disk() as engine:
        plain = await engine.start("w", {}, idempotency_key="a")
        first = await engine.start("w", {}, idempotency_key="a\0b")
        assert await engine.start("w", {}, idempotency_key="a\0b") == first != plain
        together = [engine.start("w", {}, idempotency_key=key) for key in ("a\0b", "a", "a\0c", "a\0c", "\0")]
        again, of_a, *new, of_nul = await asyncio.gather(*together)
        assert (again, of_a) == (first, plain)
        assert new[0] == new[1]
        assert len({first, plain, new[0], of_nul}) == 4


async def test_an_engine_that_runs_is_not_entered_again(engine_on_disk):
    engine = engine_on_disk()
    async with engine:
        with pytest.raises(DatabaseInUseError, match="runs already"):
            await engine.__aenter__()
        assert await engine.start("w", {}, id="still-works") == "still-works"
    async with engine:
        assert (await engine.get("still-works")).status is Status.PENDING


def test_an_engine_of_the_module_runs_in_one_event_loop_after_another(engine_on_disk):
    engine = engine_on_disk()
    told = []
    engine.on_finished(lambda instance: told.append(instance.id))

    async def once(instance_id):
        async with engine:
            await engine.start("w", {}, id=instance_id)
            await engine.cancel(instance_id)
            await wait_until(lambda: instance_id in told)
            await asyncio.sleep(0.05)

    for instance_id in ("a", "b", "c"):
        asyncio.run(once(instance_id))
    assert told == ["a", "b", "c"]


async def test_a_callback_that_cancels_itself_does_not_silence_the_others():
    told = []

    async def callback(instance):
        told.append(instance.id)
        if len(told) == 1:
            given_up = asyncio.ensure_future(asyncio.sleep(60))
            given_up.cancel()
            await given_up

    engine = engine_in_memory(None)
    engine.register(WorkflowDefinition("w"))
    engine.on_finished(callback)
    async with engine:
        for instance_id in ("a", "b"):
            await engine.start("w", {}, id=instance_id)
            await engine.cancel(instance_id)
        await wait_until(lambda: told == ["a", "b"])


async def test_a_long_turn_does_not_keep_the_probes_from_a_runner_that_failed_three_others():
    def answer(request):
        if request.input == "long":
            return asyncio.get_running_loop().create_future()
        return RunnerUnavailableError("404") if request.input == "bad" else Complete(output="done")

    clock = FakeClock()
    runner = ScriptedRunner(answer)
    engine = engine_in_memory(runner, clock=clock)
    engine.register(WorkflowDefinition("w", step_timeout=timedelta(hours=1)))
    async with engine:
        await engine.start("w", "long", id="long")
        for number in range(3):
            await engine.start("w", "bad", id=f"bad-{number}")
        await wait_until(lambda: len(runner.requests) == 4)
        await engine.start("w", "good", id="good")
        for _ in range(40):
            clock.advance(1.0)
            await asyncio.sleep(0.01)
        assert (await engine.get("good")).status is Status.COMPLETED


@pytest.mark.parametrize("seconds", [1e-7, 0.00001, -0.0, 5e-324, 0, 0.0])
async def test_a_sleep_of_a_number_that_is_written_with_an_exponent_is_slept(seconds):
    sleep = f'{{"action":"sleep","duration":{seconds}}}'.encode()
    engine = engine_in_memory(ScriptedRunner(lambda turn: Complete() if turn.current_step else parse_action(sleep)))
    engine.register(WorkflowDefinition("w"))
    async with engine:
        await engine.start("w", {}, id="a")
        assert (await engine.wait("a", 3)).status is Status.COMPLETED


async def test_a_sleep_in_the_kit_may_be_that_short():
    @workflow("w")
    async def naps(ctx, input):
        await ctx.sleep(0.00001)
        return "awake"

    engine = engine_in_memory(LocalRunner(Runner([naps])))
    engine.register(WorkflowDefinition("w", max_retries=0))
    async with engine:
        await engine.start("w", {}, id="a")
        assert (await engine.result("a", 3)) == "awake"


async def test_an_id_used_again_while_the_old_turn_is_still_being_cancelled_is_driven_apart(engine_on_disk):
    is_let_go = asyncio.Event()
    asked = []

    async def handle(body):
        if body == DESCRIBE_REQUEST:
            return 404, b""
        asked.append(len(asked))
        if asked[-1] == 0:
            try:
                await asyncio.sleep(60)
            finally:
                await is_let_go.wait()  # code of the user's that takes its time to be cancelled
        if asked[-1] == 1:
            return 200, WaitEvent(event="go").model_dump_json().encode()
        return 200, Complete(output="done").model_dump_json().encode()

    async with engine_on_disk(LocalRunner(handle)) as engine:
        await engine.start("w", {}, id="a")
        await wait_until(lambda: asked)
        await engine.cancel("a")
        await engine.delete("a")
        await engine.start("w", {"new": True}, id="a")
        await engine.get("a")
        is_let_go.set()
        await wait_for_status(engine, "a", "waiting_for_event", timeout_s=3)
        await engine.send_event("a", "go", {})
        assert (await engine.wait("a", 3)).output == "done"


async def test_events_that_queue_behind_a_delete_reach_the_instance_that_has_the_id_next(engine_on_disk):
    for _ in range(20):
        async with engine_on_disk(ScriptedRunner(lambda _: WaitEvent(event="never"))) as engine:
            await engine.start("w", {}, id="a")
            await engine.cancel("a")

            async def accepted(number):
                try:
                    await engine.send_event("a", "other", number)
                except Exception as error:
                    return type(error).__name__
                return "accepted"

            deleting = asyncio.ensure_future(engine.delete("a"))
            await asyncio.sleep(0)
            events = [asyncio.ensure_future(accepted(number)) for number in range(60)]
            await deleting
            await engine.start("w", {"new": True}, id="a")
            late = [accepted(number) for number in range(100, 110)]
            outcomes = await asyncio.gather(*events, *late)
            assert set(outcomes) <= {"accepted", "UnknownInstanceError", "InstanceFinishedError"}
            inbox = (await engine.get("a")).inbox
            assert len(inbox) == outcomes.count("accepted")
            assert len([x for x in await engine.history("a") if type(x).__name__ == "EventReceived"]) == len(inbox)
            await engine.cancel("a")
            await engine.delete("a")
