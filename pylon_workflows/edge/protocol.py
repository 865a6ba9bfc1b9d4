"""uvicorn's HTTP protocol with what it lacks: deadlines for heads and bodies, and limits of what nobody reads."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pylon_workflows.api.problems import Problem
from pylon_workflows.edge.connections import Awaited, Connections

MAX_HEAD_BYTES = 64 * 1024
MAX_UNREAD_BYTES = 64 * 1024
"""Of a body whose request has been answered already: more than that is not taken before the connection ends."""

MAX_PIPELINED = 32
"""Requests that wait for the one before them on their connection; uvicorn keeps all that one read has brought."""

_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_HEAD_TOO_LARGE = Problem(
    status=431, code="head-too-large", detail=f"the request's head has more than {MAX_HEAD_BYTES:,} bytes"
)
_HEAD_TOO_SLOW = Problem(status=408, code="head-timeout", detail="the request's head did not arrive in time")
_MALFORMED = Problem(status=400, code="malformed-request", detail="this is no HTTP/1.1 request")
_FULL = Problem(
    status=503,
    code="too-many-connections",
    detail="as many requests are under way as this server takes",
    headers={"retry-after": "1"},
)


class GuardedConfig(uvicorn.Config):
    """A configuration for servers whose connections are guarded."""

    def __init__(self, app: Any, connections: Connections, **options: Any) -> None:
        super().__init__(app, http=GuardedProtocol, **options)
        self.guarded = connections


class GuardedProtocol(HttpToolsProtocol):
    """One connection, which tells `Connections` what it waits for."""

    def __init__(self, config: GuardedConfig, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self._guarded = config.guarded
        self._head_bytes = 0
        self._unread_bytes = 0
        self._refusal = _MALFORMED

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin, if there is room."""
        super().connection_made(transport)
        if not self._guarded.enter(self):
            self._refuse(_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._guarded.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come, if it is not too much of a head."""
        if self.transport.is_closing():
            return
        if self._guarded.awaited(self) is Awaited.NEXT_REQUEST:
            self._guarded.expect(self, Awaited.HEAD)
        was_head = self._guarded.awaited(self) is Awaited.HEAD
        super().data_received(data)
        if self._guarded.awaited(self) is Awaited.HEAD:
            self._head_bytes += len(data) if was_head else 1  # how much of it was a body's is not known
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A head begins, perhaps while the request before it is still worked on."""
        super().on_message_begin()
        self._head_bytes = 0
        if self._guarded.awaited(self) is not Awaited.HEAD:
            self._guarded.expect(self, Awaited.HEAD)

    def on_headers_complete(self) -> None:
        """The head is there."""
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > MAX_HEAD_BYTES:
            self._refusal = _HEAD_TOO_LARGE
            raise ValueError("the parser stops, and what stands in `_refusal` is answered")
        if len(self.pipeline) >= MAX_PIPELINED:
            self._end()
            raise ValueError("the parser stops")
        super().on_headers_complete()
        self._unread_bytes = 0
        self._guarded.expect(self, Awaited.BODY)

    def on_body(self, body: bytes) -> None:
        """A part of a body, which after its answer nobody wants."""
        super().on_body(body)
        if not self.cycle.response_complete:
            self._guarded.hold(self, len(body))
            return
        self._unread_bytes += len(body)
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self._end()

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        is_answered = self.cycle.response_complete and not self.pipeline
        self._guarded.expect(self, Awaited.NEXT_REQUEST if is_answered else None)

    def on_response_complete(self) -> None:
        """The answer is whole, perhaps before the request."""
        self._guarded.release(self)
        super().on_response_complete()
        awaited = self._guarded.awaited(self)
        if self.transport.is_closing() or self.pipeline or not self.cycle.response_complete:
            return
        if awaited is None:
            self._guarded.expect(self, Awaited.NEXT_REQUEST)
        elif awaited is Awaited.BODY:
            self._guarded.expect(self, Awaited.UNREAD_BODY)

    def pause_writing(self) -> None:
        """The caller takes its answer more slowly than it is made."""
        super().pause_writing()
        self._guarded.stall(self)

    def resume_writing(self) -> None:
        """The caller has taken what there was."""
        super().resume_writing()
        self._guarded.flow(self)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, or none that is taken."""
        self._refuse(self._refusal)

    def end_late(self, awaited: Awaited | None) -> None:
        """See `Connection`."""
        if awaited is Awaited.HEAD and self._head_bytes > 0:
            self._refuse(_HEAD_TOO_SLOW)
        else:
            self._end()

    def _refuse(self, problem: Problem) -> None:
        """Say so and hang up; in the middle of another answer only hang up."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_written(problem))
            self.transport.close()
        else:
            self._end()

    def _end(self) -> None:
        self.transport.abort()


def _written(problem: Problem) -> bytes:
    response = problem.response()
    head = [f"HTTP/1.1 {problem.status} {_PHRASES[problem.status]}".encode()]
    head += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*head, b"connection: close", b"", bytes(response.body)])
