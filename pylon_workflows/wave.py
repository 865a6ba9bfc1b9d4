"""Which member of an open group is to be called next (PROTOCOL.md section 5). Pure: times in, indexes out.

A member costs the same among ten thousand as among a hundred: each is looked at once, and again when its time has come.
"""

import heapq
from datetime import datetime, timedelta

from pylon_workflows.core.groups import Group
from pylon_workflows.deferrals import Deferrals


class Wave:
    """The calls that are left of one group. What `next` has given out is given out again only after `retry` or `hold`.

    Retries are times of day, as the history has them; a member that was put off is held by the monotonic clock, the
    last of them for that `reason`.
    """

    __slots__ = ("_held", "_next", "_retries", "_started", "deferrals", "reason")

    def __init__(self, group: Group) -> None:
        self._started = group.started
        self._next = 0
        self._retries: list[tuple[datetime, int]] = []
        self._held: list[tuple[float, int]] = []
        self.deferrals = Deferrals()
        self.reason = ""

    def is_of(self, group: Group) -> bool:
        """Whether it is this group's, in whatever state."""
        return self._started is group.started

    def next(self, group: Group, now: datetime, monotonic: float) -> int | None:
        """The member to be called now; None when there is none."""
        while self._retries and (self._retries[0][0] <= now or group.retry_at(self._retries[0][1]) is None):
            if group.is_unfinished(index := heapq.heappop(self._retries)[1]):
                return index
        while self._held and self._held[0][0] <= monotonic:
            if group.is_unfinished(index := heapq.heappop(self._held)[1]):
                return index
        while self._next < group.total:
            index = self._next
            self._next += 1
            if group.is_unfinished(index):
                retry_at = group.retry_at(index)
                if retry_at is None or retry_at <= now:
                    return index
                self.retry(index, retry_at)
        return None

    def retry(self, index: int, at: datetime) -> None:
        """Give it out again at that time."""
        heapq.heappush(self._retries, (at, index))

    def hold(self, index: int, until: float) -> None:
        """Give it out again then."""
        heapq.heappush(self._held, (until, index))

    def seconds_until_next(self, now: datetime, monotonic: float) -> float | None:
        """How long until the next one that waits is to be called; None when none waits."""
        waits = []
        if self._retries:
            waits.append((self._retries[0][0] - now) / timedelta(seconds=1))
        if self._held:
            waits.append(self._held[0][0] - monotonic)
        return max(0.0, min(waits)) if waits else None
