"""Workers of real servers on one file, whose owner is killed again and again under load, and one that is stopped."""

import random
import signal
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.end_to_end.processes import Process, Processes, run, until
from tests.faults.failover import COMMANDS, Clients, Reckoning, Server, eventually_none

HERE = Path(__file__).parent
HELD_RUNNER = HERE.parent / "end_to_end" / "held_runner.py"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as processes:
        yield processes


def noting_runner(processes: Processes, log: Path) -> Process:
    return processes.start("runner", sys.executable, str(HERE / "failover_runner.py"), "--log", str(log))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills", [3, pytest.param(15, marks=[pytest.mark.long, pytest.mark.timeout(600)])], ids=["3_kills", "15_kills"]
)
@pytest.mark.parametrize("kind", COMMANDS)
def test_killing_the_owner_loses_nothing_and_another_worker_takes_over_at_once(
    kind: str, kills: int, processes: Processes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "steps.log"
    server = Server(processes, kind, noting_runner(processes, log))
    takeovers = []
    with Clients(server.url) as clients:
        for _ in range(kills):
            acknowledged = len(clients.calls)
            until(lambda: len(clients.calls) > acknowledged + 50, "the load goes on")  # noqa: B023
            server.until_all_are_up()
            time.sleep(random.uniform(0, 0.3))  # a kill at any moment, not one that the condition above has chosen
            takeovers.append(server.kill_owner())
        acknowledged = len(clients.calls)
        until(lambda: len(clients.calls) > acknowledged + 50, "the load goes on after the last kill")
    assert not clients.errors
    reckoning = Reckoning(clients, takeovers, server.database, log)
    eventually_none(reckoning.unfinished, "every instance that was acknowledged has completed")
    times = reckoning.takeover_times()
    gap_s, spent_on = reckoning.longest_gap()
    again, unexplained = reckoning.repeated()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kind}, 3 workers: {kills} kills of the owner, {len(clients.started)} starts and {len(clients.sent)} "
            f"events acknowledged, lost 0; takeover median {statistics.median(times) * 1000:.0f} ms, longest "
            f"{max(times) * 1000:.0f} ms; longest gap {gap_s * 1000:.0f} ms ({spent_on}); {again} steps ran again, "
            f"{len(unexplained)} of them without a kill\n"
        )
    assert not reckoning.lost_events()
    assert not reckoning.doubles()
    assert not unexplained
    assert gap_s < 5
    if kills >= 15:
        assert statistics.median(times) < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("stopped_s", [1, pytest.param(10, marks=pytest.mark.long)])
def test_an_owner_that_was_stopped_and_replaced_commits_nothing_when_it_goes_on(
    stopped_s: float, processes: Processes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operator takes the lock file away, as docs/operations.md says. Its successor is stopped before the former
    owner goes on: then whatever is committed is the former owner's.
    """
    runner = processes.start("held_runner", sys.executable, str(HELD_RUNNER), str(tmp_path))

    def begun() -> list[str]:
        """A line for each step that has begun; the kit of the runner runs at most six at a time."""
        notes = tmp_path / "begun"
        return notes.read_text().splitlines() if notes.exists() else []

    former = processes.serve(runner, "--workflow", "hold")
    successor = processes.serve(runner, "--workflow", "hold")
    held = [former.start("hold", {}) for _ in range(2)]
    until(lambda: len(begun()) == 2, "both steps have begun")
    former.process.signal(signal.SIGSTOP)
    (tmp_path / "workflows.db.lock").unlink()
    until(lambda: successor.http.get("/healthz").json()["role"] == "owner", "the standby has taken over")
    held.append(successor.start("hold", {}))
    time.sleep(stopped_s)
    until(lambda: len(begun()) == 5, "both have asked about what they have")
    successor.process.signal(signal.SIGSTOP)
    with closing(sqlite3.connect(f"file:{tmp_path / 'workflows.db'}?mode=ro", uri=True)) as watch:

        def version() -> int:
            return int(watch.execute("PRAGMA data_version").fetchone()[0])

        before = version()
        former.process.signal(signal.SIGCONT)
        (tmp_path / "release").touch()  # now both are answered
        until(lambda: former.http.get("/healthz").json().get("role") == "standby", "the former owner knows")
        commits = version() - before
    successor.process.signal(signal.SIGCONT)
    for instance_id in held:
        assert former.until(instance_id, "completed")["output"] == "released"
        assert [entry["type"] for entry in former.history(instance_id)].count("step_succeeded") == 1
    with capsys.disabled():
        sys.stdout.write(f"\nSIGSTOP for {stopped_s} s, takeover, SIGCONT: {commits} commits by the former owner\n")
    assert commits == 0


@pytest.mark.slow
def test_an_owner_that_is_stopped_cleanly_hands_over_and_its_standby_refuses_nobody(
    processes: Processes, tmp_path: Path
) -> None:
    runner = noting_runner(processes, tmp_path / "steps.log")
    owner = processes.serve(runner, "--workflow", "onboarding")
    standby = processes.serve(runner, "--workflow", "onboarding")
    with Clients(standby.url) as clients:
        until(lambda: len(clients.calls) > 50, "the load goes on")
        assert owner.process.stop() == 0
        acknowledged = len(clients.calls)
        until(lambda: len(clients.calls) > acknowledged + 50, "the load goes on without the owner")
    assert not clients.errors
    assert not clients.failures
    assert standby.http.get("/healthz").json()["role"] == "owner"
    reckoning = Reckoning(clients, [], tmp_path / "workflows.db", tmp_path / "steps.log")
    eventually_none(reckoning.unfinished, "every instance that was acknowledged has completed")
    assert not reckoning.doubles()


@pytest.mark.slow
def test_a_standby_that_took_over_keeps_its_log_when_another_program_opens_and_closes_the_file(
    processes: Processes, tmp_path: Path
) -> None:
    """SQLite's locks are the process's, and any close of the file drops them all. Without them the next program that
    closes the file takes itself for the last one and deletes the log, under an owner that goes on to write into it.
    """
    runner = noting_runner(processes, tmp_path / "steps.log")
    owner = processes.serve(runner, "--workflow", "onboarding")
    standby = processes.serve(runner, "--workflow", "onboarding")
    standby.get(standby.start("onboarding", {}))
    owner.process.kill()
    first = standby.start("onboarding", {})

    def seen_by_another_program() -> str:
        look = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT id FROM instances'))"
        return str(run(sys.executable, "-c", look, str(tmp_path / "workflows.db")).stdout)

    assert first in seen_by_another_program()
    assert (tmp_path / "workflows.db-wal").exists()
    second = standby.start("onboarding", {})
    assert second in seen_by_another_program()
