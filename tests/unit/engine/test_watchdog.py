"""An instance that nothing would ever wake is found, told of once, counted, and let go on where that can be (P8)."""

import asyncio
import logging
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from engine_parts import TroubledStore, at, settled

from pylon_workflows import Status, WorkflowDefinition, WorkflowEngine, create_app
from pylon_workflows.errors import StorageFullError
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory
from pylon_workflows.watchdog import PAUSE_S
from runner_protocol.messages import Approval, Complete, Diverged, Sleep, StartChild, WaitEvent


@asynccontextmanager
async def engine_with(answer, clock, **settings):
    store = TroubledStore()
    runner = None if answer is None else ScriptedRunner(answer)
    engine = engine_in_memory(runner, clock=clock, store=store, settings=EngineSettings(shutdown_grace_s=0, **settings))
    engine.store = store
    engine.register(WorkflowDefinition("order"))
    async with engine:
        yield engine


async def look(clock, times=1):
    for _ in range(times):
        clock.advance(PAUSE_S)
        await settled()


def plant(store, instance_id, **changes):
    stored = store._instances[instance_id]
    stored.summary = replace(stored.summary, **changes)


def told(caplog):
    return [record.message for record in caplog.records if "nothing would ever let it go on" in record.message]


async def test_whatever_has_a_reason_is_never_counted():
    answers = {
        "sleeper": Sleep(duration="9h"),
        "waiter": WaitEvent(event="paid"),
        "gate": Approval(name="ship"),
        "blocked": Diverged(position=0, expected="a", got="b"),
        "parent": StartChild(name="child", workflow="order", id="waiter2"),
        "done": Complete(),
    }

    def answer(request):
        return answers.get(request.workflow_id, WaitEvent(event="never"))

    clock = FakeClock()
    async with engine_with(answer, clock) as engine:
        for instance_id in answers:
            await engine.start("order", id=instance_id)
        await engine.start("order", id="delayed", delay=timedelta(hours=9))
        await settled()
        await look(clock, 5)
        assert engine.unexplained_instances == 0
        assert engine._engine._watchdog._suspects == {}


async def test_a_row_that_says_nothing_is_found_told_of_once_and_written_anew(caplog):
    clock = FakeClock()
    async with engine_with(lambda _: Sleep(duration="9h"), clock) as engine:
        await engine.start("order", id="a")
        await settled()
        plant(engine.store, "a", due_at=None)
        await look(clock)
        assert engine.unexplained_instances == 0, "it may just have been changing"
        await look(clock)
        assert engine.unexplained_instances == 1
        assert told(caplog) == [
            "a: nothing would ever let it go on: it is sleeping, and does not say what it waits for; "
            "it is looked at anew"
        ]
        assert (await engine.store.summary("a")).due_at == at(9 * 3600)
        await look(clock)
        assert (engine.unexplained_instances, len(told(caplog))) == (0, 1)


async def test_one_that_nobody_drives_is_found_and_driven(caplog):
    clock = FakeClock()
    async with engine_with(lambda _: Complete(), clock) as engine:
        dispatcher = engine._engine._dispatcher
        offer, dispatcher.offer = dispatcher.offer, lambda *_: None  # the fault: what was committed is lost
        await engine.start("order", id="a")
        await settled()
        dispatcher.offer = offer
        assert (await engine.explain("a")).reason == "unexplained"
        await look(clock, 2)
        assert told(caplog) == [
            "a: nothing would ever let it go on: it could go on, and nobody drives it; it is looked at anew"
        ]
        assert (await engine.get("a")).status is Status.COMPLETED
        await look(clock)
        assert engine.unexplained_instances == 0


async def test_one_that_waits_for_a_child_that_is_not_there_stays_counted_and_is_told_of_once(caplog):
    def answer(request):
        return WaitEvent(event="x") if request.workflow_id == "b" else StartChild(name="b", workflow="order", id="b")

    clock = FakeClock()
    async with engine_with(answer, clock) as engine:
        await engine.start("order", id="a")
        await settled()
        del engine.store._instances["b"]
        await look(clock, 5)
        assert engine.unexplained_instances == 1
        assert len(told(caplog)) == 1
        found = await engine.explain("a")
        assert (found.reason, found.summary) == ("unexplained", "waits for its child b, which is not there")
        await engine.cancel("a")
        await look(clock)
        assert engine.unexplained_instances == 0


async def test_a_parent_that_was_not_told_of_its_childs_end_is_told(caplog):
    def answer(request):
        if request.workflow_id == "b":
            return WaitEvent(event="x") if not request.completed_steps else Complete()
        return Complete() if request.completed_steps else StartChild(name="b", workflow="order", id="b")

    clock = FakeClock()
    async with engine_with(answer, clock) as engine:
        await engine.start("order", id="a")
        await settled()
        families = engine._engine._families
        ended, families.ended = families.ended, lambda _: None  # the fault: the end is lost
        await engine.send_event("b", "x")
        await settled()
        families.ended = ended
        assert (await engine.get("b")).status is Status.COMPLETED
        await look(clock, 2)
        assert told(caplog) == [
            "a: nothing would ever let it go on: it waits for its child b, which has finished; it is looked at anew"
        ]
        assert (await engine.get("a")).status is Status.COMPLETED


async def test_what_is_due_and_not_woken_for_a_minute_is_found(caplog):
    clock = FakeClock()
    async with engine_with(
        lambda request: Complete() if request.completed_steps else Sleep(duration="1h"), clock
    ) as engine:
        await engine.start("order", id="a")
        await settled()
        engine._engine._tasks._parts[0].cancel()  # the fault: the timers stand still
        clock.advance(3661)
        await look(clock, 2)
        assert engine.unexplained_instances == 1
        assert told(caplog)[0].startswith("a: nothing would ever let it go on: it was due at")


async def test_a_full_disk_is_a_reason(caplog):
    caplog.set_level(logging.WARNING)
    clock = FakeClock()
    async with engine_with(lambda _: Sleep(duration="1h"), clock) as engine:
        await engine.start("order", id="a")
        await settled()
        engine.store.write_trouble = StorageFullError("the disk is full")
        clock.advance(3600)
        for _ in range(20):
            clock.advance(PAUSE_S)
            await settled()
        assert (engine.unexplained_instances, told(caplog)) == (0, [])
        engine.store.write_trouble = None
        await look(clock, 2)


@pytest.mark.parametrize("answer", [None, lambda _: WaitEvent(event="x")])
async def test_a_store_that_cannot_be_read_is_looked_at_later(answer):
    clock = FakeClock()
    async with engine_with(answer, clock) as engine:
        await engine.start("order", id="a")
        await settled()
        engine.store.read_trouble = StorageFullError("no")
        await look(clock, 3)
        engine.store.read_trouble = None
        await look(clock, 3)
        assert engine.unexplained_instances == 0


async def test_a_row_of_a_file_that_another_program_has_changed_is_written_anew(tmp_path, caplog):
    clock, path = FakeClock(), tmp_path / "orders.db"
    engine = WorkflowEngine(runner=None, database=path, clock=clock)
    engine.register(WorkflowDefinition("order"))
    transport = httpx.ASGITransport(create_app(engine))
    async with engine, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await engine.start("order", id="a")
        await engine.apply("a", WaitEvent(event="paid"))
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE instances SET waiting_for = NULL")
            other.commit()
        counts = []
        for _ in range(3):
            await engine._engine._watchdog.look()
            counts.append((await client.get("/healthz")).json()["unexplained_instances"])
        assert counts == [0, 1, 0]
        assert len(told(caplog)) == 1
        assert [each.waiting_for for each in await engine.list()] == ["paid"]


async def test_a_crowd_that_waits_for_its_turn_has_a_reason():
    clock = FakeClock()

    async def never(_request):
        await asyncio.Event().wait()

    async with engine_with(never, clock, max_in_flight=2, max_queued=3) as engine:
        for number in range(40):
            await engine.start("order", id=f"a{number}")
        await settled()
        await look(clock, 5)
        assert (engine.unexplained_instances, engine._engine._watchdog._suspects) == (0, {})
