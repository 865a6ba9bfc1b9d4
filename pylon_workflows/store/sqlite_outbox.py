"""The outbox of the store in a file."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime

from pylon_workflows.notices import LONGEST_BACKOFF, GivenUp, Notice, Subscription, UnreadableNotice
from pylon_workflows.store import outbox_rows as rows
from pylon_workflows.store import reads
from pylon_workflows.store.codec import to_microseconds
from pylon_workflows.store.group_commit import GroupCommit

OUTBOX_OPERATIONS = (rows.forget_delivered, rows.put_off_failed, rows.give_up_old)


class SqliteOutbox:
    """An `OutboxStore` over the writer and a reader of a `SqliteStore`."""

    def __init__(self, writer: Callable[[], GroupCommit], states: reads.Reader) -> None:
        self._writer = writer
        self._states = states
        self._subscriptions: Sequence[Subscription] = ()
        self._now: Callable[[], datetime] | None = None

    def write_for(self, subscriptions: Sequence[Subscription], now: Callable[[], datetime]) -> None:
        """See `OutboxStore`."""
        self._subscriptions, self._now = subscriptions, now

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Let a connection that writes write notices."""
        if self._now is not None:
            rows.prepare(connection, self._subscriptions, self._now)

    async def due(self, receiver: str, *, now: datetime, limit: int) -> Sequence[Notice | UnreadableNotice]:
        """See `OutboxStore`."""
        found = await self._states.rows(rows.DUE, (receiver, to_microseconds(now), limit))
        if len(found) < limit:
            horizon = to_microseconds(now + 2 * LONGEST_BACKOFF)
            found = [*found, *await self._states.rows(rows.PUT_OFF, (receiver, horizon, limit - len(found)))]
        return [rows.notice_from(row) for row in found]

    async def delivered(self, key: int) -> None:
        """See `OutboxStore`."""
        await self._writer().submit(rows.forget_delivered, key)

    async def failed(self, key: int, *, next_at: datetime) -> None:
        """See `OutboxStore`."""
        await self._writer().submit(rows.put_off_failed, rows.FailedRow(to_microseconds(next_at), key))

    async def give_up(self, receiver: str, *, before: datetime, limit: int) -> Sequence[GivenUp]:
        """See `OutboxStore`."""
        old = rows.OldRow(receiver, to_microseconds(before), limit)
        if not await self._states.rows(rows.IS_ANY_OLD, old[:2]):
            return []  # an engine that has nothing to do writes nothing
        given_up: Sequence[GivenUp] = await self._writer().submit(rows.give_up_old, old, rows=limit)
        return given_up

    async def receivers(self) -> Sequence[str]:
        """See `OutboxStore`."""
        return await self._states.ids(rows.RECEIVERS)
