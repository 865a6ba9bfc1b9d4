"""One method for each operation: read what the request says, make one call on the engine, write what it answered."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from pylon_workflows.api import openapi, views
from pylon_workflows.api.bodies import one_header, read_body, sent_event_id
from pylon_workflows.api.bulk_shapes import BulkRequest
from pylon_workflows.api.event_stream import Streams
from pylon_workflows.api.exporting import export_response
from pylon_workflows.api.limits import Limits
from pylon_workflows.api.live_handlers import LiveHandlers
from pylon_workflows.api.publish_handlers import PublishHandlers
from pylon_workflows.api.queries import bulk_terms, limit_of, list_query, next_page, revision_of
from pylon_workflows.api.responses import json_response
from pylon_workflows.api.schedule_handlers import ScheduleHandlers
from pylon_workflows.api.schemas import ApprovalRequest, DefinitionRequest, EventRequest, StartRequest
from pylon_workflows.api.scopes import check_scope
from pylon_workflows.api.shared_changes import SharedChanges
from pylon_workflows.api.sharing import Sharing
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import HistoryLimitError, InvalidInputError, WorkflowError
from pylon_workflows.ids import check_possible_id
from pylon_workflows.ports import MAX_HISTORY_PAGE, Engine
from runner_protocol.fields import MAX_NAME_LENGTH
from runner_protocol.strict_json import encode_parsed

_WRITTEN_ON_THE_LOOP = 500


class Handlers(ScheduleHandlers, PublishHandlers, LiveHandlers):
    """The operations of the API on one engine."""

    def __init__(self, engine: Engine, *, limits: Limits | None = None) -> None:
        super().__init__(engine)
        limits = limits or Limits()
        self._streams = Streams(limits.max_streams, limits.max_stream_s)
        self._changes = SharedChanges(engine)
        self._histories = Sharing()

    async def list_definitions(self, _request: Request) -> Response:
        """All definitions, by name."""
        return json_response(views.definitions_json(await self._engine.definitions()))

    async def save_definition(self, request: Request) -> Response:
        """Keep a definition; the answer is what counts now, which is the program's own where it has registered one."""
        body = await read_body(request, DefinitionRequest)
        if None not in (body.step_timeout_s, body.step_timeout_secs) and body.step_timeout_s != body.step_timeout_secs:
            raise InvalidInputError("step_timeout_s: differs from step_timeout_secs; send one of them")
        terms: dict[str, Any] = {"max_in_flight": body.max_in_flight, "input_schema": body.input_schema}
        if body.max_retries is not None:
            terms["max_retries"] = body.max_retries
        seconds = body.step_timeout_s or body.step_timeout_secs
        if seconds is not None:
            terms["step_timeout"] = timedelta(seconds=seconds)
        definition = WorkflowDefinition(body.name, version=body.version, description=body.description, **terms)
        is_new = all(known.name != body.name for known in await self._engine.definitions())
        await self._engine.save_definition(definition)
        for known in await self._engine.definitions():
            if known.name == body.name:
                definition = known
        return json_response(views.definition_json(definition), 201 if is_new else 200)

    async def start(self, request: Request) -> Response:
        """Start an instance (201), or find the one that was started so before (200)."""
        header = one_header(request, "Idempotency-Key", max_length=MAX_NAME_LENGTH)
        body = await read_body(request, StartRequest)
        if None not in (header, body.idempotency_key) and header != body.idempotency_key:
            raise InvalidInputError("idempotency_key: differs from the header Idempotency-Key; send one of them")
        if body.wait_s is not None:
            check_scope(request.scope, "read")  # the answer shows what the instance was given and has done
        started = await self._engine.start_or_find(
            body.name,
            body.input,
            id=body.id,
            idempotency_key=body.idempotency_key or header,
            tags=body.tags,
            delay=body.delay,
            at=body.at,
            parent_id=body.parent_id,
        )
        text = encode_parsed({"id": started.id})
        if body.wait_s is not None:
            text = text[:-1] + b',"instance":' + await self._finished(started.id, body.wait_s) + b"}"
        return json_response(text, 201 if started.is_new else 200)

    async def _finished(self, instance_id: str, timeout_s: float) -> bytes:
        """The instance if it finishes in time, else null: that it was started is said in any case."""
        try:
            instance = await self._engine.wait(instance_id, timeout_s)
        except (TimeoutError, WorkflowError):
            return b"null"
        return await _written(views.instance_json, instance, len(instance.records))

    async def list_instances(self, request: Request) -> Response:
        """A page of instances, newest first; the header Link names the next one, if there is one."""
        query = list_query(request)
        page = await self._engine.list(after=query.after, limit=query.limit, **query.where)
        response = json_response(views.summaries_json(page))
        if len(page) == query.limit and await self._engine.list(after=page[-1].id, limit=1, **query.where):
            response.headers["link"] = next_page(request, query, page[-1].id)
        return response

    async def get(self, request: Request) -> Response:
        """An instance, as it is or as it was at a revision."""
        as_of = revision_of(request, "as_of")
        instance = await self._engine.get(_instance_id(request), as_of=as_of)
        wait = self._engine.waiting_for_runner(instance) if as_of is None else None
        write = partial(views.instance_json, wait=wait)
        return json_response(await _written(write, instance, len(instance.records)))

    async def history(self, request: Request) -> Response:
        """A page of an instance's transitions; the header Link names the next one, if there is one."""
        limit = limit_of(request, most=MAX_HISTORY_PAGE, refusal=HistoryLimitError)
        after = revision_of(request, "after") or 0
        page = await self._engine.history_page(_instance_id(request), after=after, limit=limit)
        write = partial(views.history_json, after=after)
        response = json_response(await _written(write, page.transitions, len(page.transitions)))
        if not page.is_last:
            query = urlencode({"limit": limit, "after": page.last})
            response.headers["link"] = f'<?{query}>; rel="next"'
        return response

    async def export(self, request: Request) -> Response:
        """An instance as one document."""
        return await export_response(self._engine, _instance_id(request), is_wanted=request.method == "GET")

    async def send_event(self, request: Request) -> Response:
        """Accept an event, once per event id."""
        instance_id = _instance_id(request)
        header = sent_event_id(request)
        body = await read_body(request, EventRequest)
        receipt = await self._engine.send_event(instance_id, body.event, body.data, event_id=body.event_id or header)
        return json_response(encode_parsed({"ok": True, "duplicate": receipt.is_duplicate}))

    async def decide_approval(self, request: Request) -> Response:
        """Approve or reject the gate of that key; the same decision again is the same."""
        instance_id, key = _instance_id(request), request.path_params["key"]
        body = await read_body(request, ApprovalRequest)
        decide = self._engine.approve if body.decision == "approve" else self._engine.reject
        receipt = await decide(instance_id, key, by=body.by, comment=body.comment, data=body.data)
        return json_response(encode_parsed({"ok": True, "duplicate": receipt.is_duplicate}))

    async def cancel(self, request: Request) -> Response:
        """Cancel an instance; again is the same."""
        await self._engine.cancel(_instance_id(request))
        return json_response(b'{"cancelled":true}')

    async def cancel_many(self, request: Request) -> Response:
        """Cancel a page of the instances that the body chooses."""
        terms = bulk_terms(await read_body(request, BulkRequest))
        return json_response(views.bulk_json(await self._engine.cancel_many(**terms)))

    async def resume_many(self, request: Request) -> Response:
        """Let a page of the blocked instances that the body chooses go on."""
        terms = bulk_terms(await read_body(request, BulkRequest))
        return json_response(views.bulk_json(await self._engine.resume_many(**terms)))

    async def advance(self, request: Request) -> Response:
        """Do now what is due."""
        status = await self._engine.advance(_instance_id(request))
        return json_response(encode_parsed({"status": status.value}))

    async def resume(self, request: Request) -> Response:
        """Let a blocked instance go on."""
        status = await self._engine.resume(_instance_id(request))
        return json_response(encode_parsed({"status": status.value}))

    async def delete(self, request: Request) -> Response:
        """Delete a finished instance."""
        await self._engine.delete(_instance_id(request))
        return Response(status_code=204)

    async def health(self, _request: Request) -> Response:
        """Whether the engine takes work, and as what."""
        if (refusal := self._engine.refusal) is not None:
            raise refusal
        health = {
            "status": "ok",
            "role": self._engine.role,
            "unexplained_instances": self._engine.unexplained_instances,
            "given_up_webhooks": self._engine.given_up_webhooks,
        }
        return json_response(encode_parsed(health))

    async def describe(self, request: Request) -> Response:
        """This API as an OpenAPI document."""
        return json_response(encode_parsed(openapi.document(request.scope.get("root_path", ""))))


async def _written(write: Any, value: Any, length: int) -> bytes:
    """The text of a value; off the loop when it is so long that others would have to wait for it."""
    text: bytes = write(value) if length <= _WRITTEN_ON_THE_LOOP else await asyncio.to_thread(write, value)
    return text


def _instance_id(request: Request) -> str:
    """The id in the path. One that no instance can have is unknown, not malformed: the answer is the same 404."""
    return check_possible_id(request.path_params["id"])
