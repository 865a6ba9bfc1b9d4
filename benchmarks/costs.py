"""Where the CPU time of a step goes at 64 instances at a time: by part on the event loop's thread, and by thread.

The parts are measured by wrapping (`parts.py`), which itself costs some microseconds a step; they stand under "event
loop and the rest", as does what has no part of its own. What the threads take is read from the kernel (Linux only).
"""

import threading
from collections import Counter
from pathlib import Path

from benchmarks.parts import DECIDE, DISPATCH, JOIN, READ, SEND, START, STORE, WRITER, Parts
from benchmarks.report import Figure, Report, median_figure
from benchmarks.surroundings import Options, bare_runner, folder_on_disk, new_engine, run_in
from benchmarks.throughput import STEPS, drive

ON_THE_LOOP = (DISPATCH, DECIDE, STORE, JOIN, SEND, READ, START)
REST, LOOP, READERS, OTHERS = "event loop and the rest", "event loop", "readers", "others"

Microseconds = dict[str, list[float]]


def run(options: Options) -> Report:
    """Measure windows without wrapping, for the threads, and with it, for the parts."""
    threads: Microseconds = {}
    parts: Microseconds = {}
    with bare_runner(options) as runner, folder_on_disk() as folder:
        run_in(options.loop, _measure(f"{runner}/steps/{STEPS}", folder, options, threads, parts))
    figures: list[Figure] = [median_figure(f"thread: {name}", found, "us a step") for name, found in threads.items()]
    figures += [median_figure(f"on the loop: {name}", found, "us a step") for name, found in parts.items()]
    return Report(
        name="costs",
        title="CPU time a step, by thread and by part",
        loop=options.loop,
        setting={"synchronous": "full", "at_a_time": options.pick(64, 64, 2), "steps": STEPS},
        figures=figures,
    )


async def _measure(url: str, folder: Path, options: Options, threads: Microseconds, parts: Microseconds) -> None:
    at_a_time, rounds = options.pick(64, 64, 2), options.pick(4, 2, 1)
    for window in range(-1, options.pick(9, 3, 1)):  # the first one warms up and is dropped
        async with new_engine(url, folder / "costs.db") as engine:
            before = _thread_times()
            steps = await drive(engine, at_a_time, rounds)
            spent = _thread_times() - before
        measured = Parts()
        with measured.measured():
            async with new_engine(url, folder / "costs.db") as engine:
                before = _thread_times()
                await drive(engine, at_a_time, rounds)
                on_the_loop = (_thread_times() - before)[LOOP]
        if window < 0:
            continue
        for thread in (LOOP, WRITER, READERS, OTHERS):
            threads.setdefault(thread, []).append(spent[thread] / steps)
        for part in ON_THE_LOOP:
            parts.setdefault(part, []).append(measured.spent[part] / 1000 / steps)
        rest = on_the_loop - sum(measured.spent[part] for part in ON_THE_LOOP) / 1000
        parts.setdefault(REST, []).append(rest / steps)


def _thread_times() -> "Counter[str]":
    """Microseconds of CPU time so far, by what a thread is for; nothing where the kernel does not tell."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    times: Counter[str] = Counter()
    for folder in Path("/proc/self/task").glob("*"):
        name = names.get(int(folder.name), "")
        if name == "MainThread":
            kind = LOOP
        else:
            kind = WRITER if "writer" in name else READERS if "worker" in name or "aiosqlite" in name else OTHERS
        times[kind] += int((folder / "schedstat").read_text().split()[0]) // 1000
    return times
