"""The operations of the API on schedules (see `handlers`)."""

from starlette.requests import Request
from starlette.responses import Response

from pylon_workflows.api import views
from pylon_workflows.api.bodies import read_body
from pylon_workflows.api.responses import json_response
from pylon_workflows.api.schedule_shapes import ScheduleRequest
from pylon_workflows.errors import InvalidIdError
from pylon_workflows.ports import Engine
from pylon_workflows.schedule import check_schedule_id, unknown_schedule


class ScheduleHandlers:
    """What can be done with the schedules of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list_schedules(self, _request: Request) -> Response:
        """All schedules, by id."""
        return json_response(views.schedules_json(await self._engine.schedules()))

    async def save_schedule(self, request: Request) -> Response:
        """Make a schedule (201), or give the one that has its id these terms (200)."""
        body = await read_body(request, ScheduleRequest)
        before = {known.id for known in await self._engine.schedules()}
        schedule = await self._engine.schedule(
            body.cron, body.name, body.input, id=body.id, timezone=body.timezone, missed=body.missed, tags=body.tags
        )
        return json_response(views.schedule_json(schedule), 200 if schedule.id in before else 201)

    async def get_schedule(self, request: Request) -> Response:
        """A schedule."""
        return json_response(views.schedule_json(await self._engine.get_schedule(_schedule_id(request))))

    async def delete_schedule(self, request: Request) -> Response:
        """Forget a schedule."""
        await self._engine.unschedule(_schedule_id(request))
        return Response(status_code=204)

    async def pause_schedule(self, request: Request) -> Response:
        """Let a schedule start nothing."""
        return json_response(views.schedule_json(await self._engine.pause_schedule(_schedule_id(request))))

    async def resume_schedule(self, request: Request) -> Response:
        """Let a paused schedule go on."""
        return json_response(views.schedule_json(await self._engine.resume_schedule(_schedule_id(request))))


def _schedule_id(request: Request) -> str:
    """The id in the path. One that no schedule can have is unknown, not malformed: the answer is the same 404."""
    schedule_id: str = request.path_params["id"]
    try:
        return check_schedule_id(schedule_id)
    except InvalidIdError:
        raise unknown_schedule(schedule_id) from None
