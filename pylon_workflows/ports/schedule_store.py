"""Where schedules are kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from pylon_workflows.core.instance import Instance
from pylon_workflows.schedule import Schedule, Tick


class ScheduleStore(Protocol):
    """The schedules of a `Store`, which is open when they are asked for. What a call has returned is durable.

    Every call raises `StorageFullError` when the disk is full, with nothing changed, and another `StoreError` when the
    file cannot be used.
    """

    async def save(self, schedule: Schedule) -> None:
        """Add or replace a schedule by its id; what was there stays created when it was, and keeps its last start."""
        ...

    async def get(self, schedule_id: str) -> Schedule | None:
        """The schedule of that id, or None. Raises CorruptDatabaseError: it cannot be read."""
        ...

    async def all(self) -> Sequence[Schedule]:
        """All schedules, by id, but those that cannot be read, which are logged (P18)."""
        ...

    async def delete(self, schedule_id: str) -> bool:
        """Forget a schedule; whether there was one. What it has started goes on."""
        ...

    async def tick(self, schedule: Schedule, tick: Tick, instance: Instance | None) -> str | None:
        """Make it due at `tick.next_at` and store the instance that is started for `tick.at`, if any: both or nothing.

        Nothing happens when the schedule is gone, or due at another time than `schedule.next_at`. When the instance's
        id or idempotency key is taken, the one that has it is this tick's. Returns the id of the tick's instance.
        """
        ...

    async def due(self, *, now: datetime, limit: int) -> Sequence[str]:
        """Ids of schedules with `next_at <= now`, the longest overdue first."""
        ...

    async def next_due(self, *, after: datetime) -> datetime | None:
        """The earliest `next_at` later than `after`, or None."""
        ...
