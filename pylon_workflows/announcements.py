"""Tells the program's own callbacks that an instance has finished: after the commit, at least once."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence

from pylon_workflows.core.instance import Instance
from pylon_workflows.errors import StoreError, WorkflowError
from pylon_workflows.ports import Clock, Store

_log = logging.getLogger(__name__)

_PAGE = 500
_STORE_TROUBLE_PAUSE_S = 1.0

FinishedCallback = Callable[[Instance], Awaitable[None] | None]


class Announcements:
    """Calls every callback once for each finished instance, one instance after the other.

    An instance is marked in the store when all callbacks have returned. One for which a callback raised, or which was
    cut off by a crash, is announced again at the next start. While there are no callbacks, what an earlier program left
    is marked, for retention keeps what is unannounced.
    """

    def __init__(self, store: Store, load: Callable[[str], Awaitable[Instance]], clock: Clock) -> None:
        self._store = store
        self._load = load
        self._clock = clock
        self._callbacks: list[FinishedCallback] = []
        self._queue: asyncio.Queue[Instance] = asyncio.Queue()

    @property
    def has_callbacks(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self._callbacks)

    def add(self, callback: FinishedCallback) -> None:
        """Call this function, plain or async, with each instance that finishes from now on."""
        self._callbacks.append(callback)

    def announce(self, instance: Instance) -> None:
        """An instance has finished and that is committed."""
        if self._callbacks:
            self._queue.put_nowait(instance)

    async def run(self) -> None:
        """Announce what is left unannounced, then whatever comes, for ever."""
        for instance_id in await self._left():
            try:
                await self._tell(await self._load(instance_id))
            except WorkflowError:
                _log.exception("%s: could not be read to be announced", instance_id)
        while True:
            await self._tell(await self._queue.get())

    async def _left(self) -> Sequence[str]:
        """What was left to be announced, when anybody wants to know; tried until the store can tell, or mark it."""
        is_told = False
        while True:
            self._queue = asyncio.Queue()  # what the former one held is read from the store; it may be another loop's
            try:
                if self._callbacks:
                    return await self._store.unannounced(limit=1_000_000)
                while left := await self._store.unannounced(limit=_PAGE):
                    await self._store.mark_announced(left)
            except StoreError as error:
                if not is_told:  # once an outage
                    _log.warning("what finished before the start cannot be dealt with yet, tried again: %s", error)
                is_told = True
                await self._clock.sleep(_STORE_TROUBLE_PAUSE_S)
            else:
                return ()

    async def _tell(self, instance: Instance) -> None:
        for callback in self._callbacks:
            try:
                result = callback(instance)
                if inspect.isawaitable(result):
                    await result
            except (Exception, asyncio.CancelledError):
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                _log.exception("%s: a callback for finished instances raised; told again after a restart", instance.id)
                return
        try:
            await self._store.mark_announced([instance.id])
        except WorkflowError:
            _log.exception("%s: could not be marked as announced; told again after a restart", instance.id)
