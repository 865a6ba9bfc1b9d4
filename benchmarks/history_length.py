"""What a step costs the engine when its instance already has many: it should be the same at 1,000 as at 10.

One instance alone, over HTTP. The records of an instance are sent with every turn, which grows with their number and
stands on lines of its own. Counted too: the rows that a transition writes.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.parts import DECIDE, DISPATCH, JOIN, READ, SEND, STORE, WRITER, Parts
from benchmarks.report import Figure, Report, median_figure
from benchmarks.surroundings import INPUT, WORKFLOW, Options, bare_runner, folder_on_disk, new_engine, run_in
from benchmarks.windows import median, ratios
from pylon_workflows.store import writes
from pylon_workflows.store.sealed_commits import OPERATIONS
from pylon_workflows.workflow_engine import WorkflowEngine

ENGINE_PARTS = (DECIDE, STORE, WRITER, DISPATCH)
SENDING_PARTS = (JOIN, SEND, READ)
WANTED_RATIO = 1.5

Costs = dict[str, list[float]]
"""Microseconds a step, by part, window by window."""


def run(options: Options) -> Report:
    """Measure instances of 10, 100 and 1,000 steps."""
    lengths = options.pick((10, 100, 1000), (10, 100, 1000), (2, 4))
    with bare_runner(options) as runner, folder_on_disk() as folder:
        costs = run_in(options.loop, _measure(runner, folder, lengths, options))
        counts = run_in(options.loop, _count(runner, folder, lengths[-1]))
    return Report(
        name="history_length",
        title="CPU time a step of one instance alone, by its number of steps",
        loop=options.loop,
        setting={"synchronous": "full", "windows": "interleaved"},
        figures=[*_figures(costs, lengths), *counts],
    )


async def _measure(runner: str, folder: Path, lengths: Sequence[int], options: Options) -> dict[int, Costs]:
    costs: dict[int, Costs] = {length: {} for length in lengths}
    for window in range(-1, options.pick(9, 3, 1)):  # the first one warms up and is dropped
        for length in lengths:
            spent = Parts()
            instances = max(1, lengths[-1] // length)
            with spent.measured():
                async with new_engine(f"{runner}/steps/{length}", folder / f"length-{length}.db") as engine:
                    await _drive(engine, instances)
            for part in (*ENGINE_PARTS, *SENDING_PARTS) if window >= 0 else ():
                microseconds = spent.spent[part] / 1000 / (instances * (length + 1))
                costs[length].setdefault(part, []).append(microseconds)
    return costs


async def _drive(engine: WorkflowEngine, instances: int) -> None:
    for _ in range(instances):
        await engine.wait(await engine.start(WORKFLOW, INPUT))


def _figures(costs: dict[int, Costs], lengths: Sequence[int]) -> list[Figure]:
    figures = []
    totals: dict[int, list[float]] = {}
    for length, parts in costs.items():
        totals[length] = [sum(windows) for windows in zip(*(parts[part] for part in ENGINE_PARTS), strict=True)]
        shares = ", ".join(f"{part} {median(parts[part]):.0f}" for part in ENGINE_PARTS)
        figures.append(
            median_figure(f"decide, store and dispatch, {length} steps", totals[length], "us a step", note=shares)
        )
    for length, parts in costs.items():
        sending = [sum(windows) for windows in zip(*(parts[part] for part in SENDING_PARTS), strict=True)]
        shares = ", ".join(f"{part} {median(parts[part]):.0f}" for part in SENDING_PARTS)
        figures.append(
            median_figure(f"joining and sending the records, {length} steps", sending, "us a step", note=shares)
        )
    first, last = lengths[0], lengths[-1]
    grown = ratios(totals[last], totals[first])
    figures.append(
        median_figure(f"decide, store and dispatch, {last} : {first} steps", grown, "", at_most=WANTED_RATIO)
    )
    alone = ratios(
        *(
            [total - writer for total, writer in zip(totals[length], costs[length][WRITER], strict=True)]
            for length in (last, first)
        )
    )
    figures.append(
        median_figure(f"the same without the store's thread, {last} : {first} steps", alone, "", at_most=WANTED_RATIO)
    )
    return figures


async def _count(runner: str, folder: Path, length: int) -> list[Figure]:
    """Count what the writer's connection says it has changed (`total_changes` counts what triggers do)."""
    database = folder / "counted.db"
    counted: Counter[str] = Counter()
    append = writes.append

    def counting(connection: sqlite3.Connection, appends: Sequence[Sequence[Any]]) -> Sequence[None]:
        before = connection.total_changes
        results = append(connection, appends)
        counted["rows"] += connection.total_changes - before
        counted["appends"] += len(appends)
        counted["transitions"] += sum(len(transitions) for transitions in appends)
        return results

    with patch.object(writes, "append", counting), patch.dict(OPERATIONS, {counting: OPERATIONS[append]}):
        async with new_engine(f"{runner}/steps/{length}", database) as engine:
            await _drive(engine, 1)
    with closing(sqlite3.connect(database)) as connection:
        ((history_rows,),) = connection.execute("SELECT count(*) FROM history WHERE type <> 'InstanceStarted'")
    updates = counted["rows"] - history_rows
    return [
        Figure(
            name="history rows a transition",
            value=history_rows / counted["transitions"],
            unit="",
            at_most=1,
            at_least=1,
        ),
        Figure(name="instance updates a transition", value=updates / counted["transitions"], unit="", at_most=2),
        Figure(
            name="instance updates a commit of one answer",
            value=updates / counted["appends"],
            unit="",
            at_most=2,
            at_least=1,
            note="a second one writes indexed columns, where the status changes",
        ),
    ]
