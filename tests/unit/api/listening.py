"""A reader of server-sent events, in the same process: a test says when it reads and when it leaves."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message


class Reader:
    """What has come so far: the answer's head, and its messages as (id, event, data)."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_over = False
        self.takes = asyncio.Event()
        self.takes.set()
        self._leaves = asyncio.Event()
        self._stirs = asyncio.Event()

    async def receive(self) -> Message:
        if not self.takes_body:
            await self._leaves.wait()
            return {"type": "http.disconnect"}
        self.takes_body = False
        return {"type": "http.request", "body": b"", "more_body": False}

    takes_body = True

    async def send(self, message: Message) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.is_over = not message.get("more_body", False)
        self._stirs.set()

    def leave(self) -> None:
        self._leaves.set()

    @property
    def messages(self) -> list[tuple[int | None, str | None, Any]]:
        found = []
        for block in self.body.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "data" in fields:
                number = int(fields["id"]) if "id" in fields else None
                found.append((number, fields.get("event"), json.loads(fields["data"])))
        return found

    async def until(self, condition: Any, timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition(self):
                self._stirs.clear()
                await self._stirs.wait()

    async def read(self, count: int) -> list[tuple[int | None, str | None, Any]]:
        """The first so many messages, as soon as they have come."""
        await self.until(lambda reader: len(reader.messages) >= count or reader.is_over)
        return self.messages[:count]


@asynccontextmanager
async def reading(app: ASGIApp, target: str, *, method: str = "GET", **headers: str) -> Any:
    """A reader of that path, which leaves at the end of the block."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [
            (b"host", b"localhost"),
            *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
        ],
        "client": ("127.0.0.1", 5),
        "server": ("localhost", 80),
        "scheme": "http",
    }
    reader = Reader()
    answering = asyncio.create_task(app(scope, reader.receive, reader.send))
    answering.add_done_callback(lambda _: reader._stirs.set())
    try:
        await reader.until(lambda reader: reader.status is not None or answering.done())
        yield reader
    finally:
        reader.leave()
        reader.takes.set()
        async with asyncio.timeout(5):
            await answering
