"""Time that the test moves."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock that stands still until the test moves it."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        """The time of day that the test has set."""
        return self._now

    def monotonic(self) -> float:
        """The seconds by which the test has advanced the clock."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced the clock that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), sleeper))
        await sleeper

    def advance(self, length: timedelta | float) -> None:
        """Let time pass (a number is seconds): whoever has slept long enough goes on."""
        seconds = length / timedelta(seconds=1) if isinstance(length, timedelta) else length
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            sleeper = heapq.heappop(self._sleepers)[2]
            if not sleeper.done():
                sleeper.set_result(None)

    def jump(self, length: timedelta) -> None:
        """Set the time of day forward or back, as an operator would; nobody has waited any longer."""
        self._now += length
