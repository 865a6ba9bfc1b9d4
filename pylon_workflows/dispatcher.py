"""Drives runnable instances: each one by one task at most, so many of them at a time, in the order in which they came.

It knows ids only. What does not fit its queue stays in the store and is fetched when there is room again; what a start
finds in the store comes the same way.
"""

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from pylon_workflows.ports import Clock
from pylon_workflows.runner_health import RunnerHealth

_log = logging.getLogger(__name__)

_PAGE = 1000
_MOST_CUT_SHORT = 100
"""So many postponements that were cut short, beside as many as there are others, are kept until their time comes."""

Drive = Callable[[str], Awaitable[float | None]]
"""Take turns for an instance until it has to wait; returns seconds to postpone it, or None."""

Backlog = Callable[[str | None, int], Awaitable[Sequence[str]]]
"""The next runnable ids after the one given, at most so many."""


class Dispatcher:
    """Call `open`, then `offer` ids; `drain` before leaving."""

    def __init__(
        self,
        drive: Drive,
        backlog: Backlog,
        health: RunnerHealth,
        clock: Clock,
        *,
        max_in_flight: int,
        max_queued: int,
    ) -> None:
        self._drive = drive
        self._backlog = backlog
        self._health = health
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._queue: deque[str] = deque()
        self._queued: set[str] = set()
        self._driving: dict[str, asyncio.Task[None]] = {}
        self._probe: str | None = None
        self._postponed: list[tuple[float, str]] = []
        self._postponed_until: dict[str, float] = {}
        self._has_backlog = False
        self._refill: asyncio.Task[None] | None = None
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0.0
        self._is_open = False

    @property
    def is_crowded(self) -> bool:
        """Whether one that has had its turn should step back: another waits for a place, or no turn may begin."""
        return bool(self._queue) or self._has_backlog or not self._is_open

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being driven or about to be."""
        return not (self._queue or self._driving or self._postponed_until or self._has_backlog or self._refill)

    def open(self) -> None:
        """Begin with what the store holds."""
        self._is_open = True
        self._has_backlog = True
        self._fill()

    def offer(self, instance_id: str) -> None:
        """An instance has become runnable. One that is being driven goes on by itself, a postponed one waits."""
        if not self._is_open or instance_id in self._queued or instance_id in self._driving:
            return
        if instance_id in self._postponed_until:
            return
        if len(self._queue) >= self._max_queued:
            self._has_backlog = True
            return
        self._queued.add(instance_id)
        self._queue.append(instance_id)
        self._fill()

    def changed(self, instance_id: str, *, is_runnable: bool, is_new: bool) -> None:
        """An instance has been committed. A postponement does not outlive the instance's being runnable.

        One that ends while it is postponed is driven once more, for the drive to forget it.
        """
        if is_new or not is_runnable:
            self.hurry(instance_id)
        if is_runnable:
            self.offer(instance_id)

    def hurry(self, instance_id: str) -> None:
        """Drive it now, if it is postponed."""
        if self._postponed_until.pop(instance_id, None) is not None:
            self.offer(instance_id)

    async def drain(self, grace_s: float) -> None:
        """Begin nothing more, let what is being driven finish within `grace_s`, then cut it off.

        Cancelled, it cuts off at once.
        """
        self._is_open = False
        for task in (self._refill, self._alarm):
            if task is not None:
                task.cancel()
        driving = list(self._driving.values())
        try:
            if driving:
                await asyncio.wait(driving, timeout=grace_s)
        finally:
            for task in driving:
                task.cancel()
            others = [task for task in (self._refill, self._alarm) if task is not None]
            await asyncio.gather(*driving, *others, return_exceptions=True)
            self._refill = self._alarm = None
            for held in (self._queue, self._queued, self._driving, self._postponed, self._postponed_until):
                held.clear()

    def _fill(self) -> None:
        while self._is_open and self._queue and len(self._driving) < self._room():
            instance_id = self._queue.popleft()
            self._queued.discard(instance_id)
            self._probe = instance_id if self._health.is_down else None
            self._driving[instance_id] = asyncio.create_task(self._run(instance_id), name=f"drive {instance_id}")
        if self._is_open and self._has_backlog and self._refill is None and len(self._queue) <= self._max_queued // 2:
            self._refill = asyncio.create_task(self._fetch_backlog(), name="fetch runnable instances")

    def _room(self) -> int:
        if not self._health.is_down:
            return self._max_in_flight
        wait_s = self._health.seconds_until_probe(self._clock.monotonic())
        if wait_s > 0:
            self._set_alarm(self._clock.monotonic() + wait_s)
            return 0
        # One probe at a time, beside turns that began before: those may take hours.
        return 0 if self._probe in self._driving else min(len(self._driving) + 1, self._max_in_flight)

    async def _run(self, instance_id: str) -> None:
        postpone_s: float | None = None
        is_to_repeat = False
        try:
            postpone_s = await self._drive(instance_id)
            is_to_repeat = postpone_s == 0
        except Exception:
            _log.exception("%s: driving failed; tried again in a minute", instance_id)
            postpone_s = 60.0
        finally:
            del self._driving[instance_id]
            if is_to_repeat:
                self.offer(instance_id)
            elif postpone_s is not None and self._is_open:
                self._postpone(instance_id, self._clock.monotonic() + postpone_s)
            self._fill()

    def _postpone(self, instance_id: str, at: float) -> None:
        self._postponed_until[instance_id] = at
        heapq.heappush(self._postponed, (at, instance_id))
        if len(self._postponed) > 2 * len(self._postponed_until) + _MOST_CUT_SHORT:
            self._postponed = [(at, instance_id) for instance_id, at in self._postponed_until.items()]
            heapq.heapify(self._postponed)
        self._set_alarm(at)

    async def _fetch_backlog(self) -> None:
        after: str | None = None
        self._has_backlog = False  # an offer that finds no room, one of these or another, sets it again
        try:
            while not self._has_backlog:
                page = await self._backlog(after, _PAGE)
                for instance_id in page:
                    self.offer(instance_id)
                if len(page) < _PAGE:
                    break
                after = page[-1]
        except Exception:
            _log.exception("runnable instances could not be read; tried again")
            self._has_backlog = True
            self._set_alarm(self._clock.monotonic() + 1.0)
            self._refill = None
        else:
            self._refill = None
            self._fill()

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            if self._alarm_at <= at:
                return
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.create_task(self._ring(at), name="offer postponed instances")

    async def _ring(self, at: float) -> None:
        await self._clock.sleep(max(0.0, at - self._clock.monotonic()))
        self._alarm = None
        now = self._clock.monotonic()
        while self._postponed and self._postponed[0][0] <= now:
            until, instance_id = heapq.heappop(self._postponed)
            if self._postponed_until.get(instance_id) == until:  # or else it was cut short
                self.hurry(instance_id)
        if self._postponed:
            self._set_alarm(self._postponed[0][0])
        self._fill()
