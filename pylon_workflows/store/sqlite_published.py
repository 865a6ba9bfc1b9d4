"""The published events of the store in a file."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import Transition
from pylon_workflows.ports import Acceptance, StartOutcome, Write
from pylon_workflows.published import Correlation, KeptUnder, PublishedEvent, WaitPlace, too_many_kept
from pylon_workflows.store import published_rows as rows
from pylon_workflows.store import reads
from pylon_workflows.store.codec import from_microseconds, to_microseconds
from pylon_workflows.store.group_commit import GroupCommit
from pylon_workflows.store.rows import appended_rows, created_row

_LOOKED_AT_A_TIME = 100
"""Correlations, before this connection may do something else: a few milliseconds."""


class SqlitePublished:
    """A `PublishedStore` over the writer and a reader of a `SqliteStore`."""

    def __init__(self, writer: Callable[[], GroupCommit], states: reads.Reader) -> None:
        self._writer = writer
        self._states = states

    async def accept(
        self, published: PublishedEvent, *, keep_until: datetime, remember_until: datetime, most: int
    ) -> Acceptance:
        """See `PublishedStore`."""
        row = (*rows.published_row(published), to_microseconds(keep_until), to_microseconds(remember_until))
        accepted: Acceptance | None = await self._writer().submit(rows.accept_published, rows.AcceptRow(row, most))
        if accepted is None:
            raise too_many_kept(published.correlation, most)
        return accepted

    async def get(self, key: int) -> PublishedEvent | None:
        """See `PublishedStore`."""
        found = await self._states.rows(rows.ONE, (key,))
        return rows.published_from(key, found[0]) if found else None

    async def kept(self, correlation: Correlation | str, *, after: int = 0, limit: int) -> Sequence[int]:
        """See `PublishedStore`."""
        if isinstance(correlation, str):
            found = await self._states.rows(rows.KEPT_UNDER_KEY, (correlation, after, limit))
        else:
            found = await self._states.rows(rows.KEPT, (*correlation, after, limit))
        return [key for (key,) in found]

    async def kept_under_other_keys(self, correlation: Correlation, *, among: int) -> Sequence[KeptUnder]:
        """See `PublishedStore`."""
        found = await self._states.rows(rows.KEPT_UNDER_OTHER_KEYS, (among, correlation.event, correlation.key))
        return rows.readable_kept_under(found)

    async def waits(
        self, correlation: Correlation, *, after: WaitPlace | None = None, limit: int
    ) -> Sequence[WaitPlace]:
        """See `PublishedStore`."""
        if after is None:
            found = await self._states.rows(rows.WAITS, (*correlation, reads.EARLIEST, 0, limit))
        else:
            place = (to_microseconds(after.since), after.key)
            found = await self._states.rows(rows.WAITS_WITH_MATCH, (*correlation, *place, limit))
        return [WaitPlace(from_microseconds(since), key, own_id, match) for own_id, since, key, _, match in found]

    def claim(self, key: int, instance: Instance, transitions: Sequence[Transition]) -> Write[bool]:
        """See `PublishedStore`."""
        appended = appended_rows(instance, transitions, is_to_announce=False) if transitions else []
        claim = rows.ClaimRow(key, instance.id, appended)
        return self._writer().submit(rows.claim_published, claim, rows=1 + len(appended))

    async def start(self, key: int, instance: Instance) -> StartOutcome:
        """See `PublishedStore`."""
        row = rows.StartRow(key, created_row(instance))
        outcome: StartOutcome = await self._writer().submit(rows.start_published, row, rows=2)
        return outcome

    async def open_keys(self) -> AsyncIterator[str]:
        """See `PublishedStore`."""
        last: tuple[str, str] | None = ("", "")
        told = None
        while last is not None:
            page = await self._states.rows(rows.OPEN_KEYS, (*last, _LOOKED_AT_A_TIME))
            for key, _, is_open in page:
                if is_open and key != told:
                    yield (told := key)
            last = page[-1][:2] if len(page) == _LOOKED_AT_A_TIME else None

    async def awaited(self, instance_ids: Sequence[str]) -> Sequence[Correlation]:
        """See `PublishedStore`."""
        return [Correlation(*row) for row in await self._states.rows(rows.AWAITED, (json.dumps(list(instance_ids)),))]

    async def expire(self, *, now: datetime, limit: int) -> Sequence[str]:
        """See `PublishedStore`."""
        sweep = rows.Sweep(to_microseconds(now), limit)
        if not await self._states.rows(rows.IS_ANY_EXPIRED, (sweep.now,)):
            return []  # an engine that has nothing to do writes nothing
        expired: Sequence[str] = await self._writer().submit(rows.expire_published, sweep, rows=limit)
        return expired

    async def forget(self, *, now: datetime, limit: int) -> int:
        """See `PublishedStore`."""
        sweep = rows.Sweep(to_microseconds(now), limit)
        if not await self._states.rows(rows.IS_ANY_FORGOTTEN, (sweep.now,)):
            return 0
        forgotten: int = await self._writer().submit(rows.forget_published, sweep, rows=limit)
        return forgotten
