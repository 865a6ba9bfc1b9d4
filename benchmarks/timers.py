"""How late sleeping instances wake, when 10,000 of them are due within the same 10 seconds.

An instance's due time is what the engine has stored; the end of its sleep is when the runner has got the next turn.
First with an engine that has just put them to sleep, then with one that was started anew and has none in memory.
"""

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Figure, Report, percentile
from benchmarks.surroundings import (
    INPUT,
    WORKFLOW,
    Options,
    arrivals,
    bare_runner,
    folder_on_disk,
    new_engine,
    run_in,
)
from pylon_workflows.workflow_engine import WorkflowEngine

WANTED_P99_MS = 250.0
STARTED_PER_S = 250
"""How many instances a slow machine puts to sleep a second: the window begins when all of them sleep."""

_SLEPT = """
SELECT instances.id, json_extract(slept.body, '$.due_at'), woke.at FROM instances
JOIN history AS slept ON slept.instance = instances.key AND slept.type = 'SleepStarted'
JOIN history AS woke ON woke.instance = instances.key AND woke.type = 'WokeUp'
"""


@dataclass(frozen=True, slots=True)
class Lateness:
    """Milliseconds after the due time: when the engine woke the instance, and when the runner heard of it."""

    woken: list[float]
    heard: list[float]


def run(options: Options) -> Report:
    """Measure with the engine that started them, and with one started anew."""
    count, window_s = options.pick(10_000, 2_000, 40), options.pick(10.0, 4.0, 1.0)
    figures: list[Figure] = []
    for name, is_anew in (("same engine", False), ("started anew", True)):
        with bare_runner(options) as runner, folder_on_disk() as folder:
            late = run_in(options.loop, _measure(runner, folder / "timers.db", count, window_s, is_anew=is_anew))
        early = sum(lateness < 0 for lateness in (*late.woken, *late.heard))
        figures += [
            Figure(name=f"early, {name}", value=early, unit="", at_most=0),
            Figure(name=f"heard late, p50, {name}", value=percentile(late.heard, 50), unit="ms"),
            Figure(name=f"heard late, p99, {name}", value=percentile(late.heard, 99), unit="ms", at_most=WANTED_P99_MS),
            Figure(name=f"heard late, most, {name}", value=max(late.heard), unit="ms"),
            Figure(name=f"woken late, p99, {name}", value=percentile(late.woken, 99), unit="ms"),
        ]
    return Report(
        name="timers",
        title=f"lateness of {count:,} timers due in the same {window_s:.0f} s",
        loop=options.loop,
        setting={"synchronous": "full", "timers": count, "window_s": window_s},
        figures=figures,
    )


async def _measure(runner: str, database: Path, count: int, window_s: float, *, is_anew: bool) -> Lateness:
    def engine() -> WorkflowEngine:
        return new_engine(f"{runner}/sleep", database)

    begins_ms = time.time_ns() // 1_000_000 + 3_000 + 1000 * count // STARTED_PER_S
    due_ms = [begins_ms + round(number * window_s * 1000 / count) for number in range(count)]
    async with engine() as sleeping:
        await _start_all(sleeping, due_ms)
        await _until(database, "sleeping", count, begins_ms / 1000)
        if not is_anew:
            await _until(database, "completed", count, begins_ms / 1000 + window_s + 60)
    if is_anew:
        async with engine():
            await _until(database, "completed", count, begins_ms / 1000 + window_s + 60)
    notes = {key: unix for key, _, unix in arrivals(runner)}
    with closing(sqlite3.connect(database)) as connection:
        slept = connection.execute(_SLEPT).fetchall()
    return Lateness(
        woken=[(woken_at - due_at) / 1e3 for _, due_at, woken_at in slept],
        heard=[notes[f"{instance_id}:1:1"] / 1e6 - due_at / 1e3 for instance_id, due_at, _ in slept],
    )


async def _start_all(engine: WorkflowEngine, due_ms: list[int]) -> None:
    numbered = iter(enumerate(due_ms))

    async def start_some() -> None:
        for number, due in numbered:
            await engine.start(WORKFLOW, INPUT, id=f"timer-{number}-{due}")

    await asyncio.gather(*(start_some() for _ in range(128)))


async def _until(database: Path, status: str, count: int, deadline: float) -> None:
    """Wait until that many instances have a status. Raises TimeoutError after the deadline (unix seconds)."""
    with closing(sqlite3.connect(database)) as connection:
        while True:
            ((found,),) = connection.execute("SELECT count(*) FROM instances WHERE status = ?", (status,))
            if found == count:
                return
            if time.time() > deadline:
                raise TimeoutError(f"only {found} of {count} instances are {status}; the machine is too busy")
            await asyncio.sleep(0.5)
