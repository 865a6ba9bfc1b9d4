"""The schedules of the store in memory."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from pylon_workflows.core.instance import Instance
from pylon_workflows.schedule import Schedule, Tick


class MemorySchedules:
    """A `ScheduleStore` that writes to no disk; `create` is `Store.create`, `check_open` raises when it is closed."""

    def __init__(self, create: Callable[[Instance], Awaitable[str | None]], check_open: Callable[[], None]) -> None:
        self._schedules: dict[str, Schedule] = {}
        self._create = create
        self._check_open = check_open

    async def save(self, schedule: Schedule) -> None:
        """See `ScheduleStore`."""
        self._check_open()
        known = self._schedules.get(schedule.id)
        if known is not None:
            kept = {name: getattr(known, name) for name in ("created_at", "last_at", "last_instance_id")}
            schedule = replace(schedule, **kept)
        self._schedules[schedule.id] = schedule

    async def get(self, schedule_id: str) -> Schedule | None:
        """See `ScheduleStore`."""
        self._check_open()
        return self._schedules.get(schedule_id)

    async def all(self) -> Sequence[Schedule]:
        """See `ScheduleStore`."""
        self._check_open()
        return sorted(self._schedules.values(), key=lambda schedule: schedule.id)

    async def delete(self, schedule_id: str) -> bool:
        """See `ScheduleStore`."""
        self._check_open()
        return self._schedules.pop(schedule_id, None) is not None

    async def tick(self, schedule: Schedule, tick: Tick, instance: Instance | None) -> str | None:
        """See `ScheduleStore`."""
        self._check_open()
        known = self._schedules.get(schedule.id)
        if known is None or known.next_at is None or known.next_at != schedule.next_at:
            return None
        self._schedules[known.id] = moved = replace(known, next_at=tick.next_at)
        if instance is None:
            return None
        instance_id = await self._create(instance) or instance.id
        self._schedules[known.id] = replace(moved, last_at=tick.at, last_instance_id=instance_id)
        return instance_id

    async def due(self, *, now: datetime, limit: int) -> Sequence[str]:
        """See `ScheduleStore`."""
        self._check_open()
        due = sorted((each.next_at, each.id) for each in self._schedules.values() if each.next_at is not None)
        return [schedule_id for next_at, schedule_id in due if next_at <= now][:limit]

    async def next_due(self, *, after: datetime) -> datetime | None:
        """See `ScheduleStore`."""
        self._check_open()
        times = (each.next_at for each in self._schedules.values() if each.next_at is not None)
        return min((next_at for next_at in times if next_at > after), default=None)
