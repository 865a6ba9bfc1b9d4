"""A runner in this process, without a socket: a function, a kit's runner, or an ASGI app."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol, Self, cast

from pylon_workflows.clock import SystemClock
from pylon_workflows.errors import InvalidInputError, RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.http_client.retry_after import parse_retry_after
from pylon_workflows.ports import Apply, Clock, Turn
from pylon_workflows.runner.answers import (
    ACCEPTED_TYPES,
    LARGE_ANSWER_BYTES,
    STREAM_TYPE,
    check_encoding,
    format_timeout,
    is_stream,
    read_answer,
)
from pylon_workflows.runner.asgi import AsgiApp, AsgiExchange
from pylon_workflows.runner.auth import RequestSigner, signing_keys
from pylon_workflows.runner.deadline import MAX_TURN_S
from pylon_workflows.runner.descriptions import DESCRIBE_TURN, as_away, read_description, read_whole
from pylon_workflows.runner.idempotency_header import encode_key
from pylon_workflows.runner.large_answers import read_large
from pylon_workflows.runner.pump import LocalBody, pumped
from pylon_workflows.runner.streams import AnswerStream
from runner_protocol.messages import Description

Body = bytes | AsyncIterator[bytes]
Handler = Callable[[bytes], Awaitable[tuple[int, Body]]]

_NO_HEADERS: Mapping[str, str] = {}
_STREAM_HEADERS: Mapping[str, str] = {"content-type": STREAM_TYPE}
_log = logging.getLogger(__name__)


class _Answer(NamedTuple):
    status: int
    body: bytes | LocalBody
    headers: Mapping[str, str] = _NO_HEADERS


class HandlesTurns(Protocol):
    """What a kit's runner offers: the request's body in, an HTTP status and the answer's body out."""

    async def handle(self, body: bytes, /) -> tuple[int, Body]:
        """Answer one turn."""
        ...


class StreamsTurns(Protocol):
    """What a kit's runner offers that answers with streams: the request's body in, lines out as they are made."""

    def stream(self, body: bytes, /) -> AsyncIterator[bytes]:
        """Answer one turn."""
        ...


class LocalRunner:
    """Takes turns by calling `target`, judged just as if it had answered over HTTP.

    `target` is an async function `(body) -> (status, body)`, an object with such a method `handle`, or an ASGI app,
    which gets a POST to `path` (its lifespan is the host's business). A body that is an async iterator of bytes is a
    stream of actions, a line each, and so is what an object's method `stream` gives, where it has one. What the target
    raises makes the runner unavailable. When a turn is given up, a function or an iterator is cancelled; an app gets
    `http.disconnect`, as from a server, and may finish what it is doing until `close` cancels it. Requests to an app
    are signed with `secrets`, or with those of the environment (`RunnerAuth`).
    Raises InvalidInputError for any other target, and for secrets that are none.
    """

    def __init__(
        self,
        target: Handler | HandlesTurns | StreamsTurns | AsgiApp,
        *,
        path: str = "/run",
        secrets: Sequence[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        handle, stream = getattr(target, "handle", None), getattr(target, "stream", None)
        called = handle if _takes(handle, 1) else target
        self._path = path
        self._clock = clock or SystemClock()
        self._calls: set[asyncio.Task[None]] = set()
        self._streams = cast(Callable[[bytes], AsyncIterator[bytes]], stream) if _takes(stream, 1) else None
        self._handler = cast(Handler, called) if _takes(called, 1) else None
        self._app = cast(AsgiApp, called)
        is_app = self._handler is None and self._streams is None
        if secrets is not None and not is_app:
            raise InvalidInputError("secrets: are of no use with a target that is no ASGI app")
        keys = signing_keys(secrets) if is_app else None
        self._signer = None if keys is None else RequestSigner(keys, self._clock)
        if is_app and not _takes(called, 3):
            raise InvalidInputError(
                "runner: should be an async function of one argument, an object with such a method `handle` or "
                f"`stream`, or an ASGI app, not {type(target).__name__}"
            )

    async def open(self) -> None:
        """Nothing to open: here so that each runner is used alike."""

    async def close(self) -> None:
        """Cancel what is still done for turns that were given up, and wait for it to end."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        """See `ports.Runner`."""
        timeout_s = min(turn.timeout_s, MAX_TURN_S)
        until = asyncio.get_running_loop().time() + timeout_s
        status, body, headers = await self._ask_in_time(turn, until)
        content_encoding = headers.get("content-encoding")
        if isinstance(body, LocalBody):
            try:
                check_encoding(content_encoding)
                await AnswerStream(body, apply, timeout_s=timeout_s, until=until).take()
            finally:
                body.close()
            return
        wait_s = parse_retry_after(headers.get("retry-after"), self._clock.now()) if headers else None
        read = partial(read_answer, status, body, content_encoding=content_encoding, retry_after_s=wait_s)
        await apply((await read_large(read) if len(body) > LARGE_ANSWER_BYTES else read(),))

    async def describe(self) -> Description | None:
        """See `ports.Describer`."""
        until = asyncio.get_running_loop().time() + DESCRIBE_TURN.timeout_s
        try:
            status, body, headers = await self._ask_in_time(DESCRIBE_TURN, until)
            whole = await read_whole(body, until) if isinstance(body, LocalBody) else body
        except TurnTimedOutError as error:
            raise as_away(error) from None
        return await read_description(status, whole, content_encoding=headers.get("content-encoding"))

    async def _ask_in_time(self, turn: Turn, until: float) -> _Answer:
        deadline = asyncio.timeout_at(until)
        with suppress(TimeoutError):
            async with deadline:
                answer = await self._ask(turn)
        if deadline.expired():  # also when the target has swallowed the cancellation and answers all the same
            raise TurnTimedOutError(format_timeout(turn.timeout_s))
        return answer

    async def _ask(self, turn: Turn) -> _Answer:
        """Call the target; whatever it raises, its own cancellations too, is the runner's trouble and not ours."""
        try:
            if self._streams is not None:
                return self._pumped(200, self._streams(turn.body), turn)
            if self._handler is None:
                return await self._call_app(turn)
            status, body = await self._handler(turn.body)
        except RunnerUnavailableError:
            raise
        except asyncio.CancelledError:
            if _is_being_cancelled():
                raise
            raise RunnerUnavailableError("the runner cancelled itself") from None
        except Exception as error:
            raise RunnerUnavailableError(f"the runner raised {type(error).__name__}: {error}") from error
        if isinstance(status, int) and isinstance(body, AsyncIterator):
            if not is_stream(status, STREAM_TYPE):
                raise RunnerUnavailableError(f"the runner answered {status} with a stream")
            return self._pumped(status, body, turn)
        if not isinstance(status, int) or not isinstance(body, bytes):
            kinds = f"({type(status).__name__}, {type(body).__name__})"
            raise RunnerUnavailableError(f"the runner returned {kinds}, not (int, bytes)")
        return _Answer(status, body)

    def _pumped(self, status: int, pieces: AsyncIterator[bytes], turn: Turn) -> _Answer:
        body, pump = pumped(pieces, name=f"stream of {turn.instance_id}")
        self._calls.add(pump)
        pump.add_done_callback(self._calls.discard)
        return _Answer(status, body, _STREAM_HEADERS)

    async def _call_app(self, turn: Turn) -> _Answer:
        """Have the app answer in a task of its own: as with a server, it may go on after its answer, or after us."""
        headers = _request_headers(turn)
        if self._signer is not None:
            headers += await self._signer.headers(turn.body)
        exchange = AsgiExchange(self._path, turn.body, headers)
        call = asyncio.create_task(exchange.run(self._app), name=f"ASGI runner for {turn.instance_id}")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            await asyncio.wait((call, exchange.answered), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            exchange.hang_up()
            call.add_done_callback(_log_what_came_after)
            raise
        if not exchange.answered.done():
            await call
            raise RunnerUnavailableError("the ASGI app ended without an answer")
        call.add_done_callback(_log_what_came_after)
        body = bytes(exchange.body) if exchange.stream is None else exchange.stream
        return _Answer(exchange.status or 500, body, exchange.headers)


def _takes(called: object, count: int) -> bool:
    """Whether it can be called with so many arguments."""
    if not callable(called):
        return False
    try:
        inspect.signature(called).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _request_headers(turn: Turn) -> list[tuple[bytes, bytes]]:
    return [
        (b"host", b"localhost"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"accept", ACCEPTED_TYPES.encode()),
        (b"accept-encoding", b"identity"),
        (b"content-length", str(len(turn.body)).encode()),
        (b"idempotency-key", encode_key(turn.idempotency_key)),
    ]


def _log_what_came_after(call: asyncio.Task[None]) -> None:
    if not call.cancelled() and (error := call.exception()) is not None:
        _log.warning("after its turn (%s) the app raised %s: %s", call.get_name(), type(error).__name__, error)
