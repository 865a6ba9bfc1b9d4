"""What each path answers, by method; the applications of this package are made of such routes."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pylon_workflows.api.refusals import MethodNotAllowedError, UnknownRouteError
from pylon_workflows.api.scopes import check_scope, scope_of

Handler = Callable[[Request], Awaitable[Response]]


def assembled(routes: Sequence[Route], middleware: Sequence[Middleware]) -> Starlette:
    """An application of these routes, which redirects nobody."""
    unknown = _exact(Route("/{rest:path}", _unknown, methods=None))
    app = Starlette(routes=[*routes, unknown], middleware=middleware)
    app.router.redirect_slashes = False
    app.middleware_stack = app.build_middleware_stack()
    return app


def route(path: str, **handlers: Handler) -> Route:
    """What a path answers, by method, to everybody."""
    return _exact(Route(path, _Resource(handlers)))


def scoped(routes: Sequence[Route]) -> Sequence[Route]:
    """The routes, each of which answers only callers who have what the table of scopes says."""
    for each in routes:
        resource: _Resource = each.endpoint  # type: ignore[assignment]  # as `route` has made it
        resource.wants_scopes_of(each.path)
    return routes


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
            raise MethodNotAllowedError(
                f"{method[:20]} is not for this path; it takes {self._allow}", headers={"allow": self._allow}
            )
        wanted = None if self._path is None else scope_of(self._path, method)
        if wanted is not None:
            check_scope(scope, wanted)
        response = await handler(Request(scope, receive))
        if method == "HEAD":
            response.body = b""
        await response(scope, receive, send)


def _exact(route: Route) -> Route:
    """The route, with line breaks being what other characters are: a name may have them, and a path end in one."""
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)
    return route


class _Unknown:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise UnknownRouteError(f"this API has no path {scope['path'][:200]!r}")


_unknown = _Unknown()
