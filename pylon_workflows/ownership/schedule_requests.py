"""What a standby asks of the owner about schedules (see `owner_requests`)."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pylon_workflows.canonical_json import CanonicalJson, checked_json
from pylon_workflows.engine import LocalEngine
from pylon_workflows.errors import InputTooLargeError, UnknownScheduleError, WorkflowError
from pylon_workflows.ownership.owner_requests import OwnerRequest, Reading
from pylon_workflows.schedule import Schedule, ScheduleOptions, check_schedule_id, new_schedule, unknown_schedule
from pylon_workflows.settings import EngineSettings
from runner_protocol.strict_json import encode_parsed


def schedule(
    settings: EngineSettings, cron: str, name: str, input: Any, options: ScheduleOptions, *, now: datetime
) -> OwnerRequest[Schedule]:
    """Make or change a schedule. It has its id from here on, so that it is one however often it is sent."""
    input_json = CanonicalJson(checked_json(input, "input", settings.max_input_bytes, InputTooLargeError))
    made = new_schedule(cron, name, input_json, options, now=now)
    terms = ScheduleOptions(id=made.id, timezone=made.timezone, missed=made.missed, tags=made.tags)
    rest = encode_parsed({"cron": made.cron, "name": name, **terms, "tags": dict(made.tags)})

    async def call(engine: LocalEngine) -> Schedule:
        return await engine.schedule(made.cron, name, input_json, **terms)

    return OwnerRequest(
        method="POST",
        target="/schedules",
        body=rest[:-1] + b',"input":' + input_json + b"}",
        call=call,
        read=_as_it_is(made.id),
    )


def unschedule(schedule_id: str) -> OwnerRequest[None]:
    """Forget a schedule. One that is unknown when this is tried again has been forgotten by it."""

    async def read(_status: int, _answer: Any, _reading: Reading) -> None:
        return None

    async def read_repeated(error: WorkflowError, _reading: Reading) -> None:
        if not isinstance(error, UnknownScheduleError):
            raise error

    return OwnerRequest(
        method="DELETE",
        target=_target(schedule_id),
        body=b"",
        call=lambda engine: engine.unschedule(schedule_id),
        read=read,
        read_repeated=read_repeated,
    )


def pause(schedule_id: str) -> OwnerRequest[Schedule]:
    """Pause a schedule; again is the same."""
    return _change(schedule_id, "pause", lambda engine: engine.pause_schedule(schedule_id))


def resume(schedule_id: str) -> OwnerRequest[Schedule]:
    """Resume a schedule; again is the same."""
    return _change(schedule_id, "resume", lambda engine: engine.resume_schedule(schedule_id))


def _change(schedule_id: str, verb: str, call: Callable[[LocalEngine], Awaitable[Schedule]]) -> OwnerRequest[Schedule]:
    target = f"{_target(schedule_id)}/{verb}"
    return OwnerRequest(method="POST", target=target, body=b"", call=call, read=_as_it_is(schedule_id))


def _as_it_is(schedule_id: str) -> Callable[[int, Any, Reading], Awaitable[Schedule]]:
    async def read(_status: int, _answer: Any, reading: Reading) -> Schedule:
        return await reading.get_schedule(schedule_id)

    return read


def _target(schedule_id: str) -> str:
    """The path. An id that no schedule can have is unknown, as the owner would say, and would be another path."""
    try:
        return f"/schedules/{quote(check_schedule_id(schedule_id), safe='')}"
    except WorkflowError:
        raise unknown_schedule(schedule_id) from None
