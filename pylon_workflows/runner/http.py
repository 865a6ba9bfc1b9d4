"""A runner behind a URL: one POST a turn, over pooled connections.

Why pyreqwest, and what it does unlike others: docs/decisions/0003-pyreqwest.md.
"""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Self

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.response import Response

from pylon_workflows.clock import SystemClock
from pylon_workflows.errors import EngineNotRunningError, TurnTimedOutError
from pylon_workflows.ports import Clock, Turn
from pylon_workflows.runner.address import RunnerAddress, encode_key
from pylon_workflows.runner.answers import (
    LARGE_ANSWER_BYTES,
    SHOWN_BYTES,
    format_timeout,
    parse_retry_after,
    read_answer,
)
from pylon_workflows.runner.transport_errors import translate
from runner_protocol.messages import MAX_ANSWER_BYTES, Action

CONNECT_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 4.0
"""Shorter than the 5 s after which Node closes an idle connection: a turn sent into one being closed is lost."""

MAX_TURN_S = 10 * 365 * 86400.0
"""Longer deadlines count as this one; the client's clock ends at about thirty years."""

_LEAST_PATIENCE = 8
_HEADERS = {
    "content-type": "application/json; charset=utf-8",
    "accept": "application/json",
    "accept-encoding": "identity",
}


class HttpRunner:
    """POSTs turns to `url`; open it before the first turn, in the process and event loop that use it.

    `max_connections` limits the requests in flight (no limit by default: the dispatcher has one); a turn that finds
    no free connection is unavailable. `root_certificate_pem` is trusted beside the system's certificates.
    Raises InvalidInputError for a URL that is none.

    Cancelling a turn drops its answer; the request itself ends when the runner answers or at the turn's deadline.
    """

    def __init__(
        self,
        url: str,
        *,
        max_connections: int | None = None,
        root_certificate_pem: bytes | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._address = RunnerAddress.parse(url)
        self._url = self._address.url
        self._max_connections = max_connections
        self._root_certificate_pem = root_certificate_pem
        self._clock = clock or SystemClock()
        self._is_open = False
        self._clients: dict[int, Client] = {}

    async def open(self) -> None:
        """Build the client; no connection is made yet."""
        if not self._is_open:
            self._is_open = True
            self._clients[0] = self._build_client(CONNECT_TIMEOUT_S)

    async def close(self) -> None:
        """Let go of all connections; turns still waiting are unavailable. It can be opened again."""
        self._is_open = False
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def take_turn(self, turn: Turn) -> Action:
        """See `ports.Runner`."""
        timeout_s = min(turn.timeout_s, MAX_TURN_S)
        if timeout_s <= 0:
            raise TurnTimedOutError(format_timeout(0.0))
        request = (
            self._client_for(timeout_s)
            .post(self._url)
            .header("idempotency-key", encode_key(turn.idempotency_key))
            .timeout(timedelta(seconds=timeout_s))
            .body_bytes(turn.body)
            .build_streamed()
        )
        try:
            async with request as response:
                status = response.status
                content_encoding = _header(response, "content-encoding")
                is_too_large = _declares_too_much(response)
                # In one call, which sets aside what was declared, or else all that it may read: so not a byte more.
                chunk = await response.body_reader.read(SHOWN_BYTES if is_too_large else MAX_ANSWER_BYTES + 1)
                body = b"" if chunk is None else chunk.to_bytes()
        except PyreqwestError as error:
            raise translate(error, runner=self._address.name, timeout_s=timeout_s) from None
        wait_s = None if status == 200 else parse_retry_after(_header(response, "retry-after"), self._clock.now())
        read = partial(
            read_answer,
            status,
            body,
            is_too_large=is_too_large,
            content_encoding=content_encoding,
            retry_after_s=wait_s,
        )
        return await asyncio.to_thread(read) if len(body) > LARGE_ANSWER_BYTES else read()

    def _client_for(self, timeout_s: float) -> Client:
        """The client whose connect timeout fits twice into the deadline.

        A client has one connect timeout, and one that ends with the deadline could not be told from a slow answer; so
        hasty turns, which are rare, go through clients of their own with half the patience, a quarter, and so on.
        """
        patience = 0
        while timeout_s < 2 * CONNECT_TIMEOUT_S / 2**patience and patience < _LEAST_PATIENCE:
            patience += 1
        client = self._clients.get(patience)
        if client is None:
            if not self._is_open:
                raise EngineNotRunningError("the runner has not been opened")
            client = self._clients[patience] = self._build_client(CONNECT_TIMEOUT_S / 2**patience)
        return client

    def _build_client(self, connect_timeout_s: float) -> Client:
        headers = dict(_HEADERS)
        if self._address.authorization is not None:
            headers["authorization"] = self._address.authorization
        builder = (
            ClientBuilder()
            .runtime_multithreaded(False)  # else another client of the process decides, at half the speed
            .default_headers(headers)
            .user_agent("pylon-workflows")
            .no_proxy()
            .follow_redirects(False)
            .referer(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .connect_timeout(timedelta(seconds=connect_timeout_s))
            .pool_timeout(timedelta(seconds=connect_timeout_s))
            .pool_idle_timeout(timedelta(seconds=IDLE_TIMEOUT_S))
            .max_connections(self._max_connections)
        )
        if self._root_certificate_pem is not None:
            builder = builder.add_root_certificate_pem(self._root_certificate_pem)
        return builder.build()


def _declares_too_much(response: Response) -> bool:
    declared = _header(response, "content-length")
    return declared is not None and declared.isdecimal() and int(declared) > MAX_ANSWER_BYTES


def _header(response: Response, name: str) -> str | None:
    try:
        return response.get_header(name)
    except ValueError:
        return "?"  # there is one, in bytes that are no text
