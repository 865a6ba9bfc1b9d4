"""Many instances started at once: they wait in the file, not in memory, and the API goes on answering.

Real processes: `pylon-workflows serve`, a bare runner, a program that starts instances as fast as it gets answers, and
this one, which is the other client whose calls are timed.
"""

import json
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.processes import ROOT, Api, Process, Processes

CONNECTIONS = 32
CALLS_A_SECOND = 20
MAX_MB = 300
MAX_P99_MS = 100


@contextmanager
def bare_runner() -> Iterator[str]:
    """The benchmark's runner, which costs next to nothing; ends with its standard input."""
    with subprocess.Popen(
        (sys.executable, "-m", "benchmarks.bare_runner"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as runner:
        assert runner.stdin is not None
        assert runner.stdout is not None
        try:
            yield runner.stdout.readline().decode().strip()
        finally:
            runner.stdin.close()


@contextmanager
def starting(url: str, name: str, count: int) -> "Iterator[subprocess.Popen[bytes]]":
    """The program that starts so many instances; its output says how it went."""
    command = (sys.executable, "-m", "tests.faults.many_starts", url, name, str(count), str(CONNECTIONS))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as load:
        try:
            yield load
        finally:
            load.kill()


def serving(processes: Processes, runner_url: str, *arguments: str) -> Api:
    command = (sys.executable, "-m", "pylon_workflows", "serve", "--runner", runner_url, "--port", "0")
    process = processes.start("serve", *command, "--db", str(processes.folder / "workflows.db"), *arguments)
    return processes.api(process.url(), process)


def peak_mb(process: Process) -> float:
    """The most memory that it has had so far (VmHWM)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def counts(database: Path) -> dict[str, int]:
    """How many instances the file holds of each status."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT status, count(*) FROM instances GROUP BY status"))


def timed(took_ms: list[float], call: Callable[[], object]) -> None:
    began = time.perf_counter()
    call()
    took_ms.append((time.perf_counter() - began) * 1000)


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_any_number_of_starts_at_once_neither_fills_memory_nor_holds_up_the_api(count: int, tmp_path: Path) -> None:
    gets: list[float] = []
    posts: list[float] = []
    with bare_runner() as runner, Processes(tmp_path) as processes:
        api = serving(processes, f"{runner}/steps/1", "--workflow", "noisy", "--workflow", "quiet")
        began = time.monotonic()
        ids: list[str] = []
        with starting(api.url, "noisy", count) as load:
            while load.poll() is None or counts(tmp_path / "workflows.db").get("completed", 0) < count + len(ids):
                timed(posts, lambda: ids.append(api.start("quiet", {})))
                timed(gets, lambda: api.get(ids[-1]))
                time.sleep(1 / CALLS_A_SECOND)  # a client's own pace, not a condition
            assert load.stdout is not None
            started = json.loads(load.stdout.read())
        took_s = time.monotonic() - began
        assert started["acknowledged"] == count
        assert counts(tmp_path / "workflows.db") == {"completed": count + len(ids)}
        used_mb = peak_mb(api.process)
    sys.stdout.write(
        f"{count} starts in {started['seconds']:.1f} s, all finished after {took_s:.1f} s, {used_mb:.0f} MB at most; "
        f"{len(gets)} calls of each kind: GET p99 {p99(gets):.1f} ms, median {statistics.median(gets):.1f}; "
        f"POST p99 {p99(posts):.1f} ms, median {statistics.median(posts):.1f}\n"
    )
    assert used_mb < MAX_MB
    if count >= 100_000:
        assert (p99(gets) < MAX_P99_MS, p99(posts) < MAX_P99_MS) == (True, True), (p99(gets), p99(posts))
