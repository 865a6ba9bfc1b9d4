"""Which scope each route wants: one table, so that it can be read at a glance and no route is without one."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from pylon_workflows.api.refusals import MissingScopeError
from pylon_workflows.tokens import EVERY_SCOPE
from pylon_workflows.tokens import Scope as TokenScope

SCOPES: Mapping[tuple[str, str], TokenScope] = {
    ("/", "GET"): "read",
    ("/definitions", "GET"): "read",
    ("/definitions", "POST"): "admin",
    ("/start", "POST"): "start",  # and `read`, when the answer waits for the instance
    ("/events", "POST"): "event",  # and `start`, when the body says what to start
    ("/schedules", "GET"): "read",
    ("/schedules", "POST"): "admin",
    ("/schedules/{id}", "GET"): "read",
    ("/schedules/{id}", "DELETE"): "admin",
    ("/schedules/{id}/pause", "POST"): "admin",
    ("/schedules/{id}/resume", "POST"): "admin",
    ("/cancel", "POST"): "cancel",
    ("/resume", "POST"): "admin",
    ("/stream", "GET"): "read",
    ("/openapi.json", "GET"): "read",
    ("/{id}", "GET"): "read",
    ("/{id}", "DELETE"): "admin",
    ("/{id}/history", "GET"): "read",
    ("/{id}/export", "GET"): "read",
    ("/{id}/explain", "GET"): "read",
    ("/{id}/stream", "GET"): "read",
    ("/{id}/event", "POST"): "event",
    ("/{id}/approvals/{key}", "POST"): "event",
    ("/{id}/cancel", "POST"): "cancel",
    ("/{id}/advance", "POST"): "admin",
    ("/{id}/resume", "POST"): "admin",
}
"""By path and method. A route that is not here wants `admin`, and a test fails for it."""

OPEN = frozenset({("/healthz", "GET")})
"""Routes for everybody whom the API answers at all: probes have no token, and it tells nothing."""

_GRANTED = "pylon_workflows.granted"


class GrantEverything:
    """Lets whoever comes this far do everything: on the owner's socket nobody is asked who he is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        await self._app(grant(scope, EVERY_SCOPE), receive, send)


def grant(scope: Scope, granted: frozenset[TokenScope]) -> Scope:
    """The request of a caller who may do this much."""
    return {**scope, _GRANTED: granted}


def scope_of(path: str, method: str) -> TokenScope | None:
    """What a route wants; None for one that is open."""
    key = path.replace(":path}", "}"), "GET" if method == "HEAD" else method
    return None if key in OPEN else SCOPES.get(key, "admin")


def is_open(scope: Scope) -> bool:
    """Whether the request is for a route of `OPEN`."""
    path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
    return scope_of(path, scope["method"]) is None


def check_scope(scope: Scope, wanted: TokenScope) -> None:
    """Look whether the caller may do this. Raises MissingScopeError."""
    granted: frozenset[TokenScope] = scope[_GRANTED]
    if wanted not in granted and "admin" not in granted:
        raise MissingScopeError(
            f"this wants a token with the scope {wanted}; this one has {', '.join(sorted(granted)) or 'none'}",
            headers={
                "www-authenticate": f'Bearer realm="pylon-workflows", error="insufficient_scope", scope="{wanted}"'
            },
        )
