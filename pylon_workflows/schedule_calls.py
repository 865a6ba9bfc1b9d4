"""What users call on an engine about schedules: done in this process, or by whichever process owns the file."""

from collections.abc import Sequence
from typing import Any, Unpack

from pylon_workflows.engine import LocalEngine
from pylon_workflows.ownership import schedule_requests
from pylon_workflows.ownership.access import Access
from pylon_workflows.ports import EMPTY
from pylon_workflows.schedule import Schedule, ScheduleOptions
from pylon_workflows.settings import EngineSettings


class ScheduleCalls:
    """The calls of a `WorkflowEngine` about schedules; see `EngineCalls`."""

    _engine: LocalEngine
    _access: Access
    _settings: EngineSettings

    async def schedule(self, cron: str, name: str, input: Any = EMPTY, **options: Unpack[ScheduleOptions]) -> Schedule:
        """Start an instance of the workflow `name` at each tick of a cron text, and return the schedule.

        `cron` has five fields: minute, hour, day of the month, month, day of the week. The other arguments are those
        of `ScheduleOptions`: `id`, `timezone`, `missed`, `tags`. A repeated call changes nothing; one with the id of a
        schedule that is there gives it these terms, from now on. A paused one stays paused.

        Raises:
            InvalidInputError and its kinds, InputTooLargeError, UnknownWorkflowError; TooManySchedulesError: 1,000.
        """
        return await self._access.change(
            lambda: self._engine.schedule(cron, name, input, **options),
            lambda: schedule_requests.schedule(
                self._settings, cron, name, input, options, now=self._engine.clock.now()
            ),
        )

    async def unschedule(self, schedule_id: str) -> None:
        """Forget a schedule; what it has started goes on. Raises UnknownScheduleError."""
        await self._access.change(
            lambda: self._engine.unschedule(schedule_id), lambda: schedule_requests.unschedule(schedule_id)
        )

    async def pause_schedule(self, schedule_id: str) -> Schedule:
        """Let a schedule start nothing until it is resumed; again is the same. Raises UnknownScheduleError."""
        return await self._access.change(
            lambda: self._engine.pause_schedule(schedule_id), lambda: schedule_requests.pause(schedule_id)
        )

    async def resume_schedule(self, schedule_id: str) -> Schedule:
        """Let a paused schedule go on with its next tick; those in between are not made up for.

        Raises:
            UnknownScheduleError.
        """
        return await self._access.change(
            lambda: self._engine.resume_schedule(schedule_id), lambda: schedule_requests.resume(schedule_id)
        )

    async def get_schedule(self, schedule_id: str) -> Schedule:
        """A schedule, with its next tick and its last start. Raises UnknownScheduleError."""
        return await self._access.read(lambda source: source.get_schedule(schedule_id))

    async def schedules(self) -> Sequence[Schedule]:
        """All schedules, by id."""
        return await self._access.read(lambda source: source.schedules())
