"""What a million sleeping instances in the file cost an engine that starts on it, beyond one that starts on no file.

One instance is put to sleep by the engine; SQL multiplies its rows, each copy with an id and a due time of its own.
Each start is a process of its own (`sleeping_engine.py`). At the end one of the million gets an event, another wakes.
"""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.report import Figure, Report, median_figure
from benchmarks.surroundings import INPUT, WORKFLOW, Options, bare_runner, folder_on_disk, new_engine, run_in
from pylon_workflows.core.instance import Status
from runner_protocol.messages import Sleep

WANTED_READY_S = 0.5
WANTED_MEMORY_MB = 30.0
TO_WAKE, TO_TELL = 3, 7
"""The numbers of the instance that wakes and of the one that gets an event."""

_NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)"
_MOVED_DUE_AT = "replace(body, CAST(:due_at AS TEXT), CAST(:due_at + n * 1000000 AS TEXT))"


def run(options: Options) -> Report:
    """Start on both files, in turns."""
    count = options.pick(1_000_000, 100_000, 2_000)
    with bare_runner(options) as runner, folder_on_disk() as folder:
        full, empty = folder / "sleepers.db", folder / "empty.db"
        began = time.perf_counter()
        run_in(options.loop, _one_sleeper(full))
        _multiply(full, count)
        run_in(options.loop, _no_instance(empty))
        made_in_s = time.perf_counter() - began
        size_mb = full.stat().st_size / 1e6
        starts = [
            (_start(empty, runner, options.loop), _start(full, runner, options.loop))
            for _ in range(options.pick(5, 3, 1))
        ]
        _make_due(full, TO_WAKE, time.time() + 8)
        last = _start(full, runner, options.loop, "--tell", _id(TO_TELL), "--wake", _id(TO_WAKE))

    def beyond(name: str) -> list[float]:
        return [with_sleepers[name] - without[name] for without, with_sleepers in starts]

    def of_full(name: str) -> list[float]:
        return [with_sleepers[name] for _, with_sleepers in starts]

    return Report(
        name="sleepers",
        title=f"starting on a file with {count:,} sleeping instances, against an empty one",
        loop=options.loop,
        setting={"instances": count, "file_mb": round(size_mb), "made_in_s": round(made_in_s, 1)},
        figures=[
            median_figure("ready", of_full("ready_s"), "s"),
            median_figure("ready, beyond an empty file", beyond("ready_s"), "s", at_most=WANTED_READY_S),
            median_figure("first answer, beyond an empty file", beyond("answered_s"), "s"),
            median_figure("memory", of_full("memory_mb"), "MB"),
            median_figure("memory, beyond an empty file", beyond("memory_mb"), "MB", at_most=WANTED_MEMORY_MB),
            median_figure("peak memory, beyond an empty file", beyond("peak_mb"), "MB"),
            Figure(
                name="an event to one of them, committed", value=last["told_s"] * 1000, unit="ms", note=last["told"]
            ),
            Figure(
                name="one of them woke and went on, late", value=last["late_s"] * 1000, unit="ms", note=last["woke"]
            ),
        ],
    )


async def _one_sleeper(database: Path) -> None:
    async with new_engine(None, database) as engine:
        instance_id = await engine.start(WORKFLOW, INPUT, id=_id(1))
        instance = await engine.apply(instance_id, Sleep(duration="300d"))
        assert instance.status is Status.SLEEPING


async def _no_instance(database: Path) -> None:
    async with new_engine(None, database):
        pass  # the file is there and has its tables: making them is no part of what is compared


def _multiply(database: Path, count: int) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(instances)")]
        copied = [name for name in columns if name not in ("key", "id", "due_at")]
        ((due_at,),) = connection.execute("SELECT due_at FROM instances")
        values = {"count": count, "due_at": due_at, "first": _id(1)}
        connection.create_function("id_of", 1, _id, deterministic=True)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            f"""
            INSERT INTO instances (key, id, due_at, {", ".join(copied)}) {_NUMBERS}
            SELECT n, id_of(n), due_at + n * 1000000, {", ".join(copied)} FROM numbers CROSS JOIN instances
            WHERE instances.key = 1
            """,
            values,
        )
        connection.execute(
            f"""
            INSERT INTO history (instance, revision, type, at, body, payload) {_NUMBERS}
            SELECT n, revision, type, at, replace({_MOVED_DUE_AT}, :first, id_of(n)), payload
            FROM numbers CROSS JOIN history WHERE history.instance = 1
            """,
            values,
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _make_due(database: Path, number: int, at: float) -> None:
    """Let one instance sleep until then and no longer, in its row and in its history."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        due_at = round(at * 1_000_000)
        connection.execute("UPDATE instances SET due_at = ? WHERE key = ?", (due_at, number))
        connection.execute(
            "UPDATE history SET body = json_set(body, '$.due_at', ?) WHERE instance = ? AND type = 'SleepStarted'",
            (due_at, number),
        )


def _start(database: Path, runner: str, loop: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.sleeping_engine", str(database), f"{runner}/sleep", loop, *more]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=timedelta(minutes=5).total_seconds())
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def _id(number: int) -> str:
    return f"wf_{number:026d}"
