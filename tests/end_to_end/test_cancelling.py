"""Cancelling through `serve`, with real processes: no step after the acknowledgement (P28)."""

import sys
from pathlib import Path

import pytest

from tests.end_to_end.processes import Api, Process, Processes, until

pytestmark = pytest.mark.slow

HELD_RUNNER = str(Path(__file__).with_name("held_runner.py"))


@pytest.fixture
def runner(processes: Processes) -> Process:
    return processes.start("held_runner", sys.executable, HELD_RUNNER, str(processes.folder))


@pytest.fixture
def api(processes: Processes, runner: Process) -> Api:
    return processes.serve(runner, "--workflow", "hold_and_go_on")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_after_a_cancel_no_further_step_starts_and_the_answer_in_flight_is_discarded(api: Api, tmp_path: Path) -> None:
    cancelled = api.start("hold_and_go_on", {})
    until((tmp_path / "begun").exists, "its step has begun")
    answer = api.http.post(f"/{cancelled}/cancel")
    assert (answer.status_code, answer.json()) == (200, {"cancelled": True})
    (tmp_path / "release").touch()
    other = api.start("hold_and_go_on", {})  # by its end the answer of the first has long been there
    api.until(other, "completed")
    assert lines(tmp_path / "went_on") == [other]
    found = api.get(cancelled)
    assert (found["status"], found["steps"]) == ("cancelled", [])


def test_a_cancel_is_still_one_after_a_kill(processes: Processes, runner: Process, api: Api, tmp_path: Path) -> None:
    cancelled = api.start("hold_and_go_on", {})
    until((tmp_path / "begun").exists, "its step has begun")
    assert api.http.post(f"/{cancelled}/cancel").status_code == 200
    api.process.kill()
    (tmp_path / "release").touch()
    again = processes.serve(runner, "--workflow", "hold_and_go_on")
    other = again.start("hold_and_go_on", {})
    again.until(other, "completed")
    assert again.get(cancelled)["status"] == "cancelled"
    assert lines(tmp_path / "went_on") == [other]
