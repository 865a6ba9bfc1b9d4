"""Delivers notices to receivers outside: each at least once, in any order, for three days.

What is to be delivered is in the store, written with the change that it tells of, so nothing is forgotten by a crash or
a takeover. Each receiver has a lane of its own: one that is away or slow holds up no other, nor anything else.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from pylon_workflows.core.instance import Instance
from pylon_workflows.errors import StoreError
from pylon_workflows.notices import LONGEST_BACKOFF, NOTICED, Notice, UnreadableNotice
from pylon_workflows.ports import Clock, NotDeliveredError, Receiver, Store

_log = logging.getLogger(__name__)

GIVES_UP_AFTER = timedelta(days=3)
PLACES = 8
"""So many notices are on their way to one receiver at a time; to one that was away last, one."""

LOOK_S = 1.0
_FIRST_BACKOFF_S = 5.0
_LONGEST_PAUSE_S = 60.0
_STORE_TROUBLE_PAUSE_S = 1.0
_STRANGERS_PAUSE_S = 3600.0
_BATCH = 500
_SHOWN = 5


class Sending:
    """Call `run`; without receivers it looks once whether anything is kept for former ones.

    `given_up` counts the notices that were given up since it was made.
    """

    def __init__(
        self, store: Store, receivers: Sequence[Receiver], clock: Clock, jitter: Callable[[], float] = random.random
    ) -> None:
        self._store = store
        self._clock = clock
        self._keys = frozenset(receiver.subscription.key for receiver in receivers)
        self._lanes = [_Lane(store, receiver, clock, jitter, self) for receiver in receivers]
        self.has_receivers = bool(receivers)
        self.given_up = 0
        store.outbox.write_for([receiver.subscription for receiver in receivers], clock.now)

    def committed(self, instance: Instance) -> None:
        """An instance has changed, and that is durable; what nobody tells of here is found within LOOK_S."""
        if instance.status in NOTICED:
            for lane in self._lanes:
                lane.wake()

    async def run(self) -> None:
        """Deliver what is there and what comes, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes:
                tasks.create_task(lane.run(), name=f"deliver webhooks to {lane.name}")
            tasks.create_task(self._keep_no_strangers(), name="give up webhooks to former receivers")

    async def _keep_no_strangers(self) -> None:
        """Give up in time what is kept for receivers that the configuration does not name (any more)."""
        while True:
            try:
                strangers = [key for key in await self._store.outbox.receivers() if key not in self._keys]
                for key in strangers:
                    await self.give_up(key, f"{key}, which is configured no more")
            except StoreError as error:
                _log.debug("the outbox could not be looked at: %s", error)  # whoever writes has told of it
            else:
                if not strangers:
                    return
            await self._clock.sleep(_STRANGERS_PAUSE_S)

    async def give_up(self, key: str, name: str) -> None:
        """Give up what a receiver has not taken for too long."""
        while gone := await self._store.outbox.give_up(key, before=self._give_up_before, limit=_BATCH):
            self._count([f"{each.message_id} about {each.instance_id}" for each in gone], name)

    async def give_up_unreadable(self, notice: UnreadableNotice, name: str) -> bool:
        """Give up one that could not be read for as long, or whose age cannot be read; whether it has been."""
        if notice.at is not None and notice.at >= self._give_up_before:
            return False
        await self._store.outbox.delivered(notice.key)
        self._count([notice.reason], name)
        return True

    @property
    def _give_up_before(self) -> datetime:
        return self._clock.now() - GIVES_UP_AFTER

    def _count(self, gone: Sequence[str], name: str) -> None:
        self.given_up += len(gone)
        more = f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
        _log.error(
            "webhooks to %s: given up after %d days: %s%s; look at the instances themselves",
            name, GIVES_UP_AFTER.days, ", ".join(gone[:_SHOWN]), more,
        )  # fmt: skip


class _Lane:
    """What goes to one receiver. `sending` gives up what has been tried for too long."""

    def __init__(
        self,
        store: Store,
        receiver: Receiver,
        clock: Clock,
        jitter: Callable[[], float],
        sending: Sending,
    ) -> None:
        self._store = store
        self._receiver = receiver
        self._clock = clock
        self._jitter = jitter
        self._sending = sending
        self._key = receiver.subscription.key
        self.name = receiver.name
        self._flying: dict[int, asyncio.Task[None]] = {}
        self._unreadable: set[int] = set()
        self._nap: asyncio.Task[None] | None = None
        self._is_woken = False
        self._absences = 0
        self._paused_until = 0.0

    def wake(self) -> None:
        """Look at once."""
        self._is_woken = True
        if self._nap is not None:
            self._nap.cancel()

    async def run(self) -> None:
        """Deliver what is due, for ever."""
        self._absences, self._paused_until = 0, 0.0
        await self._receiver.open()
        try:
            while True:
                self._is_woken = False
                if self._clock.monotonic() >= self._paused_until:
                    try:
                        await self._send_what_is_due()
                    except StoreError as error:
                        self._rest_from(error)
                await self._rest()
        finally:
            flying = list(self._flying.values())
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)
            await self._receiver.close()

    async def _send_what_is_due(self) -> None:
        places = 1 if self._absences else PLACES
        if len(self._flying) >= places:
            return
        limit = len(self._flying) + places
        flying = set(self._flying)  # what lands during the read may be in what was read
        for notice in await self._store.outbox.due(self._key, now=self._clock.now(), limit=limit):
            if isinstance(notice, UnreadableNotice):
                await self._put_off(notice)
            elif notice.key not in flying and len(self._flying) < places:
                task = asyncio.create_task(self._send(notice), name=f"deliver {notice.message_id}")
                self._flying[notice.key] = task

    async def _put_off(self, notice: UnreadableNotice) -> None:
        """Like one that was not delivered: the key that opens it may come back."""
        self.wake()  # it has held a place that another may have
        if notice.key not in self._unreadable:
            self._unreadable.add(notice.key)
            _log.error("webhooks to %s: %s; not delivered, tried again", self.name, notice.reason)
        if not await self._sending.give_up_unreadable(notice, self.name):
            await self._store.outbox.failed(notice.key, next_at=self._next_at(notice.attempts))

    async def _rest(self) -> None:
        if not self._is_woken:
            self._nap = asyncio.ensure_future(self._clock.sleep(LOOK_S))
            try:
                await asyncio.wait((self._nap,))
            finally:
                self._nap.cancel()
                self._nap = None

    async def _send(self, notice: Notice) -> None:
        try:
            try:
                await self._receiver.deliver(notice)
            except NotDeliveredError as error:
                await self._failed(notice, error)
            except Exception as error:
                _log.exception("webhook %s to %s: could not be sent", notice.message_id, self.name)
                await self._failed(notice, NotDeliveredError(repr(error), is_away=True))
            else:
                self._came_through()
                await self._store.outbox.delivered(notice.key)
        except StoreError as error:
            self._rest_from(error)
        finally:
            self._flying.pop(notice.key, None)
            self.wake()

    def _came_through(self) -> None:
        if self._absences:
            _log.info("webhooks to %s: are taken again", self.name)
        self._absences, self._paused_until = 0, 0.0

    async def _failed(self, notice: Notice, error: NotDeliveredError) -> None:
        is_told = notice.attempts > 0 or (error.is_away and self._absences > 0)  # once an outage
        _log.log(
            logging.DEBUG if is_told else logging.WARNING,
            "webhook %s about %s to %s: not delivered, tried again: %s",
            notice.message_id, notice.instance_id, self.name, error,
        )  # fmt: skip
        now = self._clock.monotonic()
        if error.is_away and now >= self._paused_until:  # those on their way together are one absence
            self._paused_until = now + min(2.0**self._absences, _LONGEST_PAUSE_S)
            self._absences = min(self._absences + 1, 10)
        next_at = self._next_at(notice.attempts, error.retry_after_s)
        await self._store.outbox.failed(notice.key, next_at=next_at)
        await self._sending.give_up(self._key, self.name)

    def _next_at(self, attempts: int, retry_after_s: float | None = None) -> datetime:
        backoff_s = min(_FIRST_BACKOFF_S * 2.0 ** min(attempts, 20), LONGEST_BACKOFF.total_seconds())
        wait_s = max(backoff_s * (1 + self._jitter()) / 2, retry_after_s or 0.0)
        return self._clock.now() + min(timedelta(seconds=wait_s), LONGEST_BACKOFF)

    def _rest_from(self, error: StoreError) -> None:
        _log.debug("the outbox cannot be used now: %s", error)  # whoever writes or wakes has told of it
        self._paused_until = self._clock.monotonic() + _STORE_TROUBLE_PAUSE_S
