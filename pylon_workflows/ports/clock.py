"""Time."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time, passed in and never asked for elsewhere: wall clock for due times, monotonic for waiting."""

    def now(self) -> datetime:
        """The time of day, in UTC. It may jump either way."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long on the monotonic clock; nothing or less yields once."""
        ...
