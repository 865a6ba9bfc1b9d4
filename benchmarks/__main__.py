"""Run benchmarks by name, or all of them: `python -m benchmarks [NAME ...] [--json FILE] [--quick] [--loop LOOP]`."""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks import (
    costs,
    events,
    history_length,
    latency,
    maps,
    sleepers,
    streams,
    throughput,
    timers,
    webhooks,
)
from benchmarks.machine_load import MachineLoad
from benchmarks.report import Report, machine, show
from benchmarks.surroundings import FOLDER, Options


class Benchmark(NamedTuple):
    """What to run, and in which event loops where nobody says."""

    run: Callable[[Options], Report]
    loops: tuple[str, ...] = ("asyncio",)


BENCHMARKS = {
    "throughput": Benchmark(throughput.run, loops=("asyncio", "uvloop")),
    "streams": Benchmark(streams.run),
    "latency": Benchmark(latency.run),
    "costs": Benchmark(costs.run),
    "history_length": Benchmark(history_length.run),
    "map": Benchmark(maps.run),
    "events": Benchmark(events.run),
    "webhooks": Benchmark(webhooks.run),
    "timers": Benchmark(timers.run),
    "sleepers": Benchmark(sleepers.run),
}


def main(arguments: list[str] | None = None) -> int:
    """Run, print each report as soon as it is there, and write all of them as JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}; all where none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the reports there too")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller windows")
    parser.add_argument(
        "--tiny", action="store_true", help="just enough to show that it works; the figures mean nothing"
    )
    parser.add_argument("--free", action="store_true", help="do not give the runner a core of its own")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "both"), help="where nobody says: both, for throughput")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    FOLDER.mkdir(exist_ok=True)
    on = machine(FOLDER)
    reports: list[Report] = []
    size = Options(is_quick=options.quick, is_tiny=options.tiny, is_free=options.free)
    on["runner"] = "on any core" if options.free else "on a core of its own"
    for name in options.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        chosen = ("asyncio", "uvloop") if options.loop == "both" else (options.loop,)
        for loop in benchmark.loops if options.loop is None else chosen:
            load = MachineLoad.now()
            report = benchmark.run(replace(size, loop=loop))
            others = f"{MachineLoad.now().others_since(load):.0%} of the machine"
            reports.append(replace(report, setting={**report.setting, "others_used": others}))
            show(reports[-1], on)
    if options.json is not None:
        options.json.write_text(
            json.dumps({"machine": on, "reports": [report.as_json() for report in reports]}, indent=2)
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
