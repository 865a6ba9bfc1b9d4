"""The body of an answer that is made in this process, no faster than it is read."""

import asyncio
from collections.abc import AsyncIterator

from pylon_workflows.errors import RunnerUnavailableError
from pylon_workflows.http_client.body_stream import BodyStream


class LocalBody(BodyStream):
    """A stream whose writer waits for room."""

    def __init__(self) -> None:
        self._has_room = asyncio.Event()
        self._has_room.set()
        super().__init__(pause=self._has_room.clear, resume=self._has_room.set)

    async def put(self, data: bytes) -> None:
        """Write, and wait until there is room for more; whoever closes the stream lets nobody wait."""
        if data:
            self.feed(data)
        await self._has_room.wait()

    def let_go(self) -> None:
        """Nobody reads any more: nobody waits for room."""
        self._has_room.set()


def pumped(pieces: AsyncIterator[bytes], *, name: str) -> tuple[LocalBody, asyncio.Task[None]]:
    """A stream of these pieces, and the task that fetches them; closing the stream cancels the task."""
    body = LocalBody()
    task = asyncio.create_task(_pump(pieces, body), name=name)

    def close() -> None:
        task.cancel()

    body.close = close
    return body, task


async def _pump(pieces: AsyncIterator[bytes], body: LocalBody) -> None:
    error: Exception | None = RunnerUnavailableError("the runner cancelled itself")
    try:
        async for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError(f"a piece of the stream should be bytes, not {type(piece).__name__}")
            await body.put(piece)
        error = None
    except RunnerUnavailableError as unavailable:
        error = unavailable
    except Exception as raised:
        error = RunnerUnavailableError(f"the runner raised {type(raised).__name__}: {raised}")
        error.__cause__ = raised
    finally:
        body.end(error)
        if (close := getattr(pieces, "aclose", None)) is not None:
            await close()
