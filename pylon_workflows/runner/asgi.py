"""One request to an ASGI app in this process, as a server would make it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from pylon_workflows.errors import RunnerUnavailableError
from pylon_workflows.runner.answers import is_stream
from pylon_workflows.runner.pump import LocalBody
from runner_protocol.messages import MAX_ANSWER_BYTES

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class AsgiExchange:
    """The request's and the answer's side of one call of an app.

    `answered` is done when the answer is whole, or already larger than an answer may be, or with its head when it is a
    stream; `status`, `headers` and `body` are what has come, and `stream` is the body of one.
    """

    def __init__(self, path: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.stream: LocalBody | None = None
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
        error = RunnerUnavailableError("the ASGI app ended in the middle of its stream", has_dropped_turn=True)
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as raised:
            error = RunnerUnavailableError(f"the runner raised {type(raised).__name__}: {raised}")
            raise
        finally:
            if self.stream is not None:
                self.stream.end(error)

    def hang_up(self) -> None:
        """Tell the app that nobody waits any more (`http.disconnect`)."""
        self._gone.set()
        if self.stream is not None:
            self.stream.let_go()

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
            if is_stream(message["status"], self.headers.get("content-type")):
                self.stream = LocalBody()
                self.stream.close = self.hang_up
                self.answered.set_result(None)
        elif message["type"] == "http.response.body" and self.stream is not None:
            await self.stream.put(message.get("body", b""))
            if not message.get("more_body", False):
                self.stream.end()
                self._gone.set()
        elif message["type"] == "http.response.body":
            room = MAX_ANSWER_BYTES + 1 - len(self.body)
            self.body += message.get("body", b"")[:room]
            if not message.get("more_body", False) or len(self.body) > MAX_ANSWER_BYTES:
                self.answered.set_result(None)
                self._gone.set()
