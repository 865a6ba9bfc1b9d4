"""Contenders measured in turns, since a machine's speed wanders: only what ran side by side is compared."""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

Work = Callable[[int], Awaitable[int]]
"""Do so many rounds of work and return how many things were done."""


class Contender(NamedTuple):
    """Work that can be repeated, and how many rounds of it make a window."""

    work: Work
    rounds: int


class Window(NamedTuple):
    """What one contender did in one window: how many a second, and this process's CPU time for each."""

    per_s: float
    cpu_us: float


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


async def interleaved(contenders: Mapping[str, Contender], *, windows: int) -> dict[str, list[Window]]:
    """What each does, window by window; every second one runs backwards, so that a drift favours none."""
    found: dict[str, list[Window]] = {name: [] for name in contenders}
    for window in range(windows):
        for name in list(contenders)[:: -1 if window % 2 else 1]:
            work, rounds = contenders[name]
            began, cpu_began = time.perf_counter(), time.process_time()
            done = await work(rounds)
            took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
            found[name].append(Window(done / took_s, cpu_s / done * 1e6))
    return found


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """One over the other, window by window; their median is what counts."""
    return [one / other for one, other in zip(of, to, strict=True)]


def median(values: Sequence[float]) -> float:
    """The one in the middle."""
    return statistics.median(values)
