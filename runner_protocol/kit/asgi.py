"""The HTTP face of a runner: a bare ASGI application.

Any path under the mount takes a POST (the documented one is `/run`). Every action is HTTP 200, a `fail` too; 400, 405
and 413 are for requests that are none, 401 for one that is not signed as it must be. Who accepts
`application/x-ndjson` is sent each action as soon as it is known.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, MutableMapping
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, TypeVar

from runner_protocol.clock import now
from runner_protocol.signing import SignatureError, SigningKeys
from runner_protocol.strict_json import encode

MAX_REQUEST_BYTES = 64 * 1024 * 1024
JSON, NDJSON = b"application/json", b"application/x-ndjson"

_CHECKED_ON_THE_LOOP = 256 * 1024
"""Signatures of larger requests are computed beside the event loop."""

_GOODBYE_S = 10.0
"""So long a turn may take to stop when its caller has gone; then it is left to itself."""

_QUIET_S = 15.0
"""After so long without a line a blank one is sent: proxies close connections on which nothing moves."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Reply = tuple[int, bytes]
Lines = AsyncGenerator[bytes, None]

T = TypeVar("T")
logger = logging.getLogger("runner_protocol.kit")


class Answers(Protocol):
    """What answers requests: `handle` with one action each, `open_turn` with lines."""

    def handle(self, body: bytes) -> Coroutine[Any, Any, Reply]:
        """Answer with a status and one JSON object."""
        ...

    def open_turn(self, body: bytes) -> Lines | Coroutine[Any, Any, Reply]:
        """Answer with actions as they are made, without line breaks; or with one reply to what asks for no stream."""
        ...


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.reply = refuse(status, sentence)


class _CallerGoneError(Exception):
    pass


def refuse(status: int, sentence: str) -> Reply:
    """The reply to a request that is none; without an `action`, so that no engine takes it for one."""
    return status, encode({"error": sentence})


def asgi_app(answers: Answers, keys: SigningKeys | None = None) -> AsgiApp:
    """Make an ASGI application that answers turns; with keys, only those that were signed with one of them."""

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await _answer(answers, keys, scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1000})

    return app


async def _answer(
    answers: Answers, keys: SigningKeys | None, scope: MutableMapping[str, Any], receive: Receive, send: Send
) -> None:
    try:
        if scope["method"] != "POST":
            raise _RefusedError(405, "a runner is asked with POST")
        body = await _read(scope, receive)
        if keys is not None:
            await _check_signature(keys, scope, body)
        opened = answers.open_turn(body) if _accepts_lines(scope) else answers.handle(body)
        if isinstance(opened, AsyncGenerator):
            await _unless_gone(_Stream(send).send_all(opened), receive)
            return
        reply = await _unless_gone(opened, receive)
    except _RefusedError as refused:
        reply = refused.reply
    except _CallerGoneError:
        return
    await _reply(reply, send, has_body=scope["method"] != "HEAD")


async def _check_signature(keys: SigningKeys, scope: MutableMapping[str, Any], body: bytes) -> None:
    """Before anything of the body is read as what it may say."""
    check = partial(keys.check, scope["headers"], body, now_s=now().timestamp())
    try:
        await asyncio.to_thread(check) if len(body) > _CHECKED_ON_THE_LOOP else check()
    except SignatureError as error:
        raise _RefusedError(401, f"this runner answers signed requests only: {error}") from None


def _accepts_lines(scope: MutableMapping[str, Any]) -> bool:
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept").lower()
    kinds = (kind.replace(b" ", b"").split(b";") for kind in accepted.split(b","))
    return any(kind[0] == NDJSON and not {b"q=0", b"q=0.0"} & set(kind[1:]) for kind in kinds)


async def _reply(reply: Reply, send: Send, *, has_body: bool = True) -> None:
    status, body = reply
    headers = [(b"content-type", JSON), (b"content-length", str(len(body)).encode())]
    if status == 405:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body if has_body else b""})


class _Stream:
    """An answer that is sent line by line; a caller that reads slowly slows it down."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._has_begun = False
        self._turn_to_send = asyncio.Lock()
        self._sent_at = self._loop.time()
        self._beats: asyncio.Task[None] | None = None

    async def send_all(self, lines: Lines) -> None:
        timer = self._loop.call_later(_QUIET_S, self._begin_beats)
        try:
            async with aclosing(lines):
                async for line in lines:
                    await self._put(line)
            await self._send({"type": "http.response.body", "body": b""})
        except Exception:
            logger.exception("the kit has failed; this is no fault of the workflow")
            if not self._has_begun:
                await _reply(refuse(500, "the kit has failed; the runner's log says how"), self._send)
            # else the answer is left unfinished: the server breaks the connection, and the caller sees that it is cut
        finally:
            timer.cancel()
            if self._beats is not None:
                self._beats.cancel()

    async def _put(self, line: bytes) -> None:
        async with self._turn_to_send:
            if not self._has_begun:
                self._has_begun = True
                await self._send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", NDJSON)]})
            await self._send({"type": "http.response.body", "body": line + b"\n", "more_body": True})
            self._sent_at = self._loop.time()

    def _begin_beats(self) -> None:
        self._beats = self._loop.create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        while True:
            quiet_s = self._loop.time() - self._sent_at
            if quiet_s >= _QUIET_S and not self._turn_to_send.locked():
                await self._put(b"")
            await asyncio.sleep(max(_QUIET_S - quiet_s, _QUIET_S / 10))


async def _read(scope: MutableMapping[str, Any], receive: Receive) -> bytes:
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    chunks, size, is_more = [], int(announced) if announced.isdigit() else 0, True
    if size <= MAX_REQUEST_BYTES:
        size = 0
        while is_more and size <= MAX_REQUEST_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _CallerGoneError
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            is_more = message.get("more_body", False)
    if size > MAX_REQUEST_BYTES:
        raise _RefusedError(413, f"a request has at most {MAX_REQUEST_BYTES:,} bytes")
    return b"".join(chunks)


async def _unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Await the work; when the caller goes first, cancel it."""
    answer, gone = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise _CallerGoneError
        return answer.result()
    finally:
        gone.cancel()
        answer.cancel()
        await asyncio.wait({answer, gone}, timeout=_GOODBYE_S)


async def _gone(receive: Receive) -> None:
    if (await receive())["type"] != "http.disconnect":
        await asyncio.get_running_loop().create_future()  # this server does not tell: watch no more


async def _live(receive: Receive, send: Send) -> None:
    while True:
        match (await receive())["type"]:
            case "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            case _:
                await send({"type": "lifespan.shutdown.complete"})
                return
