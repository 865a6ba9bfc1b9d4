"""An engine belongs to the event loop in which it was started: calls from any other are refused and do nothing."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from owner import Owner, worker

from pylon_workflows import (
    DatabaseInUseError,
    EngineNotRunningError,
    OtherLoopError,
    WorkflowDefinition,
    WorkflowEngine,
)
from pylon_workflows.testing import ScriptedRunner, engine_in_memory, wait_for_status, wait_until
from runner_protocol.messages import Complete, WaitEvent

WITHIN_S = 10
ADVICE = r"`async def`.*anyio\.from_thread\.run.*asyncio\.run_coroutine_threadsafe"

CALLS: dict[str, Callable[[WorkflowEngine], Coroutine[Any, Any, Any]]] = {
    "start": lambda engine: engine.start("order", id="order-2"),
    "start_or_find": lambda engine: engine.start_or_find("order", id="order-2"),
    "get": lambda engine: engine.get("order-1"),
    "list": lambda engine: engine.list(),
    "history": lambda engine: engine.history("order-1"),
    "history_page": lambda engine: engine.history_page("order-1"),
    "next_history": lambda engine: engine.next_history("order-1", after=1, timeout_s=0),
    "next_changes": lambda engine: engine.next_changes(after=0, timeout_s=0),
    "send_event": lambda engine: engine.send_event("order-1", "paid"),
    "publish": lambda engine: engine.publish("paid", correlation="order:1"),
    "is_present_hook": lambda engine: engine.is_present_hook("order-1", "psp", "x"),
    "approve": lambda engine: engine.approve("order-1", "approval:ship"),
    "reject": lambda engine: engine.reject("order-1", "approval:ship"),
    "cancel": lambda engine: engine.cancel("order-1"),
    "resume": lambda engine: engine.resume("order-1"),
    "cancel_many": lambda engine: engine.cancel_many(all=True),
    "resume_many": lambda engine: engine.resume_many(all=True),
    "advance": lambda engine: engine.advance("order-1"),
    "apply": lambda engine: engine.apply("order-1", Complete()),
    "delete": lambda engine: engine.delete("order-1"),
    "explain": lambda engine: engine.explain("order-1"),
    "wait": lambda engine: engine.wait("order-1", 0.1),
    "result": lambda engine: engine.result("order-1", 0.1),
    "definitions": lambda engine: engine.definitions(),
    "save_definition": lambda engine: engine.save_definition(WorkflowDefinition("mail")),
    "schedule": lambda engine: engine.schedule("0 9 * * *", "order", id="daily"),
    "unschedule": lambda engine: engine.unschedule("daily"),
    "pause_schedule": lambda engine: engine.pause_schedule("daily"),
    "resume_schedule": lambda engine: engine.resume_schedule("daily"),
    "get_schedule": lambda engine: engine.get_schedule("daily"),
    "schedules": lambda engine: engine.schedules(),
    "create_token": lambda engine: engine.create_token(["read"], expires_in=timedelta(days=1)),
    "revoke_token": lambda engine: engine.revoke_token("a1b2c3d4e5f6"),
    "tokens": lambda engine: engine.tokens(),
    "find_token": lambda engine: engine.find_token("a1b2c3d4e5f6"),
    "has_tokens": lambda engine: engine.has_tokens(),
    "until_failed": lambda engine: engine.until_failed(),
}


def play(request):
    return WaitEvent(event="paid") if not request.current_step else Complete(output="shipped")


async def elsewhere(call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What it comes to in another thread, in an event loop of its own, which is closed afterwards."""
    return await asyncio.to_thread(lambda: asyncio.run(asyncio.wait_for(call(), WITHIN_S)))


@asynccontextmanager
async def in_memory(_path):
    engine = engine_in_memory(ScriptedRunner(play))
    engine.register(WorkflowDefinition("order"))
    async with engine:
        yield engine


@asynccontextmanager
async def owning(path):
    async with worker(path, runner=ScriptedRunner(play)) as engine:
        assert engine.role == "owner"
        yield engine


@asynccontextmanager
async def standing_by(path):
    """A standby, whose owner dies before it is left, so that it takes over."""
    async with Owner(path) as owner, worker(path, runner=ScriptedRunner(play)) as engine:
        assert engine.role == "standby"
        yield engine
        await owner.die()
        await wait_until(lambda: engine.role == "owner")
        assert await engine.start("order", id="order-9")


async def shown(engine: WorkflowEngine) -> list[Any]:
    """All that the engine keeps."""
    ids = [summary.id for summary in await engine.list()]
    histories = [await engine.history(instance_id) for instance_id in ids]
    return [ids, histories, await engine.definitions(), await engine.schedules(), await engine.tokens()]


def test_there_is_a_call_here_for_each_that_an_engine_has():
    public = {name for name in dir(WorkflowEngine) if not name.startswith("_")}
    assert set(CALLS) == {name for name in public if inspect.iscoroutinefunction(getattr(WorkflowEngine, name))}


@pytest.mark.parametrize("engines", [in_memory, owning, standing_by])
async def test_a_call_from_another_loop_is_refused_and_does_nothing_and_the_engine_goes_on(tmp_path, engines):
    async with asyncio.timeout(6 * WITHIN_S), engines(tmp_path / "orders.db") as engine:
        await engine.start("order", id="order-1")
        if engine.role == "owner":
            await wait_for_status(engine, "order-1", "waiting_for_event")
        before = await shown(engine)
        for name, call in CALLS.items():
            with pytest.raises(OtherLoopError, match=ADVICE):
                pytest.fail(f"{name}: {await elsewhere(lambda call=call: call(engine))!r}")
        assert await shown(engine) == before
        assert await engine.start("order", id="order-3") == "order-3"
        await engine.send_event("order-1", "paid")
        if engine.role == "owner":
            assert await engine.result("order-1", WITHIN_S) == "shipped"


@pytest.mark.parametrize("engines", [in_memory, owning, standing_by])
async def test_an_engine_is_neither_entered_again_nor_left_in_another_loop(tmp_path, engines):
    async with asyncio.timeout(6 * WITHIN_S), engines(tmp_path / "orders.db") as engine:
        with pytest.raises(DatabaseInUseError, match="this engine runs already"):
            await elsewhere(engine.__aenter__)
        with pytest.raises(OtherLoopError):
            await elsewhere(lambda: engine.__aexit__(None, None, None))
        assert engine.is_running
        assert await engine.start("order", id="order-3") == "order-3"
        with pytest.raises(OtherLoopError):
            await elsewhere(lambda: engine.get("order-3"))


async def test_whether_it_takes_work_is_told_to_each_loop_and_to_threads_without_one(tmp_path):
    async def refusal():
        return engine.refusal, engine.is_running

    async with owning(tmp_path / "orders.db") as engine:
        assert await refusal() == (None, True)
        assert await asyncio.to_thread(lambda: (engine.refusal, engine.is_running)) == (None, True)
        told, is_running = await elsewhere(refusal)
        assert isinstance(told, OtherLoopError)
        assert not is_running
    told, _ = await elsewhere(refusal)
    assert isinstance(told, EngineNotRunningError)


def test_an_engine_that_was_left_belongs_to_no_loop_and_is_entered_in_another(tmp_path):
    engine = worker(tmp_path / "orders.db")

    async def once(instance_id):
        async with engine:
            return await engine.start("order", id=instance_id)

    assert [asyncio.run(once(name)) for name in ("order-1", "order-2")] == ["order-1", "order-2"]
    with pytest.raises(EngineNotRunningError):
        asyncio.run(engine.get("order-1"))


def test_an_engine_whose_start_failed_belongs_to_no_loop(tmp_path):
    path = tmp_path / "orders.db"
    other, engine = worker(path), worker(path)

    async def both():
        async with other:
            with pytest.raises(DatabaseInUseError):
                await engine.__aenter__()

    async def alone():
        async with engine:
            return await engine.start("order", id="order-1")

    with asyncio.Runner() as first:
        first.run(both())
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as second:
            assert second.run(alone()) == "order-1"


def test_an_engine_whose_loop_has_ended_is_not_running_and_can_be_entered_again(tmp_path):
    engine = worker(tmp_path / "orders.db")
    asyncio.run(engine.__aenter__())
    with pytest.raises(EngineNotRunningError, match="use `async with engine`"):
        asyncio.run(engine.start("order"))

    async def again():
        async with engine:
            return await engine.start("order", id="order-1")

    assert asyncio.run(again()) == "order-1"


async def test_a_call_while_the_engine_starts_in_its_own_loop_is_refused_too(tmp_path):
    """The first wait in another loop would bind to that one what the start waits for."""
    entered, go_on = threading.Event(), asyncio.Event()

    class SlowRunner(ScriptedRunner):
        async def __aenter__(self):
            entered.set()
            await go_on.wait()

        async def __aexit__(self, *_: object) -> None:
            pass

    engine = worker(tmp_path / "orders.db", runner=SlowRunner(play))
    starting = asyncio.create_task(engine.__aenter__())
    await asyncio.to_thread(entered.wait)
    with pytest.raises(OtherLoopError):
        await elsewhere(engine.list)
    go_on.set()
    await starting
    assert await engine.start("order", id="order-1") == "order-1"
    await engine.__aexit__(None, None, None)
