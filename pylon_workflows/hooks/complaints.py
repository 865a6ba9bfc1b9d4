"""Refusals told to the log: one a minute and how many others there were, so that nobody can fill a disk."""

import logging

from pylon_workflows.ports import Clock

_EVERY_S = 60.0

_logger = logging.getLogger(__name__)


class Complaints:
    """What is refused at one door, which `door` names."""

    def __init__(self, door: str, clock: Clock) -> None:
        self._door = door
        self._clock = clock
        self._next_at: float | None = None
        self._untold = 0

    def tell(self, reason: Exception) -> None:
        """Log a refusal, or count it."""
        now = self._clock.monotonic()
        if self._next_at is not None and now < self._next_at:
            self._untold += 1
            return
        others = f" (and {self._untold} others since the last was told)" if self._untold else ""
        _logger.warning("webhooks, %s: a delivery was refused: %s%s", self._door, reason, others)
        self._next_at, self._untold = now + _EVERY_S, 0
