"""Tells the program's own callbacks that an instance has finished: after the commit, at least once."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence

from pylon_workflows.core.instance import Instance
from pylon_workflows.decision import has_family
from pylon_workflows.errors import CorruptDatabaseError, StoreError, UnknownInstanceError, WorkflowError
from pylon_workflows.ports import Clock, Store

_log = logging.getLogger(__name__)

_PAGE = 500
_STORE_TROUBLE_PAUSE_S = 1.0

FinishedCallback = Callable[[Instance], Awaitable[None] | None]


class Announcements:
    """Calls every callback once for each finished instance, one instance after the other.

    An instance is marked in the store when all callbacks have returned. One for which a callback raised, or which was
    cut off by a crash, is announced again at the next start. While there are no callbacks, what an earlier program left
    is marked, for retention keeps what is unannounced. One that has a family is given to `settle`, and comes back as
    `settled`.
    """

    def __init__(
        self,
        store: Store,
        load: Callable[[str], Awaitable[Instance]],
        clock: Clock,
        settle: Callable[[Instance], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._settle = settle
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
        """An instance without a family has finished, and that is committed."""
        if self._callbacks:
            self._queue.put_nowait(instance)

    def settled(self, instance: Instance) -> None:
        """An instance has finished, and its family has been told."""
        self._queue.put_nowait(instance)

    async def run(self) -> None:
        """Announce what is left unannounced, then whatever comes, for ever."""
        await self._announce_what_is_left()
        while True:
            await self._tell(await self._queue.get())

    async def _announce_what_is_left(self) -> None:
        """What an earlier program left; tried until the store can tell, or mark it."""
        is_told = False
        while True:
            self._queue = asyncio.Queue()  # what the former one held is read from the store; it may be another loop's
            try:
                left = await self._without_families(await self._store.unannounced(limit=1_000_000))
                if self._callbacks:
                    for instance_id in left:
                        await self._tell(await self._load(instance_id))
                    return
                for first in range(0, len(left), _PAGE):
                    await self._store.mark_announced(left[first : first + _PAGE])
            except StoreError as error:
                if not is_told:  # once an outage
                    _log.warning("what finished before the start cannot be dealt with yet, tried again: %s", error)
                is_told = True
                await self._clock.sleep(_STORE_TROUBLE_PAUSE_S)
            else:
                return

    async def _without_families(self, instance_ids: Sequence[str]) -> Sequence[str]:
        """Let those be settled that have a family, which waits; the others."""
        others = []
        for instance_id in instance_ids:
            try:
                instance = await self._load(instance_id)
            except (CorruptDatabaseError, UnknownInstanceError) as error:
                _log.error("%s: could not be read to be announced: %s", instance_id, error)
                continue
            if has_family(instance):
                self._settle(instance)
            else:
                others.append(instance_id)
        return others

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
