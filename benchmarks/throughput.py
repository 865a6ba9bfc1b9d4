"""Durable steps a second, against what the bare HTTP clients do with the same requests to the same runner.

A window is so many instances at a time, each started, driven through its ten steps and its end, and waited for, so
that every step counted has been committed. Ten steps are eleven turns and a start: the bare clients have only turns.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from benchmarks.bare_clients import Post, aiohttp_posts, post_all, pyreqwest_posts, turns_of
from benchmarks.report import Figure, Report, median_figure
from benchmarks.surroundings import INPUT, WORKFLOW, Options, bare_runner, folder_on_disk, new_engine, run_in
from benchmarks.windows import QUIET, Contender, Window, Work, interleaved, median, ratios, sized
from pylon_workflows.workflow_engine import WorkflowEngine

STEPS = 10
AIOHTTP_AT = 64
WANTED = {"asyncio": 0.35, "uvloop": 0.25}
WANTED_OF_AIOHTTP = 0.7

Rounds = list[dict[str, Window]]


def run(options: Options) -> Report:
    """Measure at 1, 64 and 512 instances at a time."""
    figures: list[Figure] = []
    with bare_runner(options) as runner, folder_on_disk() as folder:
        for at_a_time in options.pick((1, 64, 512), (64,), (2,)):
            rounds = run_in(options.loop, _measure(f"{runner}/steps/{STEPS}", folder, at_a_time, options))
            figures += _figures(rounds, at_a_time, options.loop)
    return Report(
        name="throughput",
        title=f"durable steps a second, instances of {STEPS} steps, against bare clients",
        loop=options.loop,
        setting={
            "synchronous": "full",
            "steps": STEPS,
            "windows": f"interleaved, those in which others used at most {QUIET:.0%} of the machine",
        },
        figures=figures,
    )


async def _measure(url: str, folder: Path, at_a_time: int, options: Options) -> Rounds:
    turns = await turns_of(STEPS)
    window_s = options.pick(0.6, 0.5, 0.05)

    def posts(post: Post) -> Work:
        return lambda rounds: post_all(post, turns, tasks=at_a_time, rounds=rounds)

    async with contextlib.AsyncExitStack() as stack:
        engine = await stack.enter_async_context(new_engine(url, folder / f"throughput-{at_a_time}.db"))
        contenders: dict[str, Contender] = {
            "engine": await sized(lambda rounds: drive(engine, at_a_time, rounds), window_s),
            "pyreqwest": await sized(posts(await stack.enter_async_context(pyreqwest_posts(url))), window_s),
        }
        if at_a_time == AIOHTTP_AT or options.is_tiny:
            bare = await stack.enter_async_context(aiohttp_posts(url))
            contenders["aiohttp"] = await sized(posts(bare), window_s)
        return await interleaved(contenders, windows=options.pick(11, 5, 1))


async def drive(engine: WorkflowEngine, at_a_time: int, rounds: int, input: Any = INPUT, *, steps: int = STEPS) -> int:
    """Take that many instances at a time through all their steps, so many times; returns how many steps that were."""

    async def one_after_the_other() -> None:
        for _ in range(rounds):
            await engine.wait(await engine.start(WORKFLOW, input))

    await asyncio.gather(*(one_after_the_other() for _ in range(at_a_time)))
    return at_a_time * rounds * steps


def _figures(rounds: Rounds, at_a_time: int, loop: str) -> list[Figure]:
    where = f"{at_a_time} at a time"
    is_required = at_a_time == AIOHTTP_AT
    names = sorted(rounds[0], key=("engine", "pyreqwest", "aiohttp").index)
    rates = {name: [windows[name].per_s for windows in rounds] for name in names}
    others = median([window.others for windows in rounds for window in windows.values()])
    figures = [
        median_figure(f"durable steps, {where}", rates["engine"], "/s", note=f"others {others:.0%}, of {len(rounds)}")
    ]
    for client, at_least in (("pyreqwest", WANTED[loop]), ("aiohttp", WANTED_OF_AIOHTTP)):
        if client in rates:
            figures += [
                median_figure(f"bare {client}, {where}", rates[client], "/s"),
                median_figure(
                    f"steps : {client} requests, {where}",
                    ratios(rates["engine"], rates[client]),
                    "",
                    at_least=at_least if is_required else None,
                ),
            ]
    figures += [
        median_figure(f"CPU of all threads, {name}, {where}", [windows[name].cpu_us for windows in rounds], "us each")
        for name in names
    ]
    return figures
