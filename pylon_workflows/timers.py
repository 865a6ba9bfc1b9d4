"""Wakes what is due. It asks the store what comes next and holds no list of sleepers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from pylon_workflows.errors import CorruptDatabaseError, StorageFullError, StoreError
from pylon_workflows.ports import Clock, Store

_log = logging.getLogger(__name__)

_BATCH = 500
_LONGEST_NAP_S = 0.5
_UNREADABLE_FOR_S = 60.0
_STORE_TROUBLE_NAP_S = 1.0


class Agenda(Protocol):
    """What is due, and when: as much of a store as timers need."""

    async def due(self, *, now: datetime, limit: int) -> Sequence[str]:
        """Ids of what is due, the longest overdue first."""
        ...

    async def next_due(self, *, after: datetime) -> datetime | None:
        """The earliest time later than that at which something is due, or None."""
        ...

    async def revision(self, id: str) -> object:
        """What differs once waking has changed it; None when that cannot be told."""
        ...


class DueInstances:
    """The instances of a store, as timers see them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def due(self, *, now: datetime, limit: int) -> Sequence[str]:
        """See `Agenda`."""
        return await self._store.due(now=now, limit=limit)

    async def next_due(self, *, after: datetime) -> datetime | None:
        """See `Agenda`."""
        return await self._store.next_due(after=after)

    async def revision(self, instance_id: str) -> object:
        """See `Agenda`."""
        try:
            summary = await self._store.summary(instance_id)
        except CorruptDatabaseError:
            return None
        return None if summary is None else summary.revision


Wake = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Wake these instances; returns those that could not be woken."""


class Timers:
    """One task: due times are read off the wall clock, waiting is done on the monotonic one.

    It looks at the wall clock at least twice a second while something is due later, so that a clock that jumps forward,
    or a machine that slept, delays nothing (P16, P17).
    """

    def __init__(self, agenda: Agenda, clock: Clock, wake: Wake) -> None:
        self._agenda = agenda
        self._clock = clock
        self._wake = wake
        self._next: datetime | None = None
        self._nap: asyncio.Task[None] | None = None
        self._is_asked_again = False
        self._skipped: dict[str, float] = {}
        self._has_trouble = False

    def is_put_off(self, id: str) -> bool:
        """Whether what is overdue is tried again later, and the log has said why."""
        return self._has_trouble or id in self._skipped

    def notice(self, due_at: datetime) -> None:
        """Something has become due at that time."""
        if self._next is None or due_at < self._next:
            self._is_asked_again = True
            if self._nap is not None:
                self._nap.cancel()

    async def run(self) -> None:
        """Wake what is due, for ever."""
        self._has_trouble = False
        while True:
            self._is_asked_again, self._next = False, None
            try:
                looked_at = await self._wake_all_due()
                # What was due by then is woken or put off; what has come since is noticed, whatever the time is now.
                self._next = await self._agenda.next_due(after=looked_at)
            except StoreError as error:
                # Once an outage; of a full disk the store has told.
                is_told = self._has_trouble or isinstance(error, StorageFullError)
                _log.log(logging.DEBUG if is_told else logging.WARNING, "timers could not be read: %s", error)
                self._has_trouble = True
                await self._clock.sleep(_STORE_TROUBLE_NAP_S)
                continue
            self._has_trouble = False
            await self._sleep_until_next()

    async def _wake_all_due(self) -> datetime:
        """Wake until nothing is due, and return the time for which that was so: what comes later is still to come."""
        woken: dict[str, object] = {}
        while True:
            now, monotonic = self._clock.now(), self._clock.monotonic()
            self._skipped = {skipped: until for skipped, until in self._skipped.items() if until > monotonic}
            due = await self._agenda.due(now=now, limit=_BATCH + len(self._skipped))
            due = [instance_id for instance_id in due if instance_id not in self._skipped]
            if not due:
                return now
            again = {each: await self._agenda.revision(each) for each in due if each in woken}
            idle = {each for each, revision in again.items() if revision == woken[each]}
            for instance_id in idle:
                _log.error("%s: still due after it was woken: its row and its history disagree", instance_id)
            woken = {each: again.get(each) for each in due if each not in idle}
            for instance_id in (*idle, *await self._wake(list(woken))):
                self._skipped[instance_id] = monotonic + _UNREADABLE_FOR_S

    async def _sleep_until_next(self) -> None:
        skipped_until = min(self._skipped.values(), default=float("inf"))
        while not self._is_asked_again and self._clock.monotonic() < skipped_until:
            if self._next is not None and self._next <= self._clock.now():
                return
            self._nap = asyncio.ensure_future(self._doze())
            try:
                await asyncio.wait((self._nap,))
            finally:
                self._nap.cancel()
                self._nap = None

    async def _doze(self) -> None:
        if self._next is None and not self._skipped:
            await asyncio.get_running_loop().create_future()
        left_s = _LONGEST_NAP_S if self._next is None else (self._next - self._clock.now()) / timedelta(seconds=1)
        await self._clock.sleep(min(left_s, _LONGEST_NAP_S))
