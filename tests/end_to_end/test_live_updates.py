"""Live updates of real servers: through kills nothing is missed, and no open stream holds up a shutdown."""

import json
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.end_to_end.processes import Api, Processes, until

pytestmark = pytest.mark.slow

APP = """
import os
from starlette.applications import Starlette
from pylon_workflows import EngineSettings, WorkflowDefinition, WorkflowEngine, create_app

engine = WorkflowEngine(runner=None, database=os.environ["DATABASE"], settings=EngineSettings(shutdown_grace_s=1))
engine.register(WorkflowDefinition("order"))
app = Starlette(lifespan=engine.lifespan)
app.mount("/api/workflows", create_app(engine))
"""


class Stream:
    """The messages of a stream, as a thread reads them: (id, event, data)."""

    def __init__(self, url: str, cursor: int | None) -> None:
        self._messages: queue.Queue[tuple[int | None, str | None, Any] | None] = queue.Queue()
        self._client = httpx.Client(trust_env=False, timeout=30)
        headers = {} if cursor is None else {"Last-Event-ID": str(cursor)}
        self._request = self._client.build_request("GET", url, headers=headers)
        self.cursor = cursor
        self._response = self._client.send(self._request, stream=True)
        assert self._response.status_code == 200, self._response.read()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self._response.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                else:
                    if "data" in fields:
                        number = int(fields["id"]) if "id" in fields else None
                        self._messages.put((number, fields.get("event"), json.loads(fields["data"])))
                    fields = {}
        except httpx.HTTPError:
            pass
        self._messages.put(None)

    def next(self) -> tuple[int | None, str | None, Any] | None:
        """The next message, or None at the end."""
        message = self._messages.get(timeout=20)
        if message is not None and message[0] is not None:
            self.cursor = message[0]
        return message

    def close(self) -> None:
        self._response.close()
        self._client.close()


@contextmanager
def streaming(url: str, cursor: int | None = None) -> Iterator[Stream]:
    stream = Stream(url, cursor)
    try:
        yield stream
    finally:
        stream.close()


def test_who_reads_through_a_kill_misses_nothing_and_hears_of_nothing_twice(processes: Processes) -> None:
    runner = processes.runner("python")
    api = processes.serve(runner, "--workflow", "onboarding:3")
    instance_id = api.start("onboarding", {"user": "alice", "pause": "50ms"})
    api.until(instance_id, "waiting_for_event")
    revisions, kinds = [], []
    with streaming(f"{api.url}/{instance_id}/stream") as one, streaming(f"{api.url}/stream") as every:
        _, event, _ = every.next()
        assert event == "ready"
        last = api.history(instance_id)[-1]["revision"]
        while not revisions or revisions[-1] < last:
            number, _, data = one.next()
            revisions.append(number)
            kinds.append(data["type"])
        assert api.event(instance_id, "other", {}) is False
        assert (one.next()[2]["event"], every.next()[2]["id"]) == ("other", instance_id)
        revisions.append(one.cursor)
        api.process.kill()
        assert (one.next(), every.next()) == (None, None)
    api = processes.serve(runner, "--workflow", "onboarding:3")
    unseen = api.start("onboarding", {"user": "bob", "pause": "1h"})
    with (
        streaming(f"{api.url}/{instance_id}/stream", one.cursor) as one,
        streaming(f"{api.url}/stream", every.cursor) as every,
    ):
        assert every.next()[:2] == (every.cursor, "ready")
        ids = set()
        while unseen not in ids:
            ids.add(every.next()[2]["id"])
        api.event(instance_id, "user_confirmed", {})
        while (message := one.next())[1] != "end":
            revisions.append(message[0])
            kinds.append(message[2]["type"])
        assert message[2] == {"status": "completed"}
        assert one.next() is None
    history = api.history(instance_id)
    assert revisions == [entry["revision"] for entry in history] == list(range(1, len(history) + 1))
    assert httpx.get(
        f"{api.url}/{instance_id}/stream", headers={"Last-Event-ID": str(len(history))}, trust_env=False
    ).status_code == 204  # fmt: skip
    assert api.process.stop() == 0


SERVERS = {
    "uvicorn": ("-m", "uvicorn", "--workers", "2", "--port", "{port}", "--app-dir", "{folder}", "live_app:app"),
    "gunicorn": (
        "-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", "127.0.0.1:{port}",
        "--chdir", "{folder}", "live_app:app",
    ),
}  # fmt: skip


@pytest.fixture
def workers(processes: Processes, request: pytest.FixtureRequest) -> Api:
    (processes.folder / "live_app.py").write_text(APP)
    port = processes.port()
    server = getattr(request, "param", "uvicorn")
    command = [word.format(port=port, folder=processes.folder) for word in SERVERS[server]]
    process = processes.start(server, sys.executable, *command, more={"DATABASE": str(processes.folder / "orders.db")})
    api = processes.api(f"http://127.0.0.1:{port}/api/workflows", process)

    def role() -> bool:
        try:
            return api.http.get("/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    until(role, "the workers serve")
    return api


def roles_seen(api: Api) -> set[str]:
    seen = set()
    for _ in range(200):
        with httpx.Client(base_url=api.url, trust_env=False) as client:
            seen.add(client.get("/healthz").json()["role"])
        if len(seen) == 2:
            break
    return seen


def test_every_worker_tells_of_what_any_of_them_has_committed(workers: Api) -> None:
    assert roles_seen(workers) == {"owner", "standby"}
    instance_id = workers.start("order", {})
    streams = [Stream(f"{workers.url}/{instance_id}/stream", None) for _ in range(8)]
    others = [Stream(f"{workers.url}/stream", None) for _ in range(8)]
    try:
        assert all(stream.next()[2]["type"] == "instance_started" for stream in streams)
        assert all(stream.next()[1] == "ready" for stream in others)
        for number in range(5):
            workers.event(instance_id, "paid", {"n": number})
        for stream in streams:
            assert [stream.next()[2]["data"]["n"] for _ in range(5)] == [0, 1, 2, 3, 4]
        workers.http.post(f"/{instance_id}/cancel")
        for stream in streams:
            last, end = stream.next(), stream.next()
            assert (last[2]["type"], end[1], stream.next()) == ("instance_cancelled", "end", None)
        for stream in others:
            while (message := stream.next()[2])["status"] != "cancelled":
                assert message["id"] == instance_id
    finally:
        for stream in (*streams, *others):
            stream.close()


@pytest.mark.parametrize("workers", SERVERS, indirect=True)
def test_open_streams_hold_up_no_shutdown(workers: Api) -> None:
    instance_id = workers.start("order", {})
    streams = [Stream(f"{workers.url}/{instance_id}/stream", None) for _ in range(6)]
    streams += [Stream(f"{workers.url}/stream", None) for _ in range(6)]
    try:
        for stream in streams:
            stream.next()
        workers.process.signal(signal.SIGTERM)
        assert workers.process.ended(within_s=10) in (0, -signal.SIGTERM)
        for stream in streams:
            while stream.next() is not None:
                pass
    finally:
        for stream in streams:
            stream.close()
    assert "Traceback" not in workers.process.said()
    assert "[ERROR]" not in workers.process.said()
    assert "ERROR:" not in workers.process.said()
