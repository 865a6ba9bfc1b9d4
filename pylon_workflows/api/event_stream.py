"""Server-sent events: an answer that goes on until its reader leaves, is too slow, or the server stops.

Nothing is kept for a reader but what is being sent: what comes next is read from the store when it has taken that. Who
is cut off, or connects anew, says with `Last-Event-ID` where to go on.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pylon_workflows.api.refusals import TooManyStreamsError
from pylon_workflows.errors import WorkflowError

_log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
"""What is silent for longer is given up by proxies, and by readers."""

_RETRY = b"retry: 1000\n\n"
_SEND_TIMEOUT_S = 30.0
_LOOK_S = 0.5
_LAST_WORD_S = 1.0


def message(data: bytes, *, id: int | None = None, event: str | None = None) -> bytes:
    """One message; `data` is JSON, which has no line breaks of its own."""
    lines = [b"event: %b\n" % event.encode() if event else b"", b"id: %d\n" % id if id is not None else b""]
    return b"%bdata: %b\n\n" % (b"".join(lines), data)


def heartbeat(id: int | None = None) -> bytes:
    """What says nothing but that the stream is alive, and how far it has come."""
    return b":\n\n" if id is None else b"id: %d\n\n" % id


class Streams:
    """Counts the streams of an application; there are at most so many, each for at most so long.

    After that a reader connects anew, and is asked again who it is.
    """

    def __init__(self, most: int, longest_s: float) -> None:
        self._most = most
        self.longest_s = longest_s
        self._count = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place. Raises TooManyStreamsError."""
        if self._count >= self._most:
            raise TooManyStreamsError(f"there are {self._most} streams already, which is the limit")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class EventStream(Response):
    """An answer of `messages`. When they end, or the engine cannot go on with them, so does the stream.

    Raises:
        TooManyStreamsError: before the answer begins.
    """

    media_type = "text/event-stream"

    def __init__(self, messages: AsyncIterator[bytes], streams: Streams) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._messages = messages
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the messages as they come."""
        if scope["method"] == "HEAD":
            await self._begin(send)
            await send({"type": "http.response.body", "body": b""})
            return
        with self._streams.place():
            await self._begin(send)
            sending = asyncio.create_task(self._send_all(send))
            leaving = asyncio.create_task(_until_gone(receive))
            stopping = asyncio.create_task(_until_stopping())
            tasks = (sending, leaving, stopping)
            try:
                await asyncio.wait(tasks, timeout=self._streams.longest_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                is_cut_short = not sending.done() and not leaving.done()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if is_cut_short:
                with suppress(TimeoutError, OSError):
                    async with asyncio.timeout(_LAST_WORD_S):
                        await send({"type": "http.response.body", "body": b""})
            elif not sending.cancelled():
                sending.result()

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _send_all(self, send: Send) -> None:
        async def send_part(part: bytes, *, is_last: bool = False) -> None:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await send({"type": "http.response.body", "body": part, "more_body": not is_last})

        try:
            await send_part(_RETRY)
            try:
                async for part in self._messages:
                    await send_part(part)
            except WorkflowError as error:
                _log.debug("a stream ends, its reader may ask again: %s", error)
            await send_part(b"", is_last=True)
        except TimeoutError:
            _log.info("a stream was cut off: its reader took nothing for %g s", _SEND_TIMEOUT_S)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until_stopping() -> None:
    """Wait until the server has been told to stop. It waits for its answers to end, and says so to nobody.

    uvicorn's own handler of SIGTERM knows; where another server runs, this waits for ever.
    """
    while True:
        server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if getattr(server, "should_exit", False) is True:
            return
        await asyncio.sleep(_LOOK_S)
