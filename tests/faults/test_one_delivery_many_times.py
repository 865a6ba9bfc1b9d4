"""One webhook sent again and again, at once, over many connections, to several workers: it counts once."""

import base64
import hashlib
import hmac
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.processes import Api, Processes, until

HERE = Path(__file__).parent
WORKERS = 3
CONNECTIONS = 8
TIMES = 50


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as processes:
        yield processes


@pytest.fixture
def api(processes: Processes, tmp_path: Path) -> Api:
    """Three workers on one file."""
    log = tmp_path / "steps.log"
    runner = processes.start("runner", sys.executable, str(HERE / "failover_runner.py"), "--log", str(log))
    port = processes.port()
    settings = {"WORKFLOWS_DATABASE": str(tmp_path / "w.db"), "PYLON_WORKFLOW_RUNNER_URL": runner.url()}
    command = ("-m", "uvicorn", "--app-dir", str(HERE), "--workers", str(WORKERS), "webhook_app:app")
    server = processes.start("server", sys.executable, *command, "--port", str(port), more=settings)
    started = "Application startup complete"
    until(lambda: server.said().count(started) >= WORKERS, "all workers have started")
    return processes.api(f"http://127.0.0.1:{port}", server)


def delivered(url: str, body: bytes, times: int) -> list[httpx.Response]:
    """One delivery so many times over one connection."""
    at = int(time.time())
    secret = f"a secret of {url.rpartition('/')[2]}".encode()
    digest = hmac.digest(secret, f"msg_1.{at}.".encode() + body, hashlib.sha256)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    with httpx.Client(trust_env=False, timeout=30) as http:
        return [http.post(url, content=body, headers=headers) for _ in range(times)]


def check_acknowledgements(api: Api, source: str, order: str) -> None:
    """Deliver 50 times, over 8 connections at once: all are acknowledged, and one of them was the first."""
    url, body = f"{api.url}/hooks/{source}", json.dumps({"type": "go", "order": order}).encode()
    shares = [TIMES // CONNECTIONS + (number < TIMES % CONNECTIONS) for number in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as senders:
        sent = [senders.submit(delivered, url, body, share) for share in shares]
        answers = [answer for each in sent for answer in each.result()]
    assert [answer.status_code for answer in answers] == [200] * TIMES
    assert all(answer.json()["applied"] for answer in answers)
    assert sorted(answer.json()["duplicate"] for answer in answers) == [False] + [True] * (TIMES - 1)


def status_of(api: Api, instance_id: str) -> str:
    return str(api.http.get(f"/api/workflows/{instance_id}").json()["status"])


@pytest.mark.slow
@pytest.mark.parametrize("order", ["early", "waiting"])
@pytest.mark.parametrize("source", ["by-id", "by-key"])
def test_a_delivery_that_comes_50_times_at_once_counts_once(source: str, order: str, api: Api, tmp_path: Path) -> None:
    started = api.http.post("/api/workflows/start", json={"name": "onboarding", "id": order})
    assert started.status_code == 201
    if order == "waiting":
        until(lambda: status_of(api, order) == "waiting_for_event", "it waits")
    check_acknowledgements(api, source, order)
    until(lambda: status_of(api, order) == "completed", "it has gone on to its end")
    with closing(sqlite3.connect(f"file:{tmp_path / 'w.db'}?mode=ro", uri=True)) as connection:
        [(events,)] = connection.execute("SELECT count(*) FROM history WHERE type = 'EventReceived'")
    assert events == 1
    steps = [json.loads(line)["key"] for line in (tmp_path / "steps.log").read_text().splitlines()]
    assert sorted(steps) == ["after", "before"]


@pytest.mark.slow
def test_a_delivery_that_comes_50_times_at_once_starts_one_instance(api: Api, tmp_path: Path) -> None:
    check_acknowledgements(api, "starting", "new")
    started = until(lambda: api.http.get("/api/workflows/").json(), "one has started")
    [instance] = started
    until(lambda: status_of(api, instance["id"]) == "waiting_for_event", "it has begun")
    [only] = api.http.get("/api/workflows/").json()
    assert only["id"] == instance["id"]
