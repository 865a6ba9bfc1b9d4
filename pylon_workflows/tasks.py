"""The tasks of a running engine: its parts, which run until it ends, and changes, which go to their own end."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from pylon_workflows.errors import StoreError, WorkflowError
from pylon_workflows.logs import without_request
from pylon_workflows.ports import Clock

_log = logging.getLogger(__name__)

_PAUSE_S = 1.0

T = TypeVar("T")

Part = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """Call `start` with the parts, then `end`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: list[asyncio.Task[None]] = []
        self._changes: set[asyncio.Task[Any]] = set()

    def start(self, parts: Iterable[Part]) -> None:
        """Run each of these functions; one that raises is logged and called again a second later."""
        self._parts = [asyncio.create_task(self._run(part), context=without_request()) for part in parts]

    async def _run(self, part: Part) -> None:
        while True:
            try:
                return await part()
            except StoreError as error:  # the file's trouble, which a traceback tells nothing of
                _log.error("a part of the engine stopped; it starts again in %g s: %s", _PAUSE_S, error)
            except Exception:
                _log.exception("a part of the engine stopped; it starts again in %g s", _PAUSE_S)
            await self._clock.sleep(_PAUSE_S)

    async def to_its_end(self, change: Coroutine[Any, Any, T]) -> T:
        """Finish a change even when its caller is cancelled, so that memory and file stay one."""
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_heard_by_nobody)
            raise

    async def end(self) -> None:
        """Cut the parts off and wait for the changes under way."""
        for task in self._parts:
            task.cancel()
        await asyncio.gather(*self._parts, *self._changes, return_exceptions=True)
        self._parts = []


async def ended(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended, and raise what it raised. Who is cancelled meanwhile is so when it has ended."""
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        _heard_by_nobody(task)
        raise cancellation
    task.result()


def _heard_by_nobody(task: asyncio.Task[Any]) -> None:
    """What an error says of the call, only its caller could want to know, who has gone; others are faults."""
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, WorkflowError):
        _log.error("what a caller did not wait for has failed", exc_info=error)
