"""`pylon-workflows serve` with a real runner: the whole way, restarts, draining, a file in use."""

import json
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.end_to_end.processes import Api, Process, Processes, until

pytestmark = pytest.mark.slow

HELD_RUNNER = str(Path(__file__).with_name("held_runner.py"))
ONBOARDING_KEYS = ["create_account", "send_welcome", "send_welcome", "sleep", "event:user_confirmed", "activate"]


def onboarding_runner(processes: Processes, kit: str) -> Process:
    return processes.runner(kit, "--log", str(processes.folder / "steps.log"))


def serve_onboarding(processes: Processes, runner: Process) -> Api:
    return processes.serve(runner, "--workflow", "onboarding:3")


def executed(processes: Processes) -> list[tuple[str, int]]:
    lines = (processes.folder / "steps.log").read_text().splitlines()
    return [(line["key"], line["attempt"]) for line in map(json.loads, lines)]


def test_a_user_is_welcomed_at_the_second_try_and_confirms(processes: Processes, kit: str) -> None:
    api = serve_onboarding(processes, onboarding_runner(processes, kit))
    instance_id = api.start("onboarding", {"user": "alice", "flaky": True, "pause": "100ms"})
    waiting = api.until(instance_id, "waiting_for_event")
    assert (waiting["waiting_for"], waiting["error"]) == ("user_confirmed", None)
    assert api.event(instance_id, "user_confirmed", {"via": "mail"}) is False
    done = api.until(instance_id, "completed")
    assert done["output"] == {"account": "acct_alice", "status": "active", "confirmation": {"via": "mail"}}
    assert [step["key"] for step in done["steps"]] == ONBOARDING_KEYS
    assert [step["status"] for step in done["steps"]].count("failed") == 1
    assert executed(processes) == [("create_account", 1), ("send_welcome", 1), ("send_welcome", 2), ("activate", 1)]


def test_an_event_that_comes_early_and_twice_is_taken_once(processes: Processes, kit: str) -> None:
    api = serve_onboarding(processes, onboarding_runner(processes, kit))
    instance_id = api.start("onboarding", {"user": "bob", "pause": "1s"})
    assert api.event(instance_id, "user_confirmed", {"n": 1}, event_id="evt_1") is False
    assert api.event(instance_id, "user_confirmed", {"n": 2}, event_id="evt_1") is True
    assert api.until(instance_id, "completed")["output"]["confirmation"] == {"n": 1}
    assert api.event(instance_id, "user_confirmed", {"n": 1}, event_id="evt_1") is True
    received = [entry for entry in api.history(instance_id) if entry["type"] == "event_received"]
    assert [entry["data"] for entry in received] == [{"n": 1}]


def test_a_restart_goes_on_with_sleepers_and_waits(processes: Processes, kit: str) -> None:
    runner = onboarding_runner(processes, kit)
    api = serve_onboarding(processes, runner)
    waiting = api.start("onboarding", {"user": "carol", "pause": "50ms"})
    sleeping = api.start("onboarding", {"user": "dave", "pause": "3s"})

    def sleeps() -> list[dict[str, Any]]:
        return [entry for entry in api.history(sleeping) if entry["type"] == "sleep_started"]

    api.until(waiting, "waiting_for_event")
    asleep = until(sleeps, "it sleeps")
    assert api.process.stop() == 0
    api = serve_onboarding(processes, runner)
    assert sleeps() == asleep
    for instance_id in (waiting, sleeping):
        api.event(instance_id, "user_confirmed", True)
        api.until(instance_id, "completed")
    assert sorted(executed(processes)) == sorted([("create_account", 1), ("send_welcome", 1), ("activate", 1)] * 2), (
        "a recorded step ran again"
    )


def test_a_runner_in_plain_javascript_needs_no_kit(processes: Processes, node: None) -> None:
    api = processes.serve(processes.runner("plain"), "--workflow", "plain")
    instance_id, wrong = api.start("plain", {"n": 3}), api.start("plain", {"n": "three"}, id="wrong")
    api.event(instance_id, "go", {"n": 4})
    done = api.until(instance_id, "completed")
    assert done["output"] == {"total": 10}
    assert [step["key"] for step in done["steps"]] == ["double", "sleep", "event:go", "add"]
    assert "n is not a number" in until(lambda: api.get(wrong)["steps"], "its first attempt failed")[0]["error"]


def test_a_runner_that_is_away_is_waited_for(processes: Processes) -> None:
    runner = processes.runner("python")
    api = processes.serve(runner, "--workflow", "onboarding:0")
    runner.kill()
    instance_id = api.start("onboarding", {"user": "erin", "pause": "10ms"})
    api.event(instance_id, "user_confirmed", None)
    processes.runner("python", port=str(urlsplit(runner.url()).port))
    done = api.until(instance_id, "completed")
    assert {step["status"] for step in done["steps"]} == {"completed"}, "a retry was used up"


class TestAnEngineWhoseStepIsHeld:
    @pytest.fixture
    def runner(self, processes: Processes) -> Process:
        return processes.start("held_runner", sys.executable, HELD_RUNNER, str(processes.folder))

    @pytest.fixture
    def api(self, processes: Processes, runner: Process) -> Api:
        return processes.serve(runner, "--workflow", "hold")

    def held(self, api: Api, folder: Path) -> str:
        instance_id = api.start("hold", {})
        until((folder / "begun").exists, "the step has begun")
        return instance_id

    def test_sigterm_lets_the_step_in_flight_finish(
        self, processes: Processes, runner: Process, api: Api, tmp_path: Path
    ) -> None:
        instance_id = self.held(api, tmp_path)
        api.process.signal(signal.SIGTERM)

        def refusal() -> Any:
            answer = api.http.post("/start", json={"name": "hold"})
            return answer if answer.status_code != 201 else None

        answer = until(refusal, "new work is refused")
        assert (answer.status_code, answer.json()["code"]) == (503, "engine-not-running")
        assert int(answer.headers["retry-after"]) >= 1
        assert api.process.status is None
        (tmp_path / "release").touch()
        assert api.process.ended() == 0
        again = processes.serve(runner, "--workflow", "hold")
        assert again.until(instance_id, "completed")["output"] == "released"
        assert len((tmp_path / "begun").read_text().splitlines()) == len(again.http.get("?name=hold").json())

    def test_a_second_signal_stops_at_once_and_the_step_runs_again_later(
        self, processes: Processes, runner: Process, api: Api, tmp_path: Path
    ) -> None:
        instance_id = self.held(api, tmp_path)
        api.process.signal(signal.SIGTERM)
        until(lambda: api.http.get("/healthz").status_code == 503, "it drains")
        api.process.signal(signal.SIGTERM)
        assert api.process.ended() != 0
        (tmp_path / "release").touch()
        again = processes.serve(runner, "--workflow", "hold")
        assert again.until(instance_id, "completed")["output"] == "released"
        assert (tmp_path / "begun").read_text().splitlines() == ["begun"] * 2

    def test_a_second_serve_stands_by_forwards_and_takes_over(
        self, processes: Processes, runner: Process, api: Api, tmp_path: Path
    ) -> None:
        second = processes.serve(runner, "--workflow", "hold")
        assert [each.http.get("/healthz").json()["role"] for each in (api, second)] == ["owner", "standby"]
        assert f"is in use by process {api.process.pid} on " in second.process.said()
        instance_id = self.held(second, tmp_path)
        assert api.get(instance_id) == second.get(instance_id)
        api.process.kill()
        (tmp_path / "release").touch()
        assert second.until(instance_id, "completed")["output"] == "released"
        assert second.http.get("/healthz").json()["role"] == "owner"
        assert second.process.stop() == 0

    def test_after_kill_9_the_file_is_free(
        self, processes: Processes, runner: Process, api: Api, tmp_path: Path
    ) -> None:
        instance_id = self.held(api, tmp_path)
        api.process.kill()
        (tmp_path / "release").touch()
        again = processes.serve(runner, "--workflow", "hold")
        assert again.until(instance_id, "completed")["output"] == "released"
