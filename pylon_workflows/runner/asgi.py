"""One request to an ASGI app in this process, as a server would make it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from runner_protocol.messages import MAX_ANSWER_BYTES

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class AsgiExchange:
    """The request's and the answer's side of one call of an app.

    `answered` is done when the answer is whole, or already larger than an answer may be; `status`, `headers` and
    `body` are what has come.
    """

    def __init__(self, path: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()
        self._request: bytes | None = body
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 80),
            "state": {},
        }

    async def run(self, app: AsgiApp) -> None:
        """Call the app; returns or raises when it does, which may be long after its answer."""
        await app(self._scope, self._receive, self._send)

    def hang_up(self) -> None:
        """Tell the app that nobody waits any more (`http.disconnect`)."""
        self._gone.set()

    async def _receive(self) -> Message:
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone.is_set():
            raise OSError("the caller has gone")
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1")
                for name, value in message.get("headers", ())
            }
        elif message["type"] == "http.response.body":
            room = MAX_ANSWER_BYTES + 1 - len(self.body)
            self.body += message.get("body", b"")[:room]
            if not message.get("more_body", False) or len(self.body) > MAX_ANSWER_BYTES:
                self.answered.set_result(None)
                self._gone.set()
