"""An engine whose file is taken from it stops within two seconds, says why to everybody, and lets go cleanly (P23)."""

import asyncio
import sqlite3
from contextlib import closing

import httpx
import pytest
from engine_parts import settled

from pylon_workflows import OwnershipLostError, WorkflowDefinition, WorkflowEngine, create_app
from pylon_workflows.core.instance import Status
from pylon_workflows.errors import DatabaseInUseError, StorageFailedError
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.testing import FakeClock, ScriptedRunner, wait_until
from pylon_workflows.watch import Watch

CALLS = {
    "start": lambda engine: engine.start("order"),
    "get": lambda engine: engine.get("order-1"),
    "list": lambda engine: engine.list(),
    "send_event": lambda engine: engine.send_event("order-1", "paid"),
    "cancel": lambda engine: engine.cancel("order-1"),
    "advance": lambda engine: engine.advance("order-1"),
    "history": lambda engine: engine.history("order-1"),
    "definitions": lambda engine: engine.definitions(),
    "wait": lambda engine: engine.wait("order-1"),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


@pytest.fixture
def clock():
    return FakeClock()


def an_engine(path, clock, runner=None):
    engine = WorkflowEngine(runner=runner, database=path, clock=clock)
    engine.register(WorkflowDefinition("order"))
    return engine


async def a_second_passes(clock):
    """First whatever waits for time begins to, and in the end whatever has waited goes on."""
    await settled()
    clock.advance(1)
    await settled()


def removed(path):
    path.unlink()


def replaced(path):
    new = path.with_name("new.db")
    new.write_bytes(path.read_bytes())
    new.replace(path)


def folder_moved(path):
    path.parent.rename(path.parent.with_name("elsewhere"))


def pointed_to(path, target):
    new = path.with_name("new")
    new.symlink_to(target)
    new.replace(path)


LOSSES = [removed, replaced, folder_moved]
"""Without its lock file alone an engine goes on as a standby: `tests/unit/ownership/test_standby.py`."""


@pytest.mark.parametrize("lose", LOSSES)
async def test_an_engine_whose_file_is_removed_or_replaced_stops_within_two_seconds_of_its_clock(path, clock, lose):
    async with an_engine(path, clock) as engine:
        await engine.start("order", id="order-1")
        await a_second_passes(clock)
        assert engine.is_running
        lose(path)
        await a_second_passes(clock)
        loss = await asyncio.wait_for(engine.until_failed(), 5)
        assert isinstance(loss, OwnershipLostError)
        assert not engine.is_running
        for call in CALLS.values():
            with pytest.raises(OwnershipLostError, match=r"orders\.db.* while the engine ran .* put it right"):
                await call(engine)


async def test_an_engine_whose_name_leads_to_another_file_stops_within_two_seconds_of_its_clock(path, clock):
    path.symlink_to("v1.db")
    async with an_engine(path, clock) as engine:
        await engine.start("order", id="order-1")
        await a_second_passes(clock)
        assert engine.is_running
        other = path.with_name("v2.db")
        other.touch()
        pointed_to(path, other)
        await a_second_passes(clock)
        loss = await asyncio.wait_for(engine.until_failed(), 5)
        assert isinstance(loss, OwnershipLostError)
        for call in CALLS.values():
            with pytest.raises(OwnershipLostError, match=r"orders\.db was pointed elsewhere .*v2\.db .* put it right"):
                await call(engine)
    assert other.read_bytes() == b""
    with closing(sqlite3.connect(path.with_name("v1.db"))) as connection:
        assert connection.execute("SELECT id FROM instances").fetchall() == [("order-1",)]
    async with an_engine(path, clock) as engine:
        assert await engine.list() == []


@pytest.mark.parametrize("target", ["no such file.db", "orders.db"])
async def test_an_engine_whose_name_leads_nowhere_or_round_in_a_circle_stops_with_that_reason(path, clock, target):
    path.symlink_to("v1.db")
    async with an_engine(path, clock) as engine:
        pointed_to(path, target)
        await a_second_passes(clock)
        with pytest.raises(OwnershipLostError, match=r"orders\.db was pointed elsewhere .*it leads nowhere now"):
            raise await asyncio.wait_for(engine.until_failed(), 5)


async def test_an_engine_whose_file_stays_where_it_is_goes_on(path, clock):
    async with an_engine(path, clock) as engine:
        for number in range(20):
            await engine.start("order", id=f"order-{number}")
            await a_second_passes(clock)
        assert engine.refusal is None
        assert len(await engine.list()) == 20


async def test_a_turn_in_flight_is_cut_off_without_grace_and_its_answer_does_not_count(path, clock):
    is_asked, answers = asyncio.Event(), []

    async def answer():
        is_asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            answers.append("cut off")
            raise

    runner = ScriptedRunner(lambda request: answer())
    async with an_engine(path, clock, runner) as engine:
        await engine.start("order", id="order-1")
        await asyncio.wait_for(is_asked.wait(), 5)
        replaced(path)
        await a_second_passes(clock)
        await wait_until(lambda: answers == ["cut off"])
        with pytest.raises(OwnershipLostError):
            await engine.get("order-1")


async def test_who_waits_for_an_instance_hears_why_it_will_not_finish(path, clock):
    async with an_engine(path, clock) as engine:
        await engine.start("order", id="order-1")
        waiting = asyncio.create_task(engine.wait("order-1"))
        await settled()
        removed(path)
        await a_second_passes(clock)
        with pytest.raises(OwnershipLostError, match="was removed"):
            await asyncio.wait_for(waiting, 5)


async def test_health_and_every_route_answer_503_with_the_code_and_without_a_path(path, clock):
    engine = an_engine(path, clock)
    transport = httpx.ASGITransport(create_app(engine))
    async with engine, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/healthz")).status_code == 200
        removed(path)
        await a_second_passes(clock)
        await engine.until_failed()
        for route in ("/healthz", "/", "/definitions"):
            answer = await client.get(route)
            assert (answer.status_code, answer.json()["code"]) == (503, "ownership-lost")
            assert str(path) not in answer.text
            assert answer.headers["retry-after"] == "5"


async def test_the_log_says_once_and_critically_why_the_engine_has_stopped(path, clock, caplog):
    async with an_engine(path, clock) as engine:
        removed(path)
        for _ in range(5):
            await a_second_passes(clock)
        await engine.until_failed()
    told = [record for record in caplog.records if "the engine has stopped" in record.message]
    assert [record.levelname for record in told] == ["CRITICAL"]
    assert "orders.db was removed while the engine ran" in told[0].message


async def test_an_engine_that_has_stopped_lets_go_when_it_is_left_and_may_be_entered_again(path, clock):
    engine = an_engine(path, clock)
    async with engine:
        await engine.start("order", id="order-1")
        removed(path)
        await a_second_passes(clock)
        await engine.until_failed()
        with pytest.raises(DatabaseInUseError):
            FileGuard(path).acquire()
    with pytest.raises(OwnershipLostError):
        await engine.list()
    async with engine:
        assert await engine.list() == []


async def test_what_was_acknowledged_before_the_log_was_deleted_is_in_the_file_after_the_stop(path, clock):
    """The descriptor of the deleted log is still open: the engine's last act moves what is in it into the file."""
    async with an_engine(path, clock) as engine:
        await engine.start("order", id="order-1")
        await a_second_passes(clock)
        path.with_name("orders.db-wal").unlink()
        await a_second_passes(clock)
        await a_second_passes(clock)
        assert "orders.db-wal was removed" in str(await asyncio.wait_for(engine.until_failed(), 5))
    async with an_engine(path, clock) as engine:
        assert (await engine.get("order-1")).status is Status.PENDING


async def test_a_replaced_file_is_not_written_to(path, clock):
    async with an_engine(path, clock) as engine:
        await engine.start("order", id="order-1")
    other = path.with_name("other.db")
    other.write_bytes(path.read_bytes())
    async with an_engine(path, clock) as engine:
        await engine.start("order", id="order-2")
        other.replace(path)
        before = path.read_bytes()
        await a_second_passes(clock)
        await engine.until_failed()
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM instances").fetchall() == [("order-1",)]


async def test_a_file_that_is_replaced_while_the_engine_starts_is_refused(path, clock, monkeypatch):
    async with an_engine(path, clock):
        pass
    acquire = FileGuard.acquire

    def acquire_and_replace(guard):
        acquire(guard)
        replaced(path)

    monkeypatch.setattr(FileGuard, "acquire", acquire_and_replace)
    with pytest.raises(OwnershipLostError, match="was replaced"):
        await an_engine(path, clock).__aenter__()


async def test_the_file_that_is_lost_while_the_engine_closes_cuts_its_grace_short(path, clock):
    is_asked = asyncio.Event()

    async def answer():
        is_asked.set()
        await asyncio.Event().wait()

    engine = an_engine(path, clock, ScriptedRunner(lambda request: answer()))
    await engine.__aenter__()
    await engine.start("order", id="order-1")
    await asyncio.wait_for(is_asked.wait(), 5)
    closing_down = asyncio.create_task(engine.__aexit__(None, None, None))
    await settled()
    assert not closing_down.done()
    removed(path)
    await a_second_passes(clock)
    await asyncio.wait_for(closing_down, 5)


async def test_a_change_that_was_committed_while_the_file_was_lost_is_not_acknowledged(path, clock, monkeypatch):
    async with an_engine(path, clock) as engine:
        store, is_committed, may_go = engine._engine._store, asyncio.Event(), asyncio.Event()
        create = store.create

        async def create_slowly(instance):
            created = await create(instance)
            is_committed.set()
            await may_go.wait()
            return created

        monkeypatch.setattr(store, "create", create_slowly)
        starting = asyncio.create_task(engine.start("order", id="order-1"))
        await asyncio.wait_for(is_committed.wait(), 5)
        removed(path)
        await a_second_passes(clock)
        await engine.until_failed()
        may_go.set()
        with pytest.raises(OwnershipLostError):
            await starting


async def test_an_engine_whose_store_writes_no_more_stops_within_two_seconds_with_the_stores_reason(path, clock):
    async with an_engine(path, clock) as engine:
        await engine.start("order", id="order-1")
        failure = StorageFailedError("the disk of the database failed 3 times in a row")
        engine._engine._store._writer._file.stopped_by = failure
        await a_second_passes(clock)
        assert type(await asyncio.wait_for(engine.until_failed(), 5)) is StorageFailedError
        with pytest.raises(StorageFailedError, match="3 times in a row"):
            await engine.get("order-1")


async def test_the_watch_looks_once_a_second_and_no_more_after_it_has_failed():
    clock, looks, failures = FakeClock(), [], []

    def check():
        looks.append(clock.monotonic())
        if len(looks) == 3:
            raise OwnershipLostError("gone")

    watching = asyncio.create_task(Watch([check], clock, failures.append).run())
    for _ in range(8):
        await a_second_passes(clock)
    await asyncio.wait_for(watching, 5)
    assert looks == [1, 2, 3]
    assert [str(failure) for failure in failures] == ["gone"]


async def test_an_engine_that_cannot_look_at_its_file_now_goes_on_and_looks_again(path, clock, monkeypatch, caplog):
    check, looks = FileGuard.check, []

    def look(guard):
        looks.append(guard)
        if len(looks) == 2:
            raise PermissionError(13, "Permission denied")
        check(guard)

    monkeypatch.setattr(FileGuard, "check", look)
    async with an_engine(path, clock) as engine:
        await a_second_passes(clock)
        assert "a part of the engine stopped; it starts again" in caplog.text
        assert engine.is_running
        removed(path)
        for _ in range(2):
            await a_second_passes(clock)
        assert isinstance(await asyncio.wait_for(engine.until_failed(), 5), OwnershipLostError)
