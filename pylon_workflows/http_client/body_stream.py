"""A body that is read while it comes."""

import asyncio
from collections.abc import Callable

MAX_UNREAD_BYTES = 256 * 1024
"""So much may wait to be read; beyond it the other side is slowed down."""


class BodyStream:
    """Bytes between whoever receives them, who calls `feed` and `end`, and one who reads.

    `pause` is called when MAX_UNREAD_BYTES wait to be read, `resume` when they have been taken; `close` is what the
    reader calls who reads no more.
    """

    def __init__(self, *, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pause = pause
        self._resume = resume
        self._unread: list[bytes] = []
        self._size = 0
        self._is_paused = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._has_ended = False
        self.close: Callable[[], None] = _nothing

    @property
    def is_over(self) -> bool:
        """Whether all of it has come and has been read."""
        return self._has_ended and not self._unread

    def feed(self, data: bytes) -> None:
        """Some more has come."""
        self._unread.append(data)
        self._size += len(data)
        if self._size > MAX_UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._pause()
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """No more comes: that was all, or what went wrong. Only the first end counts."""
        if not self._has_ended:
            self._has_ended = True
            self._error = error
            self._wake()

    async def read(self, deadline: float) -> bytes:
        """All that has come since the last time, as soon as there is anything; nothing at the end.

        `deadline` is the loop's time. Raises TimeoutError, and the error with which the stream ended, after what had
        come before it.
        """
        if not self._unread and not self._has_ended:
            await self._until_fed(deadline)
        unread = self._unread
        if unread:
            self._unread = []
            self._size = 0
            if self._is_paused:
                self._is_paused = False
                self._resume()
            return unread[0] if len(unread) == 1 else b"".join(unread)
        if self._error is not None:
            raise self._error
        return b""

    async def _until_fed(self, deadline: float) -> None:
        self._reader = reader = self._loop.create_future()
        alarm = self._loop.call_at(deadline, self._ring, reader)
        try:
            await reader
        finally:
            alarm.cancel()
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _ring(self, reader: asyncio.Future[None]) -> None:
        if not reader.done():
            reader.set_exception(TimeoutError())


def _nothing() -> None:
    """Nobody needs to hear that it is read no more."""
