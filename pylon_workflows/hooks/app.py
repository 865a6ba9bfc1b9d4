"""The HTTP application that takes webhooks: who sent one is shown by its signature, not by a token."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from pylon_workflows.api.answers import explain
from pylon_workflows.api.limits import LimitBody, Limits
from pylon_workflows.api.problems import AnswerErrors, Problem
from pylon_workflows.api.refusals import BadSignatureError, UnknownSourceError
from pylon_workflows.api.request_ids import IdentifyRequests
from pylon_workflows.api.responses import json_response
from pylon_workflows.api.routes import assembled, route
from pylon_workflows.clock import SystemClock
from pylon_workflows.declared_types import check_has, check_type
from pylon_workflows.errors import InboxFullError, UnknownWorkflowError
from pylon_workflows.hooks.delivering import deliver
from pylon_workflows.hooks.hook_calls import hook_call_route, without_signature
from pylon_workflows.hooks.interpretation import (
    AMBIGUOUS,
    MISSING,
    UNMAPPED,
    Challenge,
    Delivery,
    Interpreter,
    NotApplicableError,
)
from pylon_workflows.hooks.signatures.checks import refused
from pylon_workflows.hooks.signatures.verifier import RawHeaders
from pylon_workflows.hooks.sources import HookSource, checked_sources
from pylon_workflows.once_a_minute import OnceAMinute
from pylon_workflows.ports import Clock, Engine
from runner_protocol.strict_json import encode_parsed

_ON_THE_LOOP = 64 * 1024
_ROOM_COMES_WITHIN_S = 30
_WORKFLOW_COMES_WITHIN_S = 60
_SAYS_WHAT_WAS_LOOKED_FOR = frozenset({MISSING, AMBIGUOUS})
"""Reasons whose sentences name what a template wants, and show nothing of the delivery, so that a log may have them."""
_NOT_KNOWN_YET = "the workflow that this event is to start is not known here yet"  # a sender need not know ours

_logger = logging.getLogger(__name__)


def create_hooks_app(
    engine: Engine, sources: Iterable[HookSource] = (), *, limits: Limits | None = None, clock: Clock | None = None
) -> Starlette:
    """The webhooks of the sources, as an ASGI application to mount at `/hooks`, apart from the API.

    The URLs that instances have given out (`ctx.hook_url`) are under `/hook/`; with them alone `sources` may be empty.
    Each source is at `/<name>`, or at `/<name>/<id>` where it takes an id from the URL. A delivery is verified before
    anything of it is read; what it says is stored and acknowledged with 200, and so is one that was stored before, or
    that can be applied to nothing (`{"applied": false, "reason"}`). 401: the signature is not the source's. 413: the
    body is larger than `limits` let it be. 429, 503: not now, come again. The engine need not be running yet.

    Raises:
        InvalidInputError: what is no engine or no limits, two sources with one name or one secret.
    """
    check_has(engine, "send_event", "engine", "a WorkflowEngine")
    check_type(limits, Limits | None, "limits")
    clock = SystemClock() if clock is None else clock
    doors = {name: _Door(engine, source, clock) for name, source in checked_sources(sources).items()}
    doorway = _Doorway(doors)
    routes = [
        route("/{source}", POST=doorway.receive),
        route("/{source}/{id}", POST=doorway.receive),
        hook_call_route(engine, clock),
    ]
    middleware = [
        Middleware(IdentifyRequests),
        Middleware(AnswerErrors, _explain, shown=without_signature),
        Middleware(LimitBody, limits or Limits()),
    ]
    return assembled(routes, middleware)


class _Doorway:
    """All sources."""

    def __init__(self, doors: dict[str, "_Door"]) -> None:
        self._doors = doors

    async def receive(self, request: Request) -> Response:
        """Take a delivery."""
        name, url_id = request.path_params["source"], request.path_params.get("id")
        door = self._doors.get(name)
        if door is None or door.wants_url_id != (url_id is not None):
            raise UnknownSourceError("no webhooks are taken here")
        return await door.receive(await request.body(), request.headers.raw, url_id)


class _Door:
    """One source."""

    def __init__(self, engine: Engine, source: HookSource, clock: Clock) -> None:
        self._engine = engine
        self._source = source
        self._verify: Callable[[RawHeaders, bytes, float], object] = source.verifier.verify
        self._clock = clock
        self._refusals = OnceAMinute(clock.monotonic)
        self._failures = OnceAMinute(clock.monotonic)
        self._unmapped = OnceAMinute(clock.monotonic)
        self._interpreter = Interpreter(source)
        self.wants_url_id = self._interpreter.wants_url_id

    async def receive(self, body: bytes, headers: RawHeaders, url_id: str | None) -> Response:
        try:
            if len(body) <= _ON_THE_LOOP:
                delivery = self._open(body, headers, url_id)
            else:
                delivery = await asyncio.to_thread(self._open, body, headers, url_id)
            if isinstance(delivery, Challenge):
                return _answer({"challenge": delivery.answer})
            is_duplicate = await deliver(self._engine, self._source.name, delivery)
        except BadSignatureError as error:
            others = self._refusals.turn()
            if others is not None:
                _logger.warning("webhook source %s: a delivery was refused: %s%s", self._source.name, error, others)
            raise
        except NotApplicableError as error:
            self._tell(error)
            return _answer({"applied": False, "duplicate": False, "reason": error.reason, "detail": str(error)})
        return _answer({"applied": True, "duplicate": is_duplicate})

    def _tell(self, error: NotApplicableError) -> None:
        others = self._unmapped.turn() if error.reason == UNMAPPED else ""  # a sender sends what nobody asked for
        if others is not None:
            detail = f": {error}" if error.reason in _SAYS_WHAT_WAS_LOOKED_FOR else others
            _logger.info("webhook source %s: acknowledged, not applied: %s%s", self._source.name, error.reason, detail)

    def _open(self, body: bytes, headers: RawHeaders, url_id: str | None) -> Delivery | Challenge:
        """Verify, and only then read."""
        try:
            answer = self._verify(headers, body, self._clock.now().timestamp())
            if answer is not None:  # such as False, or what an `async def` returns: it would let everybody in
                raise TypeError(f"a verifier returns None or raises BadSignatureError, and not {type(answer).__name__}")
        except BadSignatureError:
            raise
        except Exception:
            # 401 and not 500: whatever a stranger sends may lead here, and most senders come again after either.
            others = self._failures.turn()
            if others is not None:
                _logger.exception("webhook source %s: its verifier failed%s", self._source.name, others)
            raise refused("the signature could not be verified") from None
        return self._interpreter.read(body, headers, url_id)


def _explain(error: Exception) -> Problem | None:
    """As the API explains it; but a sender is asked to come again for what will pass."""
    problem = explain(error)
    if problem is None:
        return None
    if isinstance(error, InboxFullError):
        headers = {**problem.headers, "retry-after": str(_ROOM_COMES_WITHIN_S)}
        return Problem(status=429, code=problem.code, detail=problem.detail, headers=headers)
    if isinstance(error, UnknownWorkflowError):
        headers = {**problem.headers, "retry-after": str(_WORKFLOW_COMES_WITHIN_S)}
        return Problem(status=503, code=problem.code, detail=_NOT_KNOWN_YET, headers=headers)
    return problem


def _answer(members: dict[str, Any]) -> Response:
    return json_response(encode_parsed(members))
