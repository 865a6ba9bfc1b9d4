"""Nothing is registered by hand, and a new version is deployed while instances of the old one run."""

import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import COMMAND, Api, Process, Processes, run, until

pytestmark = pytest.mark.slow

VERSIONED_RUNNER = str(Path(__file__).with_name("versioned_runner.py"))


def a_runner(processes: Processes, name: str, *versions: str, port: str = "0") -> Process:
    return processes.start(name, sys.executable, VERSIONED_RUNNER, port, *versions)


def definitions(api: Api) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in api.http.get("/definitions").json()}


def until_started_as(api: Api, version: str) -> str:
    """Whoever starts now gets this version; the id of an instance that has."""
    until(lambda: definitions(api).get("orders", {}).get("version") == version, f"version {version} is known")
    instance_id = api.start("orders", {})
    assert api.until(instance_id, "waiting_for_event")["version"] == version
    return instance_id


def go(api: Api, instance_id: str) -> None:
    assert api.event(instance_id, "go", None) is False


def test_serve_finds_out_which_workflows_its_runner_has(processes: Processes, kit: str) -> None:
    runner = processes.runner(kit)
    api = processes.serve(runner)
    instance_id = api.start("onboarding", {"user": "alice", "pause": "50ms"})
    found = definitions(api)["onboarding"]
    assert found["source"] == "runner"
    api.event(instance_id, "user_confirmed", {})
    assert api.until(instance_id, "completed")["output"]["status"] == "active"
    assert api.http.post("/start", json={"name": "nobody"}).status_code == 404


def test_serve_can_be_told_to_ask_nobody(processes: Processes) -> None:
    api = processes.serve(a_runner(processes, "runner", "1"), "--no-discovery")
    refused = api.http.post("/start", json={"name": "orders"})
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown-workflow")


def test_a_new_version_beside_the_old_one_and_then_alone(processes: Processes) -> None:
    old = a_runner(processes, "old", "1")
    api = processes.serve(old)
    first = until_started_as(api, "1")
    found = definitions(api)["orders"]
    assert (found["source"], found["max_retries"], found["input_schema"]) == ("runner", 1, {"type": "object"})

    assert api.process.stop() == 0
    new = a_runner(processes, "new", "2")
    api = processes.serve(old, "--runner-for", f"orders@2={new.url()}")
    second = until_started_as(api, "2")
    go(api, second)
    assert api.until(second, "completed")["output"] == ["2", "2"]

    port = re.search(r":(\d+)/", old.url())[1]
    old.kill()
    go(api, first)
    waiting = until(lambda: api.get(first)["waiting_for_runner"], "the old version waits for its runner")
    assert waiting["reason"].startswith("the runner is unavailable: ")
    third = until_started_as(api, "2")
    go(api, third)
    assert api.until(third, "completed")["output"] == ["2", "2"]

    a_runner(processes, "old_again", "1", port=port)
    assert api.until(first, "completed")["output"] == ["1", "1"]


def test_one_runner_with_both_versions_and_then_without_the_old_one(processes: Processes) -> None:
    runner = a_runner(processes, "only_1", "1")
    api = processes.serve(runner)
    first, left = until_started_as(api, "1"), until_started_as(api, "1")
    port = re.search(r":(\d+)/", runner.url())[1]

    runner.signal(signal.SIGTERM)
    runner.ended()
    both = a_runner(processes, "both", "1", "2", port=port)
    both.url()
    second = until_started_as_after_refresh(api, "2")
    for instance_id, version in ((first, "1"), (second, "2")):
        go(api, instance_id)
        assert api.until(instance_id, "completed")["output"] == [version, version]

    both.signal(signal.SIGTERM)
    both.ended()
    a_runner(processes, "only_2", "2", port=port).url()
    go(api, left)
    waiting = until(lambda: api.get(left)["waiting_for_runner"], "the old version is put off")
    until(lambda: "version" in api.get(left)["waiting_for_runner"]["reason"], "the reason names the version")
    assert waiting is not None
    assert api.get(left)["status"] == "running"


def until_started_as_after_refresh(api: Api, version: str) -> str:
    """As `until_started_as`; a name that nobody knows makes the engine ask again at once."""
    assert api.http.post("/start", json={"name": "nobody"}).status_code == 404
    return until_started_as(api, version)


def test_a_schedule_from_the_command_line_starts_what_it_says(processes: Processes) -> None:
    api = processes.serve(a_runner(processes, "runner", "1"))
    until_started_as(api, "1")
    more = {"PYLON_WORKFLOW_URL": api.url}
    added = run(COMMAND, "schedule", "add", "0 9 * * MON-FRI", "orders", "--timezone", "Europe/Berlin", more=more)
    assert (added.returncode, added.stdout.startswith("added sch_")) == (0, True), added.stderr
    listed = run(COMMAND, "schedule", "list", more=more)
    assert "Europe/Berlin" in listed.stdout
