"""The schedules of an engine: what people do with them, and what they do when they are due."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from pylon_workflows.definitions import Definitions
from pylon_workflows.errors import CorruptDatabaseError, StoreError, TooManySchedulesError, UnknownWorkflowError
from pylon_workflows.ports import Clock, Store
from pylon_workflows.schedule import MAX_SCHEDULES, Schedule, unknown_schedule
from pylon_workflows.start_options import StartOptions
from pylon_workflows.starts import Starts

_log = logging.getLogger(__name__)


class Schedules:
    """An `Agenda` of timers, which `wake` what is due. `notice` is told when something becomes due.

    A tick starts one instance: the schedule moves on in the transaction that stores it, and its idempotency key is the
    tick's, so that no other transaction can store a second one.
    """

    def __init__(
        self, store: Store, starts: Starts, definitions: Definitions, clock: Clock, notice: Callable[[datetime], None]
    ) -> None:
        self._store = store
        self._starts = starts
        self._definitions = definitions
        self._clock = clock
        self._notice = notice
        self._unknown: set[str] = set()

    async def save(self, schedule: Schedule) -> Schedule:
        """Keep a new one, or give the one that has its id these terms; one that has them already stays as it is.

        Raises:
            UnknownWorkflowError; TooManySchedulesError.
        """
        self._definitions.get(schedule.name)
        try:
            known = await self._store.schedules.get(schedule.id)
        except CorruptDatabaseError:
            await self._store.schedules.delete(schedule.id)
            known = None
        if known is None and len(await self._store.schedules.all()) >= MAX_SCHEDULES:
            raise TooManySchedulesError(f"there are {MAX_SCHEDULES:,} schedules; remove those that nobody needs")
        if known is not None and known.has_terms_of(schedule):
            return known
        if known is not None and known.is_paused:
            schedule = replace(schedule, is_paused=True, next_at=None)
        return await self._saved(schedule)

    async def get(self, schedule_id: str) -> Schedule:
        """The schedule of that id. Raises UnknownScheduleError."""
        found = await self._store.schedules.get(schedule_id)
        if found is None:
            raise unknown_schedule(schedule_id)
        return found

    async def pause(self, schedule_id: str) -> Schedule:
        """Let it start nothing; again is the same. Raises UnknownScheduleError."""
        schedule = await self.get(schedule_id)
        return schedule if schedule.is_paused else await self._saved(replace(schedule, is_paused=True, next_at=None))

    async def resume(self, schedule_id: str) -> Schedule:
        """Go on with the next tick; those that passed in the meantime are not missed. Raises UnknownScheduleError."""
        schedule = await self.get(schedule_id)
        if not schedule.is_paused:
            return schedule
        return await self._saved(replace(schedule, is_paused=False, next_at=schedule.next_after(self._clock.now())))

    async def delete(self, schedule_id: str) -> None:
        """Forget it. Raises UnknownScheduleError."""
        if not await self._store.schedules.delete(schedule_id):
            raise unknown_schedule(schedule_id)

    async def _saved(self, schedule: Schedule) -> Schedule:
        await self._store.schedules.save(schedule)
        if schedule.next_at is not None:
            self._notice(schedule.next_at)
        return await self.get(schedule.id)

    async def due(self, *, now: datetime, limit: int) -> Sequence[str]:
        """See `Agenda`."""
        return await self._store.schedules.due(now=now, limit=limit)

    async def next_due(self, *, after: datetime) -> datetime | None:
        """See `Agenda`."""
        return await self._store.schedules.next_due(after=after)

    async def revision(self, schedule_id: str) -> object:
        """See `Agenda`."""
        try:
            schedule = await self._store.schedules.get(schedule_id)
        except CorruptDatabaseError:
            return None
        return None if schedule is None else schedule.next_at

    async def wake(self, schedule_ids: Sequence[str]) -> Sequence[str]:
        """Start what is due; returns the ids of schedules that cannot start anything now. Raises StoreError."""
        ticks = (self._tick(schedule_id) for schedule_id in schedule_ids)
        failed = []
        for schedule_id, outcome in zip(
            schedule_ids, await asyncio.gather(*ticks, return_exceptions=True), strict=True
        ):
            if isinstance(outcome, StoreError) and not isinstance(outcome, CorruptDatabaseError):
                raise outcome
            if isinstance(outcome, Exception):
                _log.error("schedule %s: nothing could be started, tried again in a minute: %r", schedule_id, outcome)
            if outcome is not True:
                failed.append(schedule_id)
        return failed

    async def _tick(self, schedule_id: str) -> bool:
        schedule = await self._store.schedules.get(schedule_id)
        now = self._clock.now()
        if schedule is None or schedule.next_at is None or schedule.next_at > now:
            return True  # removed, paused or given other terms since
        tick = schedule.tick(now)
        if tick.at is None:
            _log.warning("schedule %s: nothing was started since %s", schedule_id, schedule.next_at)
            await self._store.schedules.tick(schedule, tick, None)
            return True
        options = StartOptions(idempotency_key=schedule.key_of(tick.at), tags=schedule.tags_of(tick.at))
        try:
            instance = self._starts.new_instance(schedule.name, schedule.input_json, options)
        except UnknownWorkflowError as error:
            if schedule_id not in self._unknown:
                self._unknown.add(schedule_id)
                _log.error("schedule %s: cannot start anything, tried again every minute: %s", schedule_id, error)
            return False
        self._unknown.discard(schedule_id)
        await self._starts.stored(
            instance,
            lambda: self._store.schedules.tick(schedule, tick, instance),
            is_new=lambda instance_id: instance_id == instance.id,
        )
        return True
