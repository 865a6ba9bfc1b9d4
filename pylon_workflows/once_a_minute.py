"""What any caller can make the log say, it says once a minute, so that nobody can fill a disk."""

from collections.abc import Callable

_EVERY_S = 60.0


class OnceAMinute:
    """For lines of one kind. `now` is a clock in seconds that never jumps."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._next_at: float | None = None
        self._untold = 0

    def turn(self) -> str | None:
        """What to write behind the line that is due, where others were not told; None when none is due yet."""
        now = self._now()
        if self._next_at is not None and now < self._next_at:
            self._untold += 1
            return None
        others = f" (and {self._untold} others since the last was told)" if self._untold else ""
        self._next_at, self._untold = now + _EVERY_S, 0
        return others
