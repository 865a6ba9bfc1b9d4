"""`serve --hooks`, killed in the moment in which it has acknowledged a webhook: what was acknowledged happens."""

import base64
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.processes import COMMAND, Api, Process, Processes, until

HERE = Path(__file__).parent
SECRET = b"a secret of the provider"
HOOKS = """
[sources.by-id]
scheme = "standard-webhooks"
secret_env = "BY_ID"
instance = "{order}"

[sources.by-key]
scheme = "standard-webhooks"
secret_env = "BY_KEY"
correlation = "order:{order}"
start = { workflow = "onboarding", id = "{order}", events = ["created"] }
"""
KILLS = 2


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as processes:
        yield processes


def serving(processes: Processes, runner: Process) -> Api:
    (processes.folder / "hooks.toml").write_text(HOOKS)
    secrets = {name: base64.b64encode(SECRET + name.encode()).decode() for name in ("BY_ID", "BY_KEY")}
    command = (COMMAND, "serve", "--runner", runner.url(), "--db", str(processes.folder / "w.db"), "--port", "0")
    more = ("--hooks", str(processes.folder / "hooks.toml"), "--workflow", "onboarding")
    process = processes.start("serve", *command, *more, more=secrets)
    return processes.api(process.url(), process)


def deliver(api: Api, source: str, delivery: str, event: str, order: str) -> httpx.Response:
    body, at = json.dumps({"type": event, "order": order}).encode(), int(time.time())
    key = SECRET + source.upper().replace("-", "_").encode()
    digest = hmac.digest(key, f"{delivery}.{at}.".encode() + body, hashlib.sha256)
    headers = {
        "webhook-id": delivery,
        "webhook-timestamp": str(at),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    url = api.url.replace("/api/workflows", f"/hooks/{source}")
    with httpx.Client(trust_env=False, timeout=20) as http:
        return http.post(url, content=body, headers=headers)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["by-id", "by-key", "started"])
def test_what_was_acknowledged_before_the_kill_happens_once(way: str, processes: Processes, tmp_path: Path) -> None:
    log = tmp_path / "steps.log"
    runner = processes.start("runner", sys.executable, str(HERE / "failover_runner.py"), "--log", str(log))
    api = serving(processes, runner)
    for number in range(KILLS):
        order = f"{way}-{number}"
        source, event = ("by-key", "created") if way == "started" else (way, "go")
        if way != "started":
            api.start("onboarding", {}, id=order)
        if number % 2 and way != "started":
            api.until(order, "waiting_for_event")
        answer = deliver(api, source, f"msg_{number}", event, order)
        api.process.kill()
        assert answer.json() == {"applied": True, "duplicate": False}
        api = serving(processes, runner)
        again = deliver(api, source, f"msg_{number}", event, order)
        assert again.json() == {"applied": True, "duplicate": True}
        if way == "started":
            until(lambda: api.http.get("/").json(), "one has started")  # noqa: B023
            assert deliver(api, source, f"go_{number}", "go", order).json()["applied"]
        api.until(order, "completed")
    assert len(api.http.get("/").json()) == KILLS
    for number in range(KILLS):
        events = [each for each in api.history(f"{way}-{number}") if each["type"] == "event_received"]
        assert len(events) == 1
