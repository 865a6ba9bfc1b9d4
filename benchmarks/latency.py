"""How long a step takes when one workflow runs alone, against what cannot be saved: round trips and a commit.

A step's time is that between the arrivals of two turns at the runner. A bare round trip is one POST with pyreqwest in
the same event loop. A bare commit inserts a row of history and updates a row of an instance, with `sqlite3` itself,
without threads, in the same file system and with the same PRAGMAs.
"""

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from benchmarks.bare_clients import Post, pyreqwest_posts, turns_of
from benchmarks.report import Report, median_figure
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
from benchmarks.windows import median
from pylon_workflows.ports import Turn
from pylon_workflows.workflow_engine import WorkflowEngine

STEPS = 20
ROUND_TRIPS = 3


def run(options: Options) -> Report:
    """Measure steps, round trips and commits in turns."""
    with bare_runner(options) as runner, folder_on_disk() as folder:
        windows = run_in(options.loop, _measure(runner, folder, options))
    steps, trips, commits = ([window[index] for window in windows] for index in range(3))
    allowed = [ROUND_TRIPS * trip + commit for trip, commit in zip(trips, commits, strict=True)]
    return Report(
        name="latency",
        title="one workflow alone: a step, against 3 bare round trips and a bare commit",
        loop=options.loop,
        setting={"synchronous": "full", "windows": "interleaved", "steps": STEPS, "each": "median of its window"},
        figures=[
            median_figure("a step", steps, "us"),
            median_figure("a bare round trip", trips, "us"),
            median_figure("a bare commit", commits, "us"),
            median_figure("3 round trips and a commit", allowed, "us"),
            median_figure(
                "a step : 3 round trips and a commit",
                [step / limit for step, limit in zip(steps, allowed, strict=True)],
                "",
                at_most=1,
            ),
        ],
    )


async def _measure(runner: str, folder: Path, options: Options) -> list[tuple[float, float, float]]:
    instances = options.pick(10, 5, 1)
    turns = await turns_of(STEPS)
    windows = []
    url = f"{runner}/noted/{STEPS}"
    async with new_engine(url, folder / "latency.db") as engine, pyreqwest_posts(f"{runner}/steps/{STEPS}") as post:
        with closing(_file_for_commits(folder / "bare.db")) as connection:
            await _steps(engine, runner, 2)
            for _ in range(options.pick(21, 7, 1)):
                steps = await _steps(engine, runner, instances)
                trips = [await _round_trip(post, turn) for _ in range(instances) for turn in turns]
                commits = [_commit(connection, number) for number in range(instances * STEPS)]
                windows.append((median(steps), median(trips), median(commits)))
    return windows


async def _steps(engine: WorkflowEngine, runner: str, instances: int) -> list[float]:
    for _ in range(instances):
        await engine.wait(await engine.start(WORKFLOW, INPUT))
    notes = [(key.rpartition(":")[0], monotonic) for key, monotonic, _ in arrivals(runner)]
    return [(later - earlier) / 1000 for (one, earlier), (other, later) in pairwise(notes) if one == other]


async def _round_trip(post: Post, turn: Turn) -> float:
    began = time.perf_counter_ns()
    await post(turn)
    return (time.perf_counter_ns() - began) / 1000


def _file_for_commits(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    settings: Iterable[str] = ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0")
    for setting in settings:
        connection.execute(f"PRAGMA {setting}")
    connection.executescript(
        """
        CREATE TABLE instances (key INTEGER PRIMARY KEY, id TEXT UNIQUE, status TEXT, revision INTEGER, step INTEGER);
        CREATE TABLE history (instance INTEGER, revision INTEGER, type TEXT, at INTEGER, body TEXT, payload BLOB);
        CREATE UNIQUE INDEX history_by_instance ON history (instance, revision);
        INSERT INTO instances VALUES (1, 'wf_bare', 'running', 0, 0);
        """
    )
    return connection


def _commit(connection: sqlite3.Connection, number: int) -> float:
    row = (
        "StepSucceeded",
        number,
        '{"key":"charge#7","name":"charge","position":7}' * 4,
        b'{"id":"ch_1","amount":4200}',
    )
    began = time.perf_counter_ns()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO history SELECT 1, coalesce(max(revision), 0) + 1, ?, ?, ?, ? FROM history WHERE instance = 1", row
    )
    connection.execute("UPDATE instances SET revision = revision + 1, step = ? WHERE id = 'wf_bare'", (number,))
    connection.execute("COMMIT")
    return (time.perf_counter_ns() - began) / 1000
