"""Callers that wait until something has happened: to one instance, or to any."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pylon_workflows.errors import EngineNotRunningError, WorkflowError

T = TypeVar("T")


class Updates:
    """Futures by instance id, and those of callers to whom every instance counts.

    Nothing is handed over but that something has happened: what it was is read from the store, so that nobody sees what
    is not durable (P3), and a caller that comes late holds up nobody and misses nothing. `on_watched` is called when
    somebody begins to wait.
    """

    def __init__(self, on_watched: Callable[[], None] = lambda: None) -> None:
        self._on_watched = on_watched
        self._of: dict[str | None, set[asyncio.Future[None]]] = {}

    @property
    def is_watched(self) -> bool:
        """Whether anybody waits."""
        return bool(self._of)

    @property
    def ids(self) -> Sequence[str]:
        """The instances for which anybody waits."""
        return [watched for watched in self._of if watched is not None]

    def changed(self, instance_id: str | None) -> None:
        """Something has happened to an instance, or to any that is not known, and that is committed."""
        for watched in {instance_id, None}:
            for future in self._of.pop(watched, ()):
                if not future.done():
                    future.set_result(None)

    def close(self, reason: WorkflowError | None = None) -> None:
        """Nothing happens any more: tell everyone who waits. `reason` says why the engine has failed, if it has."""
        why = reason or EngineNotRunningError("the engine was closed")
        for future in [future for futures in self._of.values() for future in futures]:
            if not future.done():
                future.set_exception(type(why)(*why.args))
        self._of.clear()

    async def next(
        self,
        instance_id: str | None,
        read: Callable[[], Awaitable[T]],
        is_news: Callable[[T], bool],
        timeout_s: float,
    ) -> T:
        """What `read` tells, as soon as that is news, or when so much time has passed; None watches every instance.

        Raises:
            What `read` raises; EngineNotRunningError: it was closed.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        while True:
            future: asyncio.Future[None] = loop.create_future()
            futures = self._of.setdefault(instance_id, set())
            futures.add(future)  # before it is read, lest what happens meanwhile be missed
            self._on_watched()
            try:
                told = await read()
                if is_news(told) or not await _is_set_by(ends_at, future):
                    return told
            finally:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # heard, although reading may have told it first
                futures.discard(future)
                if not futures and self._of.get(instance_id) is futures:
                    del self._of[instance_id]


async def _is_set_by(ends_at: float, future: asyncio.Future[None]) -> bool:
    try:
        async with asyncio.timeout_at(ends_at):
            await future
    except TimeoutError:
        return False
    return True
