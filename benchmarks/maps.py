"""What an item of a `map` costs when there are many: it should be the same among 10,000 as among 100.

One instance alone, over HTTP, 32 items in flight. Everything counts: the start, the turns before and after the group,
and the output that is put together in the end.
"""

import time
from pathlib import Path

from benchmarks.report import Report, median_figure
from benchmarks.surroundings import INPUT, WORKFLOW, Options, bare_runner, folder_on_disk, new_engine, run_in
from benchmarks.windows import ratios

WANTED_RATIO = 1.5

Costs = dict[int, list[float]]
"""Microseconds an item, by the number of items, window by window."""


def run(options: Options) -> Report:
    """Measure maps over 100 and 10,000 items."""
    few, many = options.pick((100, 10_000), (100, 10_000), (3, 30))
    windows = options.pick(7, 3, 1)
    with bare_runner(options) as runner, folder_on_disk() as folder:
        elapsed, spent = run_in(options.loop, _measure(runner, folder, (few, many), windows))
    figures = []
    for name, costs in (("time", elapsed), ("CPU time of the engine", spent)):
        figures += [median_figure(f"{name}, {count:,} items", costs[count], "us an item") for count in (few, many)]
        grown = ratios(costs[many], costs[few])
        figures.append(median_figure(f"{name}, {many:,} : {few:,} items", grown, "", at_most=WANTED_RATIO))
    return Report(
        name="map",
        title="an item of a map, by the number of items",
        loop=options.loop,
        setting={"synchronous": "full", "max_in_flight": 32, "windows": "interleaved"},
        figures=figures,
    )


async def _measure(runner: str, folder: Path, counts: tuple[int, int], windows: int) -> tuple[Costs, Costs]:
    elapsed: Costs = {count: [] for count in counts}
    spent: Costs = {count: [] for count in counts}
    for window in range(-1, windows):  # the first one warms up and is dropped
        for count in counts[:: 1 if window % 2 else -1]:
            instances = counts[-1] // count
            async with new_engine(f"{runner}/map/{count}", folder / f"map-{count}.db") as engine:
                began, cpu_began = time.perf_counter(), time.process_time()
                for _ in range(instances):
                    instance = await engine.wait(await engine.start(WORKFLOW, INPUT))
                    assert instance.status == "completed", instance.error
                took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
            if window >= 0:
                elapsed[count].append(took_s / (instances * count) * 1e6)
                spent[count].append(cpu_s / (instances * count) * 1e6)
    return elapsed, spent
