"""The schedules of the store in a file."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from pylon_workflows.core.instance import Instance
from pylon_workflows.schedule import Schedule, Tick
from pylon_workflows.store import reads, schedule_rows
from pylon_workflows.store.codec import from_microseconds, to_microseconds
from pylon_workflows.store.group_commit import GroupCommit
from pylon_workflows.store.rows import created_row
from pylon_workflows.store.schedule_rows import TickRow, microseconds_or_none

_log = logging.getLogger(__name__)


class SqliteSchedules:
    """A `ScheduleStore` over the writer and a reader of a `SqliteStore`."""

    def __init__(self, writer: Callable[[], GroupCommit], states: reads.Reader) -> None:
        self._writer = writer
        self._states = states

    async def save(self, schedule: Schedule) -> None:
        """See `ScheduleStore`."""
        await self._writer().submit(schedule_rows.save_schedule, schedule_rows.schedule_row(schedule))

    async def get(self, schedule_id: str) -> Schedule | None:
        """See `ScheduleStore`."""
        rows = await self._states.rows(schedule_rows.ONE, (schedule_id,))
        return schedule_rows.schedule_from(rows[0]) if rows else None

    async def all(self) -> Sequence[Schedule]:
        """See `ScheduleStore`."""
        schedules, unreadable = schedule_rows.schedules_from(await self._states.rows(schedule_rows.ALL))
        for sentence in unreadable:
            _log.error("%s; it starts nothing: remove it, or add it anew", sentence)
        return schedules

    async def delete(self, schedule_id: str) -> bool:
        """See `ScheduleStore`."""
        was_there: bool = await self._writer().submit(schedule_rows.delete_schedule, schedule_id)
        return was_there

    async def tick(self, schedule: Schedule, tick: Tick, instance: Instance | None) -> str | None:
        """See `ScheduleStore`."""
        row = TickRow(
            schedule=schedule.id,
            due_at=microseconds_or_none(schedule.next_at),
            next_at=microseconds_or_none(tick.next_at),
            tick_at=microseconds_or_none(tick.at),
            created=None if instance is None else created_row(instance),
        )
        instance_id: str | None = await self._writer().submit(schedule_rows.tick_schedule, row, rows=2)
        return instance_id

    async def due(self, *, now: datetime, limit: int) -> Sequence[str]:
        """See `ScheduleStore`."""
        return await self._states.ids(schedule_rows.DUE, (to_microseconds(now), limit))

    async def next_due(self, *, after: datetime) -> datetime | None:
        """See `ScheduleStore`."""
        ((next_at,),) = await self._states.rows(schedule_rows.NEXT_DUE, (to_microseconds(after),))
        try:
            return None if next_at is None else from_microseconds(next_at)
        except (OverflowError, TypeError):  # the smallest one: there is no other
            return None
