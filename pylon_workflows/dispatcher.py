"""Drives runnable instances: each one by one task at most, so many of them at a time, fairly by workflow.

How many that is follows the event loop's lag (`Pace`), which is measured only while it could matter.

It knows ids and the names of their workflows only. What does not fit its queue stays in the store and is fetched,
workflow by workflow, when there is room again; what a start finds in the store comes the same way.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

from pylon_workflows.call_places import CallPlaces
from pylon_workflows.explain.shapes import Place
from pylon_workflows.fair_queue import FairQueue
from pylon_workflows.logs import without_request
from pylon_workflows.pace import LOOK_S, LOOKS, Pace
from pylon_workflows.ports import Clock, RunnerWait, Store
from pylon_workflows.postponements import Postponements
from pylon_workflows.runner_health import RunnerHealth

_log = logging.getLogger(__name__)

_PAGE = 1000

Drive = Callable[[str, str], Awaitable[float | None]]
"""Take turns for an instance of a workflow until it has to wait; returns seconds to postpone it, or None.

Raises AnotherWorkflow where its id is that of another workflow's instance by now.
"""


class AnotherWorkflow(Exception):  # noqa: N818  no error: it says under which `name` to drive it
    """An instance was deleted, and one of this workflow was started with its id."""

    def __init__(self, name: str) -> None:
        self.name = name


class Dispatcher:
    """Call `open`, then `offer` ids; `drain` before leaving."""

    def __init__(
        self,
        drive: Drive,
        store: Store,
        health: RunnerHealth,
        clock: Clock,
        *,
        queue: FairQueue,
        pace: Pace,
        calls: CallPlaces,
    ) -> None:
        self._drive = drive
        self._store = store
        self._health = health
        self._clock = clock
        self._queue = queue
        self._pace = pace
        self._calls = calls
        self._turns = 0
        self._driving: dict[str, asyncio.Task[None]] = {}
        self._probes: dict[str, str] = {}
        self._recoveries = 0
        self._postponed = Postponements()
        self._unread: set[str] = set()
        self._to_read: dict[str | None, None] = {}
        self._reading: asyncio.Task[None] | None = None
        self._pacing: asyncio.Task[None] | None = None
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0.0
        self._is_open = False
        self._context = without_request()

    def is_crowded(self, name: str, turns: int = 1) -> bool:
        """Whether one of this workflow that has had its turns should step back: its place is wanted, or all must end.

        So it is when a runner answers again, too: who waits for that is let go when this one steps back.
        """
        self._turns += turns
        if self._calls.taken:
            self._keep_pace_where_needed()
        return not self._is_open or self._recoveries != self._health.recoveries or self._queue.is_crowded(name)

    @property
    def turns_in_flight(self) -> int:
        """How many instances are being driven."""
        return len(self._driving)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being driven or about to be."""
        return not (self._queue or self._driving or self._postponed or self._unread or self._to_read or self._reading)

    def open(self) -> None:
        """Begin with what the store holds. What is done from now on is done in the present context, whoever asks."""
        self._context = without_request()
        self._is_open = True
        self._to_read[None] = None
        self._fill()

    def offer(self, instance_id: str, name: str) -> None:
        """An instance has become runnable. One that is being driven goes on by itself, a postponed one waits."""
        if not self._is_open or instance_id in self._driving or instance_id in self._queue:
            return
        if instance_id in self._postponed:
            return
        if self._queue.offer(instance_id, name):
            self._fill()
        else:
            self._unread.add(name)

    def changed(self, instance_id: str, name: str, *, is_runnable: bool, is_new: bool) -> None:
        """An instance has been committed. One that ends while it is postponed is driven once more, for the drive to
        forget it. A new one does not wait where one of another workflow waited that had its id.
        """
        was_postponed = (is_new or not is_runnable) and self._postponed.cut_short(instance_id) is not None
        if is_new:
            self._queue.withdraw_from_others(instance_id, name)
        if is_runnable or was_postponed:
            self.offer(instance_id, name)

    def hurry(self, instance_id: str) -> None:
        """Drive it now, if it is postponed."""
        if (name := self._postponed.cut_short(instance_id)) is not None:
            self.offer(instance_id, name)

    def runner_wait(self, instance_id: str, name: str) -> RunnerWait | None:
        """Why and until when a runnable instance waits for the runner, if it does."""
        if (wait := self._health.wait_of(instance_id, name)) is None:
            return None
        now = self._clock.monotonic()
        left_s = max(0.0, (self._postponed.until(instance_id) or now) - now)
        if self._health.is_down(name):
            left_s = max(left_s, self._health.seconds_until_probe(name, now))
        return RunnerWait(reason=wait[0], since=wait[1], next_try_at=self._clock.now() + timedelta(seconds=left_s))

    def place_of(self, instance_id: str, name: str) -> Place:
        """Where a runnable instance is; `nowhere` is a fault: nothing that is under way would come to drive it."""
        if instance_id in self._driving:
            return "asked"
        if instance_id in self._queue:
            return "queued" if self._driving or self._alarm is not None else "nowhere"
        if instance_id in self._postponed:
            return "postponed" if self._alarm is not None else "nowhere"
        is_to_be_read = name in self._unread or not {None, name}.isdisjoint(self._to_read)
        return "stored" if is_to_be_read or self._reading is not None or not self._is_open else "nowhere"

    async def drain(self, grace_s: float) -> None:
        """Begin nothing more, let what is being driven finish within `grace_s`, then cut it off.

        Cancelled, it cuts off at once.
        """
        self._is_open = False
        for task in (self._reading, self._alarm, self._pacing):
            if task is not None:
                task.cancel()
        driving = list(self._driving.values())
        try:
            if driving:
                await asyncio.wait(driving, timeout=grace_s)
        finally:
            for task in driving:
                task.cancel()
            others = [task for task in (self._reading, self._alarm, self._pacing) if task is not None]
            await asyncio.gather(*driving, *others, return_exceptions=True)
            self._reading = self._alarm = self._pacing = None
            for held in (self._queue, self._postponed, self._unread, self._to_read, self._probes, self._health.waits):
                held.clear()

    def _fill(self) -> None:
        while self._is_open and (name := self._queue.next_name()) is not None:
            is_probe = self._health.is_down(name)
            if is_probe and not self._may_probe(name):
                self._queue.hold_back(name)
                continue
            instance_id = self._queue.take(name)
            if is_probe:
                self._probes[name] = instance_id
            self._driving[instance_id] = self._task(self._run(instance_id, name), f"drive {instance_id}")
            if name in self._unread and self._queue.has_room(name):
                self._to_read[name] = None
        self._keep_pace_where_needed()
        if self._is_open and self._to_read and self._reading is None:
            self._reading = self._task(self._read_backlog(), "fetch runnable instances")

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return asyncio.create_task(work, name=name, context=self._context.copy())

    def _may_probe(self, name: str) -> bool:
        """One probe at a time for each workflow, beside turns that began before: those may take hours."""
        now = self._clock.monotonic()
        if (wait_s := self._health.seconds_until_probe(name, now)) > 0:
            self._set_alarm(now + wait_s)
            return False
        return self._probes.get(name) not in self._driving

    async def _run(self, instance_id: str, name: str) -> None:
        held, postpone_s = name, None
        try:
            postpone_s = await self._drive(instance_id, name)
        except AnotherWorkflow as found:
            postpone_s, name = 0.0, found.name
        except Exception:
            _log.exception("%s: driving failed; tried again in a minute", instance_id)
            postpone_s = 60.0
        finally:
            is_to_repeat = postpone_s == 0
            del self._driving[instance_id]
            self._queue.give_back(held)
            self._turns += not is_to_repeat  # who steps back has asked whether it should
            self._let_go(held)
            if is_to_repeat:
                self.offer(instance_id, name)
            elif postpone_s is not None and self._is_open:
                at = self._clock.monotonic() + postpone_s
                self._postponed.add(instance_id, name, at)
                self._set_alarm(at)
            self._fill()

    @property
    def _taken(self) -> int:
        """How many turns and calls of members are in flight."""
        return len(self._driving) + self._calls.taken

    def _keep_pace_where_needed(self) -> None:
        if self._pacing is None and self._is_open and self._pace.is_to_be_kept(self._taken):
            self._pacing = self._task(self._keep_pace(), "look how late the event loop is")

    async def _keep_pace(self) -> None:
        while self._pace.is_to_be_kept(self._taken):
            turns, began = self._turns, self._clock.monotonic()
            lags_s = []
            for _ in range(LOOKS):
                due = self._clock.monotonic() + LOOK_S
                await self._clock.sleep(LOOK_S)
                lags_s.append(self._clock.monotonic() - due)
            over_s = self._clock.monotonic() - began
            self._pace.look(lags_s, taken=self._taken, turns=self._turns - turns, over_s=over_s)
            self._queue.allow(self._pace.places)
            self._calls.allow(self._pace.places)
            self._fill()
        self._pacing = None

    def _let_go(self, name: str) -> None:
        """Look again at who is held back because the runner was down for it."""
        if self._recoveries == self._health.recoveries:
            self._queue.let_go(name)
        else:
            self._recoveries = self._health.recoveries
            self._queue.let_go()

    async def _read_backlog(self) -> None:
        name: str | None = None
        try:
            while self._to_read:
                name = next(iter(self._to_read))
                del self._to_read[name]  # at once, for it may be set again while it is being read
                if name is None:
                    self._to_read.update(dict.fromkeys(await self._store.runnable_names()))
                else:
                    await self._read_backlog_of(name)
        except Exception:
            _log.exception("runnable instances could not be read; tried again")
            self._to_read[name] = None
            self._set_alarm(self._clock.monotonic() + 1.0)
            self._reading = None
        else:
            self._reading = None
            self._fill()

    async def _read_backlog_of(self, name: str) -> None:
        after: str | None = None
        self._unread.discard(name)  # an offer that finds no room, one of these or another, sets it again
        while name not in self._unread:
            page = await self._store.runnable(name, after=after, limit=_PAGE)
            for instance_id in page:
                self.offer(instance_id, name)
            if len(page) < _PAGE:
                break
            after = page[-1]

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            if self._alarm_at <= at:
                return
            self._alarm.cancel()
        self._alarm_at, self._alarm = at, self._task(self._ring(at), "offer postponed instances")

    async def _ring(self, at: float) -> None:
        await self._clock.sleep(max(0.0, at - self._clock.monotonic()))
        self._alarm = None
        for instance_id, name in self._postponed.due(self._clock.monotonic()):
            self.offer(instance_id, name)
        if self._postponed.next_at is not None:
            self._set_alarm(self._postponed.next_at)
        self._queue.let_go()
        self._fill()
