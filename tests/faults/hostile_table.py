"""The hostile-runner table (PROMISES.md harness 4): an engine and its runner as two programs, so that each has a core.

    python -m tests.faults.hostile_table runner
    python -m tests.faults.hostile_table engine URL DATABASE PAIRS SECONDS

The runner prints its URL and answers until its standard input ends. The engine works through pairs of windows of so
many seconds, one with 100 instances whose runner misbehaves and one without, then through one with floods of wrong
entries, and prints what it saw as JSON.
"""

import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pylon_workflows import HttpRunner, Instance, WorkflowEngine
from pylon_workflows.ports import Apply, Turn
from runner_protocol.messages import Action
from tests.faults.hostile_runner import BEHAVIOURS
from tests.faults.test_engine_beside_hostile_runners import HEALTHY, HOSTILE, an_engine, crowd

TABLE = (
    "closed after the request",  # as near to a refused connection as one comes whose port others share
    "reset after the request",
    "half-open",
    "one byte at a time",
    "truncated body",
    "length too long",
    "garbage",
    "header of 5 MB",
    "204",
    "302",
    "401",
    "429",
    "503",
    "gzip bomb",
    "wrong type",
    "NaN",
    "doubled key",
    "unknown action",
    "negative duration",
    "100 MB without a length",
)
FLOODS = ("a million wrong names", "a million wrong log lines")
"""In a window of their own: to read megabytes of JSON takes a while, whoever sends them, and is felt."""


class TimedRunner:
    """An HttpRunner that notes how long the healthy ones' turns took, in milliseconds."""

    def __init__(self, url: str) -> None:
        self._runner = HttpRunner(url)
        self.took_ms: list[float] = []

    async def __aenter__(self) -> Self:
        await self._runner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._runner.__aexit__(*error)

    async def hear(self) -> None:
        """Ask for the workflows, as often as an instance is; the answer is none that can be read."""
        for _ in range(HOSTILE):
            assert await self._runner.describe() is None

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        began = time.perf_counter()

        async def timed(actions: Sequence[Action]) -> bool:
            if turn.instance_id.startswith("healthy"):
                self.took_ms.append((time.perf_counter() - began) * 1000)
            return await apply(actions)

        await self._runner.take_turn(turn, timed)


async def healthy_window(engine: WorkflowEngine, runner: TimedRunner, seconds: float) -> dict[str, float]:
    """Fifty healthy instances at a time, again and again: the 99th percentiles of a turn and of a whole instance."""
    runner.took_ms.clear()
    lives_ms: list[float] = []
    until = time.perf_counter() + seconds

    async def one_after_the_other(lane: int) -> None:
        while (began := time.perf_counter()) < until:
            instance_id = f"healthy-{lane}-{time.monotonic_ns()}"
            await engine.start("healthy", id=instance_id)
            assert (await engine.wait(instance_id, timeout=30)).output == "done"
            lives_ms.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(one_after_the_other(lane) for lane in range(HEALTHY)))
    return {"turn_ms": _p99(runner.took_ms), "instance_ms": _p99(lives_ms), "instances": len(lives_ms)}


async def hostile_window(
    engine: WorkflowEngine, runner: TimedRunner, seconds: float, seen: list[Any], names: Sequence[str] = TABLE
) -> Any:
    """The same beside five instances of each behaviour, of which `seen` tells what became of them."""
    ids = [await engine.start(name) for name in names for _ in range(HOSTILE)]
    figures = await healthy_window(engine, runner, seconds)
    for instance_id in ids:
        instance = await engine.get(instance_id)
        if BEHAVIOURS[instance.name].outcome == "unavailable":
            seen.append(await _fate(engine, instance))
            await engine.cancel(instance_id)
        else:
            seen.append(await _fate(engine, await engine.wait(instance_id, timeout=60)))
    return figures


async def _fate(engine: WorkflowEngine, instance: Instance) -> tuple[str, str, list[str | None], list[str]]:
    """Its behaviour, its status, the errors of its records, and the types of its transitions."""
    history = [type(fact).__name__ for fact in await engine.history(instance.id)]
    return instance.name, instance.status.value, [record.error for record in instance.steps], history


async def run_engine(url: str, database: str, pairs: int, seconds: float) -> None:
    """Print what was seen; the peak of memory is compared with that after two windows without trouble."""
    runner, seen = TimedRunner(url), list[Any]()
    figures = []
    async with an_engine(runner, Path(database), (*TABLE, *FLOODS)) as engine:
        for _ in range(2):
            await healthy_window(engine, runner, seconds)
        _forget_peak()
        before_kb = _peak_kb()
        for number in range(pairs):
            pair = {}
            for is_hostile in (True, False) if number % 2 else (False, True):
                if is_hostile:
                    pair["beside"] = await hostile_window(engine, runner, seconds, seen)
                else:
                    pair["alone"] = await healthy_window(engine, runner, seconds)
            figures.append(pair)
        grown_kb = _peak_kb() - before_kb
        flooded, _ = await asyncio.gather(hostile_window(engine, runner, seconds, seen, FLOODS), runner.hear())
        flooded_kb = _peak_kb() - before_kb
    grown = {"grown_kb": grown_kb, "flooded_kb": flooded_kb}
    json.dump({"pairs": figures, "flooded": flooded, "seen": seen, **grown}, sys.stdout)


async def run_crowd() -> None:
    """Serve until the standard input ends, then print how often each behaviour was met with, as JSON."""
    async with crowd() as served:
        sys.stdout.write(f"{served.url}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        json.dump(served.asked, sys.stdout)


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _forget_peak() -> None:
    """Begin anew with what is held now: what its imports took for a moment would hide what comes later."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _peak_kb() -> int:
    if sys.platform == "linux":  # where the other figure begins with that of the process that started this one
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


if __name__ == "__main__":
    if sys.argv[1] == "runner":
        asyncio.run(run_crowd())
    else:
        asyncio.run(run_engine(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
