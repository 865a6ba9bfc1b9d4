"""What a browser lets pages of other sites do with the API: nothing, unless their origins are named.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pylon_workflows.api.origins import values_of
from pylon_workflows.api.refusals import ForeignOriginError

_METHODS = "GET, POST, DELETE"
_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Webhook-Id, X-Request-Id"
_SHOWN = "Link, Retry-After, WWW-Authenticate, X-Request-Id"
_REMEMBERED_S = 600


class ShareAnswers:
    """Tells browsers that pages of these origins may read the answers, refusals too.

    With `has_cookies` also when the page had them send its cookies. Stands before everything else.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], *, has_cookies: bool) -> None:
        self._app = app
        self._origins = origins
        self._has_cookies = has_cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and add the headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = _origin_among(scope, self._origins)

        async def share(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Origin")
                if origin is not None:
                    headers["access-control-allow-origin"] = origin
                    headers["access-control-expose-headers"] = _SHOWN
                    if self._has_cookies:
                        headers["access-control-allow-credentials"] = "true"
            await send(message)

        await self._app(scope, receive, share)


class AnswerPreflights:
    """Answers a browser that asks, before the request, whether a page may send it; such a question has no token.

    Raises:
        ForeignOriginError: on a question for another origin's page.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight; run the application for everything else."""
        is_preflight = scope["type"] == "http" and scope["method"] == "OPTIONS"
        if not is_preflight or not values_of(scope, b"access-control-request-method"):
            await self._app(scope, receive, send)
            return
        if _origin_among(scope, self._origins) is None:
            named = b", ".join(values_of(scope, b"origin")).decode("latin-1")[:100] or "no origin"
            raise ForeignOriginError(f"{named} is none of this API's cors_origins")
        headers = {
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _HEADERS,
            "access-control-max-age": str(_REMEMBERED_S),
            "cache-control": "no-store",
        }
        await Response(status_code=204, headers=headers)(scope, receive, send)


def _origin_among(scope: Scope, origins: Collection[str]) -> str | None:
    """The page's origin as the browser writes it, when it is one of these."""
    given = values_of(scope, b"origin")
    if len(given) != 1:
        return None
    origin = given[0].decode("latin-1")
    return origin if origin.lower() in origins else None
