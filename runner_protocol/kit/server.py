"""The HTTP face of a runner: a bare ASGI application, and `serve` with uvicorn.

Any path under the mount takes a POST (the documented one is `/run`). Every action is HTTP 200, a `fail` too; 400, 405
and 413 are for requests that are none.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from runner_protocol.strict_json import encode

DEFAULT_URL = "http://127.0.0.1:9876/run"
URL_VARIABLE = "PYLON_WORKFLOW_RUNNER_URL"
MAX_REQUEST_BYTES = 64 * 1024 * 1024

_GOODBYE_S = 5.0
"""So long a step may take to stop when its caller has gone; then it is left to itself."""

_KEEP_ALIVE_S = 75
"""Longer than an engine keeps an idle connection, so that the engine is the one who closes it."""

_BACKLOG = 2048

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Reply = tuple[int, bytes]
Handle = Callable[[bytes], Coroutine[Any, Any, Reply]]


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.reply = refuse(status, sentence)


class _CallerGoneError(Exception):
    pass


def refuse(status: int, sentence: str) -> Reply:
    """The reply to a request that is none; without an `action`, so that no engine takes it for one."""
    return status, encode({"error": sentence})


def asgi_app(handle: Handle) -> AsgiApp:
    """Make an ASGI application of an in-process entry."""

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await _answer(handle, scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1000})

    return app


async def _answer(handle: Handle, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    try:
        if scope["method"] != "POST":
            raise _RefusedError(405, "a runner is asked with POST")
        reply = await _unless_gone(handle(await _read(scope, receive)), receive)
    except _RefusedError as refused:
        reply = refused.reply
    except _CallerGoneError:
        return
    status, body = reply
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 405:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


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


async def _unless_gone(work: Coroutine[Any, Any, Reply], receive: Receive) -> Reply:
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


def serve_app(app: AsgiApp, *, host: str | None = None, port: int | None = None) -> None:
    """Serve until SIGINT or SIGTERM; says on standard output where, once connections are accepted.

    Raises:
        ValueError: the URL in the environment is no `http://host:port/path`.
        OSError: the port is taken.
    """
    # Only who serves needs a server: mounted or in the engine's process a runner has none.
    import uvicorn  # noqa: PLC0415

    default_host, default_port, path = _default_address()
    host, port = host or default_host, default_port if port is None else port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while ")[0]  # Python repeats the address there
        remedy = f"stop what listens there, or name another port in {URL_VARIABLE}"
        raise OSError(error.errno, f"the runner cannot listen on {host} port {port}: {reason}; {remedy}") from None
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    url = f"http://{shown}:{listener.getsockname()[1]}{path}"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            sys.stdout.write(f"runner listening on {url}\n")
            sys.stdout.flush()

    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_level="warning", timeout_keep_alive=_KEEP_ALIVE_S
    )
    with listener, contextlib.suppress(KeyboardInterrupt):
        Server(config).run([listener])


def _default_address() -> tuple[str, int, str]:
    url = os.environ.get(URL_VARIABLE) or DEFAULT_URL
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError("a runner serves plain http")
        port = 80 if parts.port is None else parts.port
    except ValueError as error:
        raise ValueError(f"{URL_VARIABLE} is {url!r}, no URL like {DEFAULT_URL}: {error}") from None
    return parts.hostname, port, parts.path or "/run"
