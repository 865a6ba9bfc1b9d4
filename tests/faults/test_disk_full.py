"""A full disk refuses changes and nothing else; when there is space again work goes on by itself (P24)."""

import asyncio
import errno
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager

import httpx
import pytest

from pylon_workflows import StorageFullError, WorkflowDefinition, WorkflowEngine
from pylon_workflows.api.app import create_app
from pylon_workflows.store import write_connection
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.testing import ScriptedRunner, wait_until
from runner_protocol.messages import Complete, Sleep, StepComplete, WaitEvent
from tests.contracts.store_contract import new_instance

ANSWERS = (
    Sleep(duration="500ms"),
    StepComplete(step_name="charge"),
    WaitEvent(event="go"),
    Complete(output="done"),
)
OUTAGE_S = 3.0
WITHIN_S = 5.0


class PageLimit:
    """The writer's connection may not let the file grow while it is full: SQLITE_FULL, on any system."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.is_full = False
        connect, disk = sqlite3.connect, self

        class Connection(sqlite3.Connection):
            def execute(self, statement, *parameters):
                if statement == "BEGIN IMMEDIATE":
                    super().execute(f"PRAGMA max_page_count = {1 if disk.is_full else 1_000_000}")
                return super().execute(statement, *parameters)

        monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=Connection))

    def fill(self):
        self.is_full = True

    def free(self):
        self.is_full = False


class SmallFileSystem:
    """A file system of 48 MiB, filled up to the last byte by another program's file."""

    def __init__(self, folder):
        self.folder = folder
        self.filler = folder / "somebody-elses"

    def fill(self):
        with self.filler.open("wb", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    size //= 2

    def free(self):
        self.filler.unlink()


@pytest.fixture
def small_file_system(tmp_path):
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a file system can only be mounted by root, on Linux; the page limit proves the same on any")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield SmallFileSystem(folder)
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(params=["page limit", "small file system"])
def disk(request, tmp_path):
    if request.param == "page limit":
        return PageLimit(tmp_path, request.getfixturevalue("monkeypatch"))
    return request.getfixturevalue("small_file_system")


@asynccontextmanager
async def an_engine(disk, runner):
    engine = WorkflowEngine(runner=runner, database=disk.folder / "workflows.db")
    engine.register(WorkflowDefinition("order"))
    transport = httpx.ASGITransport(create_app(engine))
    async with engine, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield engine, client


async def finished(engine, ids):
    await asyncio.gather(*(engine.wait(each, 30) for each in ids))


@pytest.mark.slow
async def test_a_full_disk_refuses_changes_and_no_reads_and_work_resumes_within_five_seconds(disk, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    asked, may_answer = Counter(), asyncio.Event()

    async def answer_late(request):
        await may_answer.wait()
        return ANSWERS[request.current_step]

    def answer(request):
        asked[request.workflow_id, request.current_step] += 1
        return answer_late(request) if request.input.get("is_slow") else ANSWERS[request.current_step]

    runner = ScriptedRunner(answer)
    accepted, refused = [], []
    async with an_engine(disk, runner) as (engine, client):

        async def start():
            answer = await client.post("/start", json={"name": "order", "input": {"text": "x" * 2000}})
            (accepted if answer.status_code == 201 else refused).append(answer)
            return answer.status_code

        for _ in range(20):
            assert await start() == 201
        waiting = accepted[0].json()["id"]
        await wait_until(lambda: is_in(engine, waiting, "waiting_for_event"))
        for _ in range(20):
            assert await start() == 201  # these are asleep when the disk fills up, and due before it is freed
        slow = [await engine.start("order", {"is_slow": True}) for _ in range(3)]
        await wait_until(lambda: all(asked[each, 0] for each in slow))
        disk.fill()
        may_answer.set()  # what they answer cannot be stored
        ends_at = time.monotonic() + OUTAGE_S
        while time.monotonic() < ends_at or len(refused) < 20:
            assert time.monotonic() < ends_at + 60, refused
            await start()
            event = await client.post(f"/{waiting}/event", json={"event": "other", "data": "y" * 5000})
            (accepted if event.status_code == 200 else refused).append(event)
            assert (await client.get("/?limit=200")).status_code == 200
            assert (await client.get(f"/{waiting}")).json()["status"] == "waiting_for_event"
            assert (await client.get(f"/{waiting}/history")).status_code == 200
            assert (await client.get("/healthz")).status_code == 200
            await asyncio.sleep(0.05)
        assert {(each.status_code, each.json()["code"], each.headers["retry-after"]) for each in refused} == {
            (503, "storage-full", "5")
        }
        told = Counter(record.name for record in caplog.records if record.levelno >= logging.WARNING)
        del told["pylon_workflows.api.problems"]  # which tells of each refused request
        assert set(told) == {"pylon_workflows.store"}
        assert told["pylon_workflows.store"] <= 2, "once, and once that the log cannot be copied into the file"
        disk.free()
        freed_at = time.monotonic()
        while await start() != 201:
            assert time.monotonic() - freed_at < WITHIN_S
            await asyncio.sleep(0.02)
        monkeypatch.setattr(write_connection, "CALM_S", 0)
        await start()
        started = [each.json()["id"] for each in accepted if "id" in each.json()] + slow
        await wait_until(lambda: are_all_in(engine, started, "waiting_for_event"))
        assert time.monotonic() - freed_at < WITHIN_S
        assert [each for each in caplog.messages if each.startswith("writes work again")]
        for each in started:
            await engine.send_event(each, "go")
        await finished(engine, started)
    assert max(asked.values()) == 1, "a step ran again because its answer could not be stored at once"
    async with an_engine(disk, runner) as (engine, _):
        assert {(await engine.get(each)).status for each in started} == {"completed"}
        assert len(await engine.list()) == len(started)


async def is_in(engine, instance_id, status):
    return (await engine.get(instance_id)).status == status


async def are_all_in(engine, ids, status):
    return all([await is_in(engine, each, status) for each in ids])


async def test_an_engine_that_starts_on_a_full_disk_says_so_and_starts_when_there_is_room(small_file_system):
    path = small_file_system.folder / "workflows.db"
    store = SqliteStore(path)
    await store.open()
    await store.create(new_instance())
    await store.close()
    small_file_system.fill()
    with pytest.raises(StorageFullError, match="the disk is full"):
        await store.open()
    small_file_system.free()
    await store.open()
    assert (await store.summary("wf_1")).id == "wf_1"
    await store.close()


async def test_what_was_refused_on_a_full_disk_is_not_there(small_file_system):
    store = SqliteStore(small_file_system.folder / "workflows.db")
    await store.open()
    acknowledged, was_refused = [], []
    small_file_system.fill()
    for number in range(100):
        try:
            await store.create(new_instance(f"wf_{number}", input_json=b'"' + b"x" * 3000 + b'"'))
            acknowledged.append(f"wf_{number}")
        except StorageFullError:
            was_refused.append(f"wf_{number}")
    small_file_system.free()
    await store.create(new_instance("wf_last"))
    await store.close()
    await store.open()
    assert was_refused
    assert [each.id for each in reversed(await store.list())] == [*acknowledged, "wf_last"]
    await store.close()
