"""Contenders measured in turns, since a machine's speed wanders: only what ran side by side is compared."""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.machine_load import MachineLoad

QUIET = 0.15
"""A round in which other programs used more than this share of the machine says little."""

_TRIES = 4

Work = Callable[[int], Awaitable[int]]
"""Do so many rounds of work and return how many things were done."""


class Contender(NamedTuple):
    """Work that can be repeated, and how many rounds of it make a window."""

    work: Work
    rounds: int


class Window(NamedTuple):
    """What one contender did in one window.

    `per_s` things a second, at `cpu_us` of this process's CPU time each, while others used a share of the machine.
    """

    per_s: float
    cpu_us: float
    others: float


async def sized(work: Work, window_s: float) -> Contender:
    """Warm it up, and find how many rounds fill a window."""
    rounds = 1
    while True:
        began = time.perf_counter()
        await work(rounds)
        took_s = time.perf_counter() - began
        if took_s >= window_s / 4:
            return Contender(work, max(1, round(rounds * window_s / took_s)))
        rounds = max(rounds + 1, min(rounds * 10, round(rounds * window_s / took_s / 2)))


async def interleaved(contenders: Mapping[str, Contender], *, windows: int) -> list[dict[str, Window]]:
    """Rounds in which each contender has a window; every second one runs backwards, so that a drift favours none.

    Rounds go on until that many were quiet, or four times as many were not. Those that were are returned; all of them
    where fewer than three were.
    """
    rounds: list[dict[str, Window]] = []
    while len(rounds) < windows * _TRIES and len(quiet(rounds)) < windows:
        backwards = len(rounds) % 2 == 1
        names = list(contenders)[:: -1 if backwards else 1]
        rounds.append({name: await _window(*contenders[name]) for name in names})
    return quiet(rounds) if len(quiet(rounds)) >= min(windows, 3) else rounds


def quiet(rounds: Sequence[Mapping[str, Window]]) -> list[dict[str, Window]]:
    """The rounds in which others used little of the machine."""
    return [dict(windows) for windows in rounds if all(window.others <= QUIET for window in windows.values())]


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """One over the other, window by window; their median is what counts."""
    return [one / other for one, other in zip(of, to, strict=True)]


def median(values: Sequence[float]) -> float:
    """The one in the middle."""
    return statistics.median(values)


async def _window(work: Work, rounds: int) -> Window:
    load, began, cpu_began = MachineLoad.now(), time.perf_counter(), time.process_time()
    done = await work(rounds)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return Window(done / took_s, cpu_s / done * 1e6, MachineLoad.now().others_since(load))
