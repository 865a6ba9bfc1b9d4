"""The system's clocks."""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """Wall clock for due times, monotonic clock for waiting."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        await asyncio.sleep(seconds)
