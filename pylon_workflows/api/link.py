"""The API as the owner of a file serves it to the standbys of its own user: all of the public one, and what they need
beside it. Errors are told whole, for they are raised again at the other end.
"""

from datetime import timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pylon_workflows import errors
from pylon_workflows.api.answers import explain
from pylon_workflows.api.app import public_routes
from pylon_workflows.api.bodies import read_body
from pylon_workflows.api.handlers import Handlers
from pylon_workflows.api.limits import LimitBody, Limits
from pylon_workflows.api.problems import AnswerErrors, Problem
from pylon_workflows.api.queries import revision_of
from pylon_workflows.api.request_ids import IdentifyRequests
from pylon_workflows.api.responses import json_response
from pylon_workflows.api.routes import assembled
from pylon_workflows.api.schemas import ApprovalRequest
from pylon_workflows.api.scopes import GrantEverything
from pylon_workflows.api.token_handlers import TokenHandlers
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.engine import LocalEngine
from pylon_workflows.ids import check_possible_id
from pylon_workflows.settings import EngineSettings
from runner_protocol.messages import MAX_ANSWER_BYTES, parse_action
from runner_protocol.strict_json import MAX_DEPTH, encode_parsed, parse

_ROOM_BYTES = 64 * 1024


def create_link_app(engine: LocalEngine, settings: EngineSettings) -> Starlette:
    """The API over the owner's engine, for callers that the socket has let in: none of them is asked who it is.

    A body may be what the engine takes, and its envelope.
    """
    largest = max(settings.max_input_bytes + settings.max_event_bytes, MAX_ANSWER_BYTES)  # a publish has both
    handlers, tokens = LinkHandlers(engine), TokenHandlers(engine)
    routes = [
        Route("/definitions", handlers.put_definition, methods=["PUT"]),
        Route("/{id}/apply", handlers.apply, methods=["POST"]),
        Route("/tokens/{id}", tokens.put, methods=["PUT"]),
        Route("/tokens/{id}", tokens.delete, methods=["DELETE"]),
        *public_routes(handlers),
    ]
    middleware = [
        Middleware(IdentifyRequests),  # by the ids that the standbys' callers have
        # A refusal is the standby's to tell: it asks the next owner, and its caller may never notice.
        Middleware(AnswerErrors, _explain_whole, logs_refusals=False),
        Middleware(GrantEverything),
        Middleware(LimitBody, Limits(max_body_bytes=largest + _ROOM_BYTES)),
    ]
    return assembled(routes, middleware)


class RunApprovalRequest(ApprovalRequest):
    """A decision about a gate of the run that has the `seed`."""

    seed: str | None = None


class LinkHandlers(Handlers):
    """The operations of the public API, and those that only standbys call."""

    def __init__(self, engine: LocalEngine) -> None:
        super().__init__(engine)
        self._owner = engine

    async def apply(self, request: Request) -> Response:
        """Apply a canned answer; tell the revision to which it led."""
        try:
            action = parse_action(await request.body())
        except ValueError as error:
            raise errors.InvalidInputError(f"action: {error}") from None
        instance = await self._owner.apply(request.path_params["id"], action)
        return Response(encode_parsed({"revision": instance.revision}), media_type="application/json")

    async def decide_approval(self, request: Request) -> Response:
        """Approve or reject the gate of that key, in the run that the standby has seen; it may ask twice."""
        instance_id, key = check_possible_id(request.path_params["id"]), request.path_params["key"]
        body = await read_body(request, RunApprovalRequest)
        receipt = await self._owner.decide(
            instance_id,
            key,
            body.by,
            body.comment,
            body.data,
            is_approved=body.decision == "approve",
            seed=body.seed,
        )
        return json_response(encode_parsed({"ok": True, "duplicate": receipt.is_duplicate}))

    async def resume(self, request: Request) -> Response:
        """Let a blocked instance go on, unless it has since the revision that the standby saw; it may ask twice."""
        instance_id, after = check_possible_id(request.path_params["id"]), revision_of(request, "after")
        status = await self._owner.resume(instance_id, after=after)
        return json_response(encode_parsed({"status": status.value}))

    async def put_definition(self, request: Request) -> Response:
        """Keep a definition with all its terms; those that end in `_us` are durations in microseconds."""
        terms: dict[str, Any] = parse(await request.body(), max_depth=MAX_DEPTH + 1)
        for name in [name for name in terms if name.endswith("_us")]:
            terms[name.removesuffix("_us")] = timedelta(microseconds=terms.pop(name))
        await self._owner.save_definition(WorkflowDefinition(**terms))
        return Response(status_code=204)


def _explain_whole(error: Exception) -> Problem | None:
    """As the public API explains it, in the error's own words."""
    problem = explain(error)
    if problem is None or not isinstance(error, errors.WorkflowError):
        return problem
    return Problem(status=problem.status, code=error.code, detail=str(error), headers=problem.headers)
