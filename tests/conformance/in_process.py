"""Runs a runner's coroutines on an event loop of their own, so that the checker can call it without a socket."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from runner_protocol.conformance.exchange import Call, Exchange, ExchangeError, Reply

Answerer = Callable[[Call], Awaitable[Reply]]


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def exchange_with(self, answer: Answerer) -> Exchange:
        """Let the checker call this runner; what it raises is a connection that breaks."""

        def exchange(call: Call) -> Reply:
            try:
                return asyncio.run_coroutine_threadsafe(_as_coroutine(answer(call)), self._loop).result(timeout=30)
            except Exception as error:
                raise ExchangeError(f"the runner died: {error!r}") from error

        return exchange

    def close(self) -> None:
        """Stop the loop and wait for its thread; what a wrong runner has left behind is cancelled."""
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _as_coroutine(reply: Awaitable[Reply]) -> Reply:
    return await reply


def asgi_answerer(app: Any) -> Answerer:
    """Call an ASGI application as a server would, without the server."""

    async def answer(call: Call) -> Reply:
        asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        asked.put_nowait({"type": "http.request", "body": call.body, "more_body": False})
        start: dict[str, Any] = {}
        chunks: list[bytes] = []

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            chunks.append(message.get("body", b""))
            lines = sum(1 for line in b"".join(chunks).split(b"\n") if line.strip())
            if not message.get("more_body", False) or lines == call.stop_after:
                asked.put_nowait({"type": "http.disconnect"})

        headers = [(name.encode(), value.encode()) for name, value in call.headers.items()]
        scope = {"type": "http", "method": call.method, "path": "/run", "headers": headers}
        await app(scope, asked.get, send)
        names = {name.decode(): value.decode() for name, value in start["headers"]}
        body = b"".join(chunks)
        if call.stop_after is not None:
            body = b"".join(line + b"\n" for line in body.split(b"\n")[: call.stop_after])
        return Reply(start["status"], names, body)

    return answer


@contextmanager
def running_loop() -> Iterator[Loop]:
    """Give a loop and close it."""
    loop = Loop()
    try:
        yield loop
    finally:
        loop.close()
