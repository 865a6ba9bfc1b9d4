"""The operation of the API that publishes an event (see `handlers`)."""

from starlette.requests import Request
from starlette.responses import Response

from pylon_workflows.api.bodies import check_value_depth, read_body, sent_event_id
from pylon_workflows.api.publish_shapes import PublishRequest
from pylon_workflows.api.responses import json_response
from pylon_workflows.api.scopes import check_scope
from pylon_workflows.ports import Engine
from pylon_workflows.published import PublishedStart
from runner_protocol.strict_json import encode_parsed


class PublishHandlers:
    """What can be published to one engine."""

    _engine: Engine

    async def publish(self, request: Request) -> Response:
        """Accept an event for whoever waits for it, once per source and event id."""
        header = sent_event_id(request)
        body = await read_body(request, PublishRequest, envelope=2)  # the start's input stands in the start
        check_value_depth(body.data, "data")
        start = None
        if body.start is not None:
            check_scope(request.scope, "start")
            start = PublishedStart(body.start.name, body.start.input, id=body.start.id, tags=body.start.tags)
        receipt = await self._engine.publish(
            body.event,
            body.data,
            correlation=body.correlation,
            event_id=body.event_id or header,
            source=body.source,
            start=start,
        )
        return json_response(encode_parsed({"ok": True, "duplicate": receipt.is_duplicate}))
