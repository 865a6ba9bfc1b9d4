"""The outbox of the store in memory."""

import itertools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pylon_workflows.clock import SystemClock
from pylon_workflows.notices import LONGEST_BACKOFF, NOTICED, GivenUp, Notice, Subscription
from pylon_workflows.summaries import InstanceSummary


@dataclass(slots=True)
class _Stored:
    receiver: str
    notice: Notice
    next_at: datetime


class MemoryOutbox:
    """An `OutboxStore`; the store calls `note` with what it changes."""

    def __init__(self, check_open: Callable[[], None]) -> None:
        self._check_open = check_open
        self._subscriptions: Sequence[Subscription] = ()
        self._now: Callable[[], datetime] = SystemClock().now
        self._notices: dict[int, _Stored] = {}
        self._keys = itertools.count(1)

    def write_for(self, subscriptions: Sequence[Subscription], now: Callable[[], datetime]) -> None:
        """See `OutboxStore`."""
        self._subscriptions, self._now = subscriptions, now

    def note(self, former: InstanceSummary, summary: InstanceSummary) -> None:
        """An instance has changed."""
        if summary.status is former.status or summary.status not in NOTICED:
            return
        for each in self._subscriptions:
            if each.wants(summary.status, summary.name):
                key, at = next(self._keys), self._now()
                notice = Notice.of(summary, key=key, message_id=f"msg_{secrets.token_hex(16)}", at=at)
                self._notices[key] = _Stored(each.key, notice, next_at=at)

    async def due(self, receiver: str, *, now: datetime, limit: int) -> Sequence[Notice]:
        """See `OutboxStore`."""
        self._check_open()
        horizon = now + 2 * LONGEST_BACKOFF
        own = sorted(self._of(receiver), key=lambda stored: (stored.next_at, stored.notice.key))
        due = [stored for stored in own if stored.next_at <= now]
        due += [stored for stored in own if stored.next_at > horizon]
        return [stored.notice for stored in due[:limit]]

    async def delivered(self, key: int) -> None:
        """See `OutboxStore`."""
        self._check_open()
        self._notices.pop(key, None)

    async def failed(self, key: int, *, next_at: datetime) -> None:
        """See `OutboxStore`."""
        self._check_open()
        if (stored := self._notices.get(key)) is not None:
            stored.notice = replace(stored.notice, attempts=stored.notice.attempts + 1)
            stored.next_at = next_at

    async def give_up(self, receiver: str, *, before: datetime, limit: int) -> Sequence[GivenUp]:
        """See `OutboxStore`."""
        self._check_open()
        old = sorted((each.notice.at, each.notice.key) for each in self._of(receiver) if each.notice.at < before)
        gone = [self._notices.pop(key).notice for _, key in old[:limit]]
        return [GivenUp(notice.message_id, notice.instance_id) for notice in gone]

    async def receivers(self) -> Sequence[str]:
        """See `OutboxStore`."""
        self._check_open()
        return sorted({stored.receiver for stored in self._notices.values()})

    def _of(self, receiver: str) -> list[_Stored]:
        return [stored for stored in self._notices.values() if stored.receiver == receiver]
