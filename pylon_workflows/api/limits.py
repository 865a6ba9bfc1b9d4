"""How much a request may send, and how long it may take over it: uvicorn limits neither."""

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pylon_workflows.api.refusals import BodyTooLargeError, BodyTooSlowError
from pylon_workflows.declared_types import check_fields
from pylon_workflows.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may send. The engine has limits of its own for inputs and events (`EngineSettings`).

    A body of at most `max_body_bytes`, all of which has come `body_timeout_s` seconds after the first look for it. At
    most `max_streams` callers are sent live updates at a time, each for `max_stream_s` seconds until it asks anew.

    Raises:
        InvalidInputError: a value of another type, a number that is not positive.
    """

    max_body_bytes: int = 1024 * 1024
    body_timeout_s: float = 30.0
    max_streams: int = 100
    max_stream_s: float = 3600.0

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("max_body_bytes", "body_timeout_s", "max_streams", "max_stream_s"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name}: must be positive, not {getattr(self, name)}")


class LimitBody:
    """Lets the application inside read a body only up to its size and within its time.

    Raises, out of the application's own read or before it is called:
        BodyTooLargeError: the body is, or says that it is, larger than `max_body_bytes`.
        BodyTooSlowError: it has not arrived `body_timeout_s` seconds after the first read.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application over a `receive` that counts."""
        if scope["type"] == "http":
            declared = dict(scope["headers"]).get(b"content-length", b"0")
            if declared.isdigit() and int(declared[:20]) > self._limits.max_body_bytes:
                raise self._too_large()
            receive = self._counted(receive)
        await self._app(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        size, is_complete, ends_at = 0, False, 0.0

        async def counted() -> Message:
            nonlocal size, is_complete, ends_at
            if is_complete:
                return await receive()
            ends_at = ends_at or asyncio.get_running_loop().time() + self._limits.body_timeout_s
            try:
                async with asyncio.timeout_at(ends_at):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlowError(
                    f"the body did not arrive within {self._limits.body_timeout_s:g} s", headers={"connection": "close"}
                ) from None
            size += len(message.get("body", b""))
            if size > self._limits.max_body_bytes:
                raise self._too_large()
            is_complete = not message.get("more_body", False)
            return message

        return counted

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"the body: must have at most {self._limits.max_body_bytes} bytes")
