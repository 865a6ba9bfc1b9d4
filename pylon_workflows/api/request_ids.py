"""Each request has an id: the caller's X-Request-Id, or one of ours; the answer carries it, and so does the log."""

import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pylon_workflows.logs import request_id

_NAME = b"x-request-id"
_POSSIBLE = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")


class IdentifyRequests:
    """Gives each HTTP request its id; one of other characters than `A-Z a-z 0-9 _ . : -`, or too long, is not taken."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application under the id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == _NAME), b"")
        own = given if _POSSIBLE.fullmatch(given) else secrets.token_hex(8).encode()

        async def identify(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (_NAME, own)]}
            await send(message)

        before = request_id.set(own.decode())
        try:
            await self._app(scope, receive, identify)
        finally:
            request_id.reset(before)
