"""The command line against a real `serve` with a real runner."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import COMMAND, Api, Processes, run, until

pytestmark = pytest.mark.slow

HELD_RUNNER = str(Path(__file__).with_name("held_runner.py"))


@pytest.fixture(scope="module")
def api(shared_processes: Processes) -> Api:
    return shared_processes.serve(shared_processes.runner("python"), "--workflow", "onboarding:3")


def cli(api: Api, *arguments: str) -> Any:
    return run(COMMAND, *arguments, more={"PYLON_WORKFLOW_URL": api.url})


def said(api: Api, *arguments: str) -> str:
    done = cli(api, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return str(done.stdout)


def said_json(api: Api, *arguments: str) -> Any:
    return json.loads(said(api, *arguments, "--json"))


def test_port_0_prints_the_port_it_got(api: Api) -> None:
    assert re.match(r"listening on http://127\.0\.0\.1:[1-9]\d*/api/workflows\n", api.process.said())


def test_an_instance_from_its_start_to_its_end(api: Api) -> None:
    data = json.dumps({"user": "alice", "flaky": True, "pause": "20ms"})
    assert said(api, "start", "onboarding", "--id", "alice", "--input", data) == "started alice\n"
    assert said(api, "start", "onboarding", "--id", "alice", "--input", data) == "had been started already: alice\n"
    api.until("alice", "waiting_for_event")
    listed = said(api, "list", "--status", "waiting").splitlines()
    assert listed[0].split() == ["ID", "NAME", "STATUS", "STEPS", "CREATED"]
    assert "waits for the event user_confirmed until" in next(line for line in listed if line.startswith("alice "))
    event = ("send-event", "alice", "user_confirmed", "--data", '{"via": "mail"}', "--event-id", "evt_1")
    assert said(api, *event) == "accepted\n"
    assert said(api, *event) == "had been accepted already\n"
    api.until("alice", "completed")
    assert [item["id"] for item in said_json(api, "list", "--status", "completed")] == ["alice"]
    shown = said(api, "show", "alice").splitlines()
    assert shown[0] == "alice  onboarding  completed"
    assert shown.pop() == "tracebacks: pylon-workflows history alice --json, field stack"
    what = [line.split("  ", 1)[1].strip().split("  ")[0] for line in shown[3:]]
    assert what == [
        "started", "step", "retry", "woke up", "step", "sleep", "woke up", "wait", "event", "event taken", "step",
        "completed",
    ]  # fmt: skip
    assert any("mail server said no; retry in" in line for line in shown)
    as_json = said_json(api, "show", "alice")
    assert (as_json["status"], as_json["history"][0]["type"]) == ("completed", "instance_started")
    assert said(api, "delete", "alice") == "deleted alice\n"
    gone = cli(api, "show", "alice")
    assert (gone.returncode, gone.stdout, gone.stderr) == (1, "", "Error: no instance has the id 'alice'\n")


def test_start_can_wait_for_the_end(api: Api) -> None:
    failed = cli(api, "start", "onboarding", "--id", "broken", "--input", '{"nobody": 1}', "--wait")
    assert (failed.returncode, failed.stdout.split()[:2]) == (1, ["broken", "failed"])


def test_cancel_ends_it_and_only_a_finished_one_is_deleted(api: Api) -> None:
    assert said_json(api, "start", "onboarding", "--id", "bob", "--input", '{"user": "bob"}') == {"id": "bob"}
    api.until("bob", "sleeping")
    refused = cli(api, "delete", "bob")
    assert (refused.returncode, refused.stderr) == (1, "Error: bob is sleeping; cancel it before deleting it\n")
    assert said(api, "cancel", "bob") == "cancelled bob\n"
    assert said_json(api, "cancel", "bob") == {"cancelled": True}
    assert "cancelled" in said(api, "show", "bob").splitlines()[0]
    assert said_json(api, "delete", "bob") == {"deleted": True}


def test_a_blocked_instance_says_why_and_resumes_when_its_code_is_mended(processes: Processes) -> None:
    step = processes.folder / "step"
    step.write_text("charge")
    runner = processes.start("held_runner", sys.executable, HELD_RUNNER, str(processes.folder))
    api = processes.serve(runner, "--workflow", "changing")
    said(api, "start", "changing", "--id", "order")
    api.until("order", "waiting_for_event")
    step.write_text("bill")
    said(api, "send-event", "order", "go")
    api.until("order", "blocked")
    [reason] = [line for line in said(api, "show", "order").splitlines() if line.startswith("blocked: ")]
    assert "charge" in reason
    assert "bill" in reason
    assert said(api, "resume", "order").startswith("resumed order: ")
    until(
        lambda: len([fact for fact in api.history("order") if fact["type"] == "instance_blocked"]) == 2, "it is blocked"
    )
    step.write_text("charge")
    assert said_json(api, "resume", "order") == {"status": "running"}
    assert api.until("order", "completed")["output"] == "gone"
    not_blocked = cli(api, "resume", "order")
    assert (not_blocked.returncode, not_blocked.stdout) == (1, "")


def test_without_a_server_it_says_how_to_start_one() -> None:
    done = run(COMMAND, "list", "--url", "http://127.0.0.1:1/api/workflows")
    assert (done.returncode, done.stdout) == (3, "")
    assert "pylon-workflows serve" in done.stderr


def test_the_demo_tells_what_happens(kit: str) -> None:
    done = run(COMMAND, "demo", "--runner", kit)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("step", "retry", "sleep", "event", "completed"):
        assert re.search(rf"^{word} ", done.stdout, re.MULTILINE), f"no line about {word}"
    assert "came early" in done.stdout
    assert "{'account': 'acct_alice', 'status': 'active'" in done.stdout
    assert len(re.findall(r" \d+ ms|in \d+\.\d s", done.stdout)) >= 6, "how long each took"
