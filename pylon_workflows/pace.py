"""How many places may be taken, by how late the event loop is (PROMISES.md P20, docs/decisions/0016-fairness.md).

Pure: numbers in, a number out. Its laws:

1. The loop is *in line* when it is later than LATE_S and that is a good part of what a turn takes: what there is in
   flight waits for the loop. Then fewer places serve everybody sooner, and as many turns end.
2. The loop is *at hand* when it is hardly late, or when turns take so much longer that they wait for the runner and not
   for the loop. Then more places cost nothing.
3. Places shrink to half at most with each look, and grow by a quarter: what is too many is gone within half a second,
   and what slow turns want is there within one.
4. There are never fewer than FLOOR, so many as keep the group commit fed, nor more than the engine may have.
5. Where only one workflow is known all places are there: no other waits behind it, and stepping back costs throughput.
"""

import statistics
from collections.abc import Callable, Sequence

FLOOR = 64
LATE_S = 0.004
"""Twice what the loop is late with 64 short turns in flight, and a quarter of it with 384 (decision 0016)."""

LOOK_S = 0.02
LOOKS = 5
"""So many measurements, LOOK_S apart, make one look; the median, for a single pause is no line."""

_TURN_IN_LINE = 15
"""A turn passes the loop some five times. One that takes this many times the lag is in line for a third of it."""

_MOST_SHRINKING = 0.5
_GROWTH = 1.25


class Pace:
    """The number of `places` that may be taken now, at most `most`: where it begins."""

    def __init__(self, most: int, *, is_shared: Callable[[], bool]) -> None:
        self.places = self._most = most
        self._is_shared = is_shared

    def is_to_be_kept(self, taken: int) -> bool:
        """Whether the loop is to be looked at with so many places taken: no more than the floor say nothing."""
        return self.places < self._most or (taken > FLOOR and self._is_shared())

    def look(self, lags_s: Sequence[float], *, taken: int, turns: int, over_s: float) -> None:
        """How late the loop was each time, with so many places taken, while so many turns ended in `over_s`."""
        lag_s = statistics.median(lags_s)
        turn_s = taken * over_s / turns if turns else float("inf")
        if lag_s <= LATE_S / 2 or turn_s >= 2 * _TURN_IN_LINE * lag_s:
            self.places = min(self._most, int(self.places * _GROWTH) + 1)
        elif lag_s > LATE_S and turn_s < _TURN_IN_LINE * lag_s and taken > FLOOR:
            fewer = min(self.places, taken) * max(_MOST_SHRINKING, LATE_S / lag_s)
            self.places = max(FLOOR, int(fewer))
