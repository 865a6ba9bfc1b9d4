"""Durable steps a second when a runner answers with streams, against a bare client's plain requests.

A window is so many instances at a time, each started, driven through its steps in one streamed turn, and waited for, so
that every step counted has been committed. The bare client sends plain requests to the same process, one a step.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bare_clients import post_all, pyreqwest_posts, turns_of
from benchmarks.report import Figure, Report, median_figure
from benchmarks.surroundings import (
    WORKFLOW,
    Options,
    bare_runner,
    folder_on_disk,
    new_engine,
    run_in,
    runner_process,
)
from benchmarks.throughput import drive
from benchmarks.windows import QUIET, Contender, Window, interleaved, median, ratios, sized

STEPS = 100
AT_A_TIME = 64
PLAIN_STEPS = 10
WANTED = 2.0

PREPARED = "prepared lines"
KIT = Path("runner_protocol/typescript/dist/index.js")

Rounds = list[dict[str, Window]]


def run(options: Options) -> Report:
    """Measure prepared lines first, then each kit that is there."""
    figures: list[Figure] = []
    with bare_runner(options) as plain, folder_on_disk() as folder:
        for name, url in _runners(options, plain):
            with url as answering:
                rounds = run_in(options.loop, _measure(answering, f"{plain}/steps/{PLAIN_STEPS}", folder, options))
            figures += _figures(rounds, name, options.loop)
    return Report(
        name="streams",
        title=f"durable steps a second, one streamed answer for {STEPS} steps, against a bare client's plain requests",
        loop=options.loop,
        setting={
            "synchronous": "full",
            "at_a_time": options.pick(AT_A_TIME, AT_A_TIME, 2),
            "steps": STEPS,
            "windows": f"interleaved, those in which others used at most {QUIET:.0%} of the machine",
        },
        figures=figures,
    )


def _runners(options: Options, plain: str) -> Iterator[tuple[str, contextlib.AbstractContextManager[str]]]:
    yield PREPARED, contextlib.nullcontext(f"{plain}/stream/{STEPS}")
    yield "the Python kit", runner_process([sys.executable, "-m", "benchmarks.kit_runner"], options)
    if KIT.exists() and (node := shutil.which("node")) is not None:
        yield "the TypeScript kit", runner_process([node, "benchmarks/kit_runner.mjs", WORKFLOW], options)


async def _measure(streaming: str, plain: str, folder: Path, options: Options) -> Rounds:
    turns = await turns_of(PLAIN_STEPS)
    window_s = options.pick(0.6, 0.5, 0.05)
    at_a_time = options.pick(AT_A_TIME, AT_A_TIME, 2)
    async with contextlib.AsyncExitStack() as stack:
        engine = await stack.enter_async_context(new_engine(streaming, folder / "streams.db"))
        post = await stack.enter_async_context(pyreqwest_posts(plain))
        contenders: dict[str, Contender] = {
            "engine": await sized(lambda rounds: drive(engine, at_a_time, rounds, steps=STEPS), window_s),
            "pyreqwest": await sized(lambda rounds: post_all(post, turns, tasks=at_a_time, rounds=rounds), window_s),
        }
        return await interleaved(contenders, windows=options.pick(11, 5, 1))


def _figures(rounds: Rounds, name: str, loop: str) -> list[Figure]:
    rates = {who: [windows[who].per_s for windows in rounds] for who in ("engine", "pyreqwest")}
    others = median([window.others for windows in rounds for window in windows.values()])
    return [
        median_figure(f"durable steps, {name}", rates["engine"], "/s", note=f"others {others:.0%}, of {len(rounds)}"),
        median_figure(f"bare pyreqwest beside {name}", rates["pyreqwest"], "/s"),
        median_figure(
            f"steps : pyreqwest requests, {name}",
            ratios(rates["engine"], rates["pyreqwest"]),
            "",
            at_least=WANTED if name == PREPARED and loop == "asyncio" else None,
        ),
        median_figure(f"CPU of all threads, {name}", [windows["engine"].cpu_us for windows in rounds], "us a step"),
    ]
