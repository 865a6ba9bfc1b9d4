"""A runner behind HTTP: one POST a turn (PROTOCOL.md sections 1, 2 and 4)."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Self

from pylon_workflows.clock import SystemClock
from pylon_workflows.errors import (
    EngineNotRunningError,
    InvalidInputError,
    RunnerError,
    RunnerUnavailableError,
    TurnTimedOutError,
)
from pylon_workflows.http_client.address import HttpAddress
from pylon_workflows.http_client.body_stream import BodyStream
from pylon_workflows.http_client.client import HttpClient
from pylon_workflows.http_client.connection import (
    Answer,
    CannotConnectError,
    ClientClosedError,
    ConnectionBrokenError,
    HttpClientError,
    NoAnswerInTimeError,
)
from pylon_workflows.http_client.retry_after import parse_retry_after
from pylon_workflows.ports import Apply, Clock, Turn
from pylon_workflows.runner.answers import (
    ACCEPTED_TYPES,
    LARGE_ANSWER_BYTES,
    check_encoding,
    format_timeout,
    is_stream,
    read_answer,
)
from pylon_workflows.runner.auth import SIGNED_ON_THE_LOOP, RequestSigner, RunnerAuth, signing_keys, tls_context
from pylon_workflows.runner.deadline import MAX_TURN_S
from pylon_workflows.runner.descriptions import DESCRIBE_TURN, as_away, read_description
from pylon_workflows.runner.idempotency_header import encode_key
from pylon_workflows.runner.large_answers import read_large
from pylon_workflows.runner.streams import AnswerStream
from runner_protocol.messages import MAX_ANSWER_BYTES, Action, Description

_JSON = b"application/json"
_log = logging.getLogger(__name__)


class HttpRunner:
    """POSTs turns to `url`; open it before the first turn, in the process and event loop that use it.

    `auth` is how it knows the engine, and the engine it. There is no limit of connections: the engine has one of turns.
    Cancelling a turn hangs up, so that the runner can hear of it.
    Raises InvalidInputError for a URL that is none, or with which a part of `auth` would be of no use.
    """

    def __init__(self, url: str, *, auth: RunnerAuth | None = None, clock: Clock | None = None) -> None:
        self._auth = auth or RunnerAuth()
        self._address = HttpAddress.parse(url, "runner URL")
        self._head = _head(self._address, self._auth)
        self._clock = clock or SystemClock()
        keys = signing_keys(self._auth.secrets)
        self._signer = None if keys is None else RequestSigner(keys, self._clock)
        self._client: HttpClient | None = None

    async def open(self) -> None:
        """Get ready; no connection is made yet. Raises InvalidInputError for files of `auth` that cannot be used."""
        if self._client is None:
            self._look_who_may_read_it()
            tls = await asyncio.to_thread(tls_context, self._auth) if self._address.is_tls else None
            self._client = HttpClient(self._address.host, self._address.port, tls=tls, max_body_bytes=MAX_ANSWER_BYTES)

    async def close(self) -> None:
        """Let go of all connections; turns still waiting are unavailable. It can be opened again."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        """See `ports.Runner`."""
        timeout_s = min(turn.timeout_s, MAX_TURN_S)
        if timeout_s <= 0:
            raise TurnTimedOutError(format_timeout(0.0))
        until = asyncio.get_running_loop().time() + timeout_s
        try:
            head = self._head_of(turn) if self._signer is None else await self._signed_head(turn, self._signer)
            answer = await self._open_client.exchange(head, turn.body, deadline=until, is_stream=_is_stream)
            if answer.stream is not None:
                await _take_stream(answer, answer.stream, apply, timeout_s=timeout_s, until=until)
                return
        except HttpClientError as error:
            raise self._translated(error, timeout_s) from None
        is_large = len(answer.body) > LARGE_ANSWER_BYTES
        action = await read_large(self._read, answer) if is_large else self._read(answer)
        del answer  # thousands of turns wait for their commits at a time, with whatever their frames hold
        await apply((action,))

    def _read(self, answer: Answer) -> Action:
        wait_s = None
        if answer.status != 200:
            wait_s = parse_retry_after(answer.header(b"retry-after"), self._clock.now())
        return read_answer(
            answer.status,
            answer.body,
            is_too_large=answer.is_cut_off,
            content_encoding=answer.header(b"content-encoding"),
            retry_after_s=wait_s,
        )

    async def describe(self) -> Description | None:
        """See `ports.Describer`."""
        turn = DESCRIBE_TURN
        try:
            head = self._head_of(turn) if self._signer is None else await self._signed_head(turn, self._signer)
            answer = await self._open_client.request(head, turn.body, timeout_s=turn.timeout_s)
        except HttpClientError as error:
            raise as_away(self._translated(error, turn.timeout_s)) from None
        return await read_description(
            answer.status,
            answer.body,
            is_too_large=answer.is_cut_off,
            content_encoding=answer.header(b"content-encoding"),
            who=f"the runner at {self._address.name}",
        )

    def _look_who_may_read_it(self) -> None:
        address = self._address
        is_shown = self._auth.token is not None or address.authorization is not None
        if is_shown and not address.is_tls and not address.is_loopback:
            _log.warning(
                "the runner at %s is shown a token or a password over http://, which others may read on the way: "
                "use https://",
                address.name,
            )

    @property
    def _open_client(self) -> HttpClient:
        if self._client is None:
            raise EngineNotRunningError("the runner has not been opened")
        return self._client

    def _head_of(self, turn: Turn) -> bytes:
        return b"%b%b\r\ncontent-length: %d\r\n\r\n" % (self._head, encode_key(turn.idempotency_key), len(turn.body))

    async def _signed_head(self, turn: Turn, signer: RequestSigner) -> bytes:
        body = turn.body
        values = signer.sign(body) if len(body) <= SIGNED_ON_THE_LOOP else await asyncio.to_thread(signer.sign, body)
        lines = b"webhook-id: %b\r\nwebhook-timestamp: %b\r\nwebhook-signature: %b\r\n\r\n" % values
        return self._head_of(turn)[:-2] + lines

    def _translated(self, error: HttpClientError, timeout_s: float) -> RunnerError:
        name = self._address.name
        match error:
            case NoAnswerInTimeError():
                return TurnTimedOutError(format_timeout(timeout_s))
            case CannotConnectError():
                return RunnerUnavailableError(f"cannot connect to the runner at {name}: {error}")
            case ClientClosedError():
                return RunnerUnavailableError("the runner's connections have been closed here")
            case ConnectionBrokenError():
                reason = f"the connection to the runner at {name} broke after the request was sent: {error}"
                return RunnerUnavailableError(reason, has_dropped_turn=True)
            case _:
                return RunnerUnavailableError(f"the runner at {name} does not answer in proper HTTP: {error}")


def _is_stream(status: int, headers: Mapping[bytes, bytes]) -> bool:
    content_type = headers.get(b"content-type", _JSON)
    return content_type != _JSON and is_stream(status, content_type.decode("latin-1"))


async def _take_stream(answer: Answer, stream: BodyStream, apply: Apply, *, timeout_s: float, until: float) -> None:
    try:
        check_encoding(answer.header(b"content-encoding"))
        await AnswerStream(stream, apply, timeout_s=timeout_s, until=until).take()
    finally:
        stream.close()


def _head(address: HttpAddress, auth: RunnerAuth) -> bytes:
    """What all requests begin with, up to the idempotency key's value."""
    lines = [
        f"POST {address.target} HTTP/1.1",
        f"host: {address.authority}",
        "content-type: application/json; charset=utf-8",
        f"accept: {ACCEPTED_TYPES}",
        "accept-encoding: identity",
        "user-agent: pylon-workflows",
    ]
    authorization = address.authorization
    if auth.token is not None:
        if authorization is not None:
            raise InvalidInputError("runner auth: token: the runner's URL has a user and a password already")
        authorization = f"Bearer {auth.token}"
    if authorization is not None:
        lines.append(f"authorization: {authorization}")
    for part in ("client_certificate", "ca"):
        if getattr(auth, part) is not None and not address.is_tls:
            raise InvalidInputError(f"runner auth: {part}: is of no use with an http:// URL ({address.name})")
    return "\r\n".join([*lines, "idempotency-key: "]).encode("ascii")
