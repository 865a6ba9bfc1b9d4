"""PROMISES.md P3 and P4: nobody reads a change before its commit, and nobody ever reads half of one.

The commits of a real file are held up, one by one, while everybody who can read looks: another connection to the file,
the engine's own calls, the API's GET and list, and a standby's.
"""

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager, closing

import httpx
import pytest

from pylon_workflows import (
    EngineSettings,
    LocalRunner,
    Status,
    UnknownInstanceError,
    WorkflowDefinition,
    WorkflowEngine,
    create_app,
)
from pylon_workflows.definitions import Definitions
from pylon_workflows.ownership.standby import Standby
from pylon_workflows.store.file_reads import SqliteFileReads
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Complete, Fail, StepComplete, WaitEvent, encode_message, parse_question

pytestmark = pytest.mark.slow

PATIENCE_S = 0.5


class HeldDisk:
    """`connect` in place of `sqlite3.connect`: while it is held, a COMMIT waits, its change written and not durable."""

    def __init__(self):
        self._connect = sqlite3.connect
        self._may_commit = threading.Event()
        self._may_commit.set()
        self.is_holding = threading.Event()

    def connect(self, *arguments, **options):
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, statement, *parameters):
                if statement.startswith("COMMIT"):
                    disk._wait()
                return super().execute(statement, *parameters)

        return self._connect(*arguments, **options, factory=Connection)

    def _wait(self):
        if not self._may_commit.is_set():
            self.is_holding.set()
            assert self._may_commit.wait(20), "the test has forgotten it"

    def hold(self):
        self.is_holding.clear()
        self._may_commit.clear()

    def let_go(self):
        self._may_commit.set()


@pytest.fixture
def disk(monkeypatch):
    disk = HeldDisk()
    monkeypatch.setattr("pylon_workflows.store.sqlite.sqlite3.connect", disk.connect)
    yield disk
    disk.let_go()


class Readers:
    """Everybody who can look at the instance `a`."""

    def __init__(self, path, engine, client, standby):
        self.path, self.engine, self.client, self.standby = path, engine, client, standby

    async def see(self):
        """What each of them sees: the status, or None where there is no instance, and the length of the history."""
        return {
            "another connection": self._in_the_file(),
            "the engine": await self._by(self.engine),
            "the engine's list": await self._in_list(self.engine),
            "GET": await self._over_http(),
            "the API's list": await self._in_the_apis_list(),
            "a standby": await self._by(self.standby),
            "a standby's list": await self._in_list(self.standby),
            "who follows it": await self._following(self.engine),
            "who follows it at a standby": await self._following(self.standby),
            "who follows all": await self._in_changes(self.engine),
            "who follows all at a standby": await self._in_changes(self.standby),
        }

    def _in_the_file(self):
        """Everything that a change touches must agree: the row, the history, and what is waited for and due."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as other:
            rows = other.execute(
                "SELECT status, revision, (SELECT count(*) FROM history WHERE instance = key), waiting_for, due_at, "
                "completed_at FROM instances WHERE id = 'a'"
            ).fetchall()
            orphans = other.execute(
                "SELECT count(*) FROM history WHERE instance <> 0 AND instance NOT IN (SELECT key FROM instances)"
            )
            assert orphans.fetchone() == (0,), "a history without its instance"
        if not rows:
            return None, 0
        ((status, revision, length, waiting_for, due_at, completed_at),) = rows
        assert revision == length, "the row and the history are of different changes"
        assert (status == "waiting_for_event") == (waiting_for is not None)
        assert (status in ("completed", "cancelled")) == (completed_at is not None)
        assert due_at is None or status in ("running", "waiting_for_event")
        return status, length

    async def _by(self, source):
        try:
            instance = await asyncio.wait_for(source.get("a"), PATIENCE_S)
        except (UnknownInstanceError, TimeoutError):  # who asks about one that is being started hears it when it is
            return None, 0
        history = await source.history("a")
        return instance.status.value, len(history)

    async def _in_list(self, source):
        found = [each for each in await source.list(statuses=(), name=None, after=None, limit=200) if each.id == "a"]
        return (found[0].status.value, found[0].revision) if found else (None, 0)

    async def _following(self, source):
        status, length = await self._by(source)
        try:
            page = await source.next_history("a", after=0, timeout_s=0)
        except UnknownInstanceError:
            return None, 0
        assert len(page.transitions) == page.revision
        return status, page.revision if status else length

    async def _in_changes(self, source):
        page = await source.next_changes(after=0, timeout_s=0)
        found = [each for each in page.instances if each.id == "a"]
        return (found[0].status.value, found[0].revision) if found else (None, 0)

    async def _over_http(self):
        try:
            answer = await asyncio.wait_for(self.client.get("/a"), PATIENCE_S)
        except TimeoutError:
            return None, 0
        if answer.status_code == 404:
            return None, 0
        return answer.json()["status"], len((await self.client.get("/a/history")).json())

    async def _in_the_apis_list(self):
        found = [each for each in (await self.client.get("/")).json() if each["id"] == "a"]
        return (found[0]["status"], (await self._by(self.engine))[1]) if found else (None, 0)


@asynccontextmanager
async def everybody(path):
    store = SqliteStore(path)
    engine = WorkflowEngine(runner=None, store=store, settings=EngineSettings(shutdown_grace_s=0))
    engine.register(WorkflowDefinition("order"))
    async with (
        engine,
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(engine)), base_url="http://localhost") as client,
    ):
        reads = SqliteFileReads(path)
        await reads.open()
        try:
            standby = Standby(path, reads, Definitions(), engine.clock)
            yield engine, Readers(path, engine, client, standby)
        finally:
            await standby.close()


async def start(engine):
    await engine.start("order", id="a")


async def apply(engine, action):
    await engine.apply("a", action)


BEFORE = [StepComplete(step_name="charge", output=1)]
CHANGES = {
    "a start": ([], start, ("pending", 1)),
    "a first step": ([], lambda engine: apply(engine, StepComplete(step_name="charge")), ("running", 3)),
    "a wait": (BEFORE, lambda engine: apply(engine, WaitEvent(event="paid", timeout="1h")), ("waiting_for_event", 4)),
    "an attempt that failed": (BEFORE, lambda engine: apply(engine, Fail(step_name="mail", error="x")), ("running", 4)),
    "an event that is waited for": (
        [*BEFORE, WaitEvent(event="paid", timeout="1h")],
        lambda engine: engine.send_event("a", "paid", event_id="e"),
        ("running", 6),
    ),
    "an event that comes early": (BEFORE, lambda engine: engine.send_event("a", "paid"), ("running", 4)),
    "the end": (BEFORE, lambda engine: apply(engine, Complete(output=7)), ("completed", 4)),
    "a cancel": (BEFORE, lambda engine: engine.cancel("a"), ("cancelled", 4)),
    "a deletion": ([*BEFORE, Complete()], lambda engine: engine.delete("a"), (None, 0)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_nobody_sees_a_change_before_its_commit_nor_half_of_it(tmp_path, disk, change):
    actions, make, after = CHANGES[change]
    async with everybody(tmp_path / "orders.db") as (engine, readers):
        if change != "a start":
            await start(engine)
        for action in actions:
            await apply(engine, action)
        before = (await readers.see())["another connection"]
        assert before != after
        disk.hold()
        acknowledged = asyncio.create_task(make(engine))
        await wait_until(disk.is_holding.is_set)
        for _ in range(3):
            seen = await asyncio.wait_for(readers.see(), 10)
            assert seen == dict.fromkeys(seen, before)
            assert not acknowledged.done(), "acknowledged before it was durable (P1)"
        disk.let_go()
        await acknowledged
        seen = await readers.see()
        assert seen == dict.fromkeys(seen, after)


async def test_a_runner_is_not_asked_about_a_step_that_is_not_durable(tmp_path, disk):
    asked = []

    async def answer(body):
        if parse_question(body) is None:
            return 200, b'{"error":"what there is, is not said"}'
        asked.append(len(asked))
        if len(asked) == 1:
            disk.hold()
            return 200, encode_message(StepComplete(step_name="charge"))
        return 200, encode_message(Complete())

    store = SqliteStore(tmp_path / "orders.db")
    engine = WorkflowEngine(runner=LocalRunner(answer), store=store)
    engine.register(WorkflowDefinition("order"))
    async with engine:
        await engine.start("order", id="a")
        await wait_until(disk.is_holding.is_set)
        await asyncio.sleep(0.1)  # time enough for the next turn, if it did not wait
        assert asked == [0]
        disk.let_go()
        assert (await engine.wait("a", 10)).status is Status.COMPLETED
        assert asked == [0, 1]


async def test_readers_of_a_file_under_load_never_see_half_a_change(tmp_path, disk):
    """Whatever moment they look at: each commit is one change, or several whole ones."""
    async with everybody(tmp_path / "orders.db") as (engine, readers):
        await start(engine)
        is_over = False

        async def change():
            for number in range(60):
                await apply(engine, StepComplete(step_name=f"step-{number}"))
            await apply(engine, WaitEvent(event="paid", timeout="1h"))
            await engine.send_event("a", "paid")
            await apply(engine, Complete())

        async def read():
            lengths = []
            while not is_over:
                lengths.append(readers._in_the_file()[1])
                await readers._by(readers.standby)
            return lengths

        reading = asyncio.create_task(read())
        await change()
        is_over = True
        lengths = await reading
        assert lengths == sorted(lengths)
        assert len(set(lengths)) > 3, "the reader saw no change at all"
