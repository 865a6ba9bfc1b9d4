"""The HTTP application: its routes, and which status each error is answered with."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pylon_workflows import errors
from pylon_workflows.api import refusals
from pylon_workflows.api.auth import Authorize, HostAuthorize
from pylon_workflows.api.cors import AnswerPreflights, ShareAnswers
from pylon_workflows.api.handlers import Handlers
from pylon_workflows.api.limits import LimitBody, Limits
from pylon_workflows.api.origins import AllowHosts, checked_origins
from pylon_workflows.api.problems import AnswerErrors, Problem
from pylon_workflows.api.request_ids import IdentifyRequests
from pylon_workflows.api.scopes import check_scope, scope_of
from pylon_workflows.ports import Engine

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Answer:
    """How an error is answered. `detail` replaces a message that speaks of this machine and not of the request."""

    status: int
    detail: str | None = None
    retry_after_s: int | None = None


ANSWERS: Mapping[type[errors.WorkflowError], Answer] = {
    errors.CallerError: Answer(400),
    errors.TooLargeError: Answer(413),
    errors.UnknownWorkflowError: Answer(404),
    errors.UnknownInstanceError: Answer(404),
    errors.UnknownScheduleError: Answer(404),
    errors.UnknownTokenError: Answer(404),
    errors.ConflictError: Answer(409),
    errors.InboxFullError: Answer(429),
    errors.TooManySchedulesError: Answer(429),
    errors.TooManyTokensError: Answer(429),
    errors.EngineNotRunningError: Answer(503, retry_after_s=1),
    errors.NoOwnerError: Answer(503, "the process that owns the database does not answer", retry_after_s=1),
    errors.StorageFullError: Answer(503, "the disk is full; nothing was changed", retry_after_s=5),
    errors.OwnershipLostError: Answer(503, "the engine has stopped: its database was taken away", retry_after_s=5),
    errors.UnreadableInstanceError: Answer(503, retry_after_s=60),
    errors.StorageFailedError: Answer(503, "the engine writes no more: its disk has failed", retry_after_s=5),
    errors.CorruptDatabaseError: Answer(500, "what the database holds of this cannot be read"),
    errors.StoreError: Answer(503, "the database cannot be used now", retry_after_s=5),
    refusals.UnknownRouteError: Answer(404),
    refusals.MethodNotAllowedError: Answer(405),
    errors.WrongHookUrlError: Answer(401),
    refusals.MissingTokenError: Answer(401),
    refusals.NotLocalError: Answer(403),
    refusals.NotAllowedError: Answer(403),
    refusals.MissingScopeError: Answer(403),
    refusals.ForeignOriginError: Answer(403),
    refusals.UnknownHostError: Answer(421),
    refusals.BadSignatureError: Answer(401),
    refusals.UnknownSourceError: Answer(404),
    refusals.BodyTooSlowError: Answer(408),
    refusals.TooManyStreamsError: Answer(429, retry_after_s=5),
    refusals.UnsupportedEncodingError: Answer(415),
}
"""An error is answered as the nearest of its classes says."""


def create_app(
    engine: Engine,
    *,
    token: str | None = None,
    authorize: HostAuthorize | None = None,
    allowed_hosts: Collection[str] | None = None,
    cors_origins: Collection[str] = (),
    limits: Limits | None = None,
) -> Starlette:
    """The API over an engine, as an ASGI application to mount under any path.

    The engine need not be running yet. Callers show `token`, or one of the tokens in the engine's file, as
    `Authorization: Bearer`; others are let in by `authorize`, which gets the request's head and answers True, False or
    the scopes that it grants. Where there is none of these, only programs on this machine are answered (`auth.py`).

    Requests for other hosts than `allowed_hosts`, such as `["api.example.com"]`, are refused. Pages of other sites may
    not use the API but for those of `cors_origins`, such as `["https://app.example.com"]`.

    Raises:
        InvalidInputError: a token that cannot stand in a header, an `authorize` that is no function, a host or an
            origin that is none.
    """
    limits = limits or Limits()
    origins = checked_origins(cors_origins)
    middleware = [Middleware(IdentifyRequests), Middleware(AnswerErrors, explain)]
    if origins:
        middleware.insert(1, Middleware(ShareAnswers, origins, has_cookies=authorize is not None))
    if allowed_hosts is not None:
        middleware.append(Middleware(AllowHosts, allowed_hosts))
    if origins:
        middleware.append(Middleware(AnswerPreflights, origins))
    middleware += [
        Middleware(Authorize, engine, token=token, authorize=authorize, cors_origins=origins),
        Middleware(LimitBody, limits),
    ]
    return assembled(public_routes(Handlers(engine, limits=limits)), middleware)


def public_routes(handlers: Handlers) -> list[Route]:
    """What the API answers, but for the paths that it does not have; each to who has the scope that it wants."""
    root = route("/", GET=handlers.list_instances)
    # A mount hands over its root as "" or as "/", and neither may cost the caller a redirect.
    root.path_regex = re.compile(r"/?\Z")
    routes = [
        root,
        route("/definitions", GET=handlers.list_definitions, POST=handlers.save_definition),
        route("/start", POST=handlers.start),
        route("/events", POST=handlers.publish),
        route("/schedules", GET=handlers.list_schedules, POST=handlers.save_schedule),
        route("/schedules/{id}", GET=handlers.get_schedule, DELETE=handlers.delete_schedule),
        route("/schedules/{id}/pause", POST=handlers.pause_schedule),
        route("/schedules/{id}/resume", POST=handlers.resume_schedule),
        route("/cancel", POST=handlers.cancel_many),
        route("/resume", POST=handlers.resume_many),
        route("/stream", GET=handlers.stream_all),
        route("/healthz", GET=handlers.health),
        route("/openapi.json", GET=handlers.describe),
        route("/{id}", GET=handlers.get, DELETE=handlers.delete),
        route("/{id}/history", GET=handlers.history),
        route("/{id}/export", GET=handlers.export),
        route("/{id}/explain", GET=handlers.explain),
        route("/{id}/stream", GET=handlers.stream),
        route("/{id}/event", POST=handlers.send_event),
        route("/{id}/approvals/{key:path}", POST=handlers.decide_approval),
        route("/{id}/cancel", POST=handlers.cancel),
        route("/{id}/advance", POST=handlers.advance),
        route("/{id}/resume", POST=handlers.resume),
    ]
    for each in routes:
        resource: _Resource = each.endpoint  # type: ignore[assignment]  # as `route` has made it
        resource.wants_scopes_of(each.path)
    return routes


def assembled(routes: Sequence[Route], middleware: Sequence[Middleware]) -> Starlette:
    """An application of these routes, which redirects nobody."""
    unknown = _exact(Route("/{rest:path}", _unknown, methods=None))
    app = Starlette(routes=[*routes, unknown], middleware=middleware)
    app.router.redirect_slashes = False
    app.middleware_stack = app.build_middleware_stack()
    return app


def explain(error: Exception) -> Problem | None:
    """The problem that an error is told as; None when nobody foresaw it."""
    if isinstance(error, HTTPException):
        return _said_by_host(error)
    if isinstance(error, ClientDisconnect):
        return Problem(status=400, code="disconnected", detail="the body: ended before its time")
    if not isinstance(error, errors.WorkflowError):
        return None
    answer = next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), None)
    if answer is None:
        return None
    headers = dict(error.headers) if isinstance(error, refusals.RefusedRequestError) else {}
    if answer.retry_after_s is not None:
        headers["retry-after"] = str(answer.retry_after_s)
    if answer.status == 413:
        headers["connection"] = "close"
    return Problem(status=answer.status, code=error.code, detail=answer.detail or str(error), headers=headers)


def _said_by_host(error: HTTPException) -> Problem | None:
    """The refusal that the host application's `authorize` has raised; None for one that is no refusal."""
    if not 400 <= error.status_code < 600:
        return None
    code = {401: "unauthorized", 403: "not-allowed"}.get(error.status_code, refusals.RefusedRequestError.code)
    return Problem(status=error.status_code, code=code, detail=str(error.detail), headers=dict(error.headers or {}))


class _Resource:
    """What one path answers, by method; HEAD is GET without the body."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._path: str | None = None
        self._allow = ", ".join(sorted({*handlers, *(["HEAD"] if "GET" in handlers else [])}))

    def wants_scopes_of(self, path: str) -> None:
        """Answer only callers who have what the table of scopes says."""
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        handler = self._handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise refusals.MethodNotAllowedError(
                f"{method[:20]} is not for this path; it takes {self._allow}", headers={"allow": self._allow}
            )
        wanted = None if self._path is None else scope_of(self._path, method)
        if wanted is not None:
            check_scope(scope, wanted)
        response = await handler(Request(scope, receive))
        if method == "HEAD":
            response.body = b""
        await response(scope, receive, send)


def route(path: str, **handlers: Handler) -> Route:
    """What a path answers, by method, to everybody."""
    return _exact(Route(path, _Resource(handlers)))


def _exact(route: Route) -> Route:
    """The route, with line breaks being what other characters are: a name may have them, and a path end in one."""
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)
    return route


class _Unknown:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise refusals.UnknownRouteError(f"this API has no path {scope['path'][:200]!r}")


_unknown = _Unknown()
