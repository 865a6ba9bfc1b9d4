"""The connections to one server, kept for the next request."""

import asyncio
import ssl
from functools import partial
from typing import Self

from pylon_workflows.http_client.connection import (
    Answer,
    CannotConnectError,
    ClientClosedError,
    HttpConnection,
    IsStream,
)

CONNECT_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 4.0
"""Shorter than the 5 s after which Node closes an idle connection: a request sent into one being closed is lost."""

MAX_BODY_BYTES = 4 * 1024 * 1024


class HttpClient:
    """Sends requests to one server, each on a connection of its own for as long as it takes.

    The server is a host and port, with `tls` if it speaks it, or a Unix socket at `unix_path`. `max_body_bytes` is how
    much of an answer is read. It belongs to the event loop in which it is made.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 80,
        *,
        tls: ssl.SSLContext | None = None,
        unix_path: str | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._tls = tls
        self._unix_path = unix_path
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._max_body_bytes = max_body_bytes
        self._connections: set[HttpConnection] = set()
        self._idle: list[HttpConnection] = []  # the one used last is the last
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up everywhere; who still waits for an answer hears ClientClosedError."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.ended.wait()

    async def request(self, head: bytes, body: bytes, *, timeout_s: float) -> Answer:
        """Send a head, which ends with an empty line and tells the body's length, and a body; read the answer.

        Cancelling hangs up. `timeout_s` is for everything from the connecting to the answer's last byte.

        Raises:
            CannotConnectError: nothing was sent. ConnectionBrokenError: it may have been read. NotHttpError: what came
            back is none. NoAnswerInTimeError: the whole answer was not there in time. ClientClosedError.
        """
        deadline = self._loop.time() + timeout_s
        connection = self._kept() or await self._connected(deadline)
        try:
            return await connection.ask(head, body, deadline)
        finally:
            self._give_back(connection)

    async def exchange(self, head: bytes, body: bytes, *, deadline: float, is_stream: IsStream) -> Answer:
        """Like `request`; an answer that `is_stream` is there as soon as its head is, and its `stream` is to be read.

        `deadline` is the loop's time, and then for the head. The stream is to be closed; before its end that hangs up.
        """
        connection = self._kept() or await self._connected(deadline)
        stream = None
        try:
            answer = await connection.ask(head, body, deadline, is_stream)
            stream = answer.stream
            return answer
        finally:
            if stream is None:
                self._give_back(connection)
            else:
                stream.close = partial(self._give_back, connection)

    def _give_back(self, connection: HttpConnection) -> None:
        if connection.is_reusable:
            self._keep(connection)
        else:
            connection.abort()

    def _kept(self) -> HttpConnection | None:
        oldest = self._loop.time() - self._idle_timeout_s
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def _keep(self, connection: HttpConnection) -> None:
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweep is None and not self._is_closed:
            self._sweep = self._loop.call_later(self._idle_timeout_s, self._hang_up_idle)

    def _hang_up_idle(self) -> None:
        """Close what nobody has used for a while."""
        self._sweep = None
        oldest = self._loop.time() - self._idle_timeout_s
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).abort()
        if self._idle:
            self._sweep = self._loop.call_at(self._idle[0].idle_since + self._idle_timeout_s, self._hang_up_idle)

    async def _connected(self, deadline: float) -> HttpConnection:
        try:
            async with asyncio.timeout_at(min(deadline, self._loop.time() + self._connect_timeout_s)):
                if self._unix_path is not None:
                    _, connection = await self._loop.create_unix_connection(self._new_connection, self._unix_path)
                else:
                    _, connection = await self._loop.create_connection(
                        self._new_connection, self._host, self._port, ssl=self._tls
                    )
        except TimeoutError:
            raise CannotConnectError("no connection in time") from None
        except OSError as error:
            raise CannotConnectError(error.strerror or str(error)) from None
        if self._is_closed:
            connection.abort()
            raise ClientClosedError("closed on this side")
        if connection.is_open:
            self._connections.add(connection)
        return connection

    def _new_connection(self) -> HttpConnection:
        return HttpConnection(self._loop, self._max_body_bytes, self._connections.discard)
