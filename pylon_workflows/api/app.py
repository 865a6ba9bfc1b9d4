"""The HTTP application: its routes, and what stands before them."""

import re
from collections.abc import Collection, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from pylon_workflows.api.answers import explain
from pylon_workflows.api.auth import Authorize, HostAuthorize
from pylon_workflows.api.cors import AnswerPreflights, ShareAnswers
from pylon_workflows.api.handlers import Handlers
from pylon_workflows.api.limits import LimitBody, Limits
from pylon_workflows.api.origins import AllowHosts, checked_origins
from pylon_workflows.api.problems import AnswerErrors
from pylon_workflows.api.request_ids import IdentifyRequests
from pylon_workflows.api.routes import assembled, route, scoped
from pylon_workflows.declared_types import check_has, check_type
from pylon_workflows.ports import Engine


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
        InvalidInputError: what is no engine or no limits, a token that cannot stand in a header, an `authorize` that is
            no function, a host or an origin that is none.
    """
    check_has(engine, "start_or_find", "engine", "a WorkflowEngine")
    check_type(limits, Limits | None, "limits")
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


def public_routes(handlers: Handlers) -> Sequence[Route]:
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
    return scoped(routes)
