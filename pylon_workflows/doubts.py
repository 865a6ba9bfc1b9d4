"""Writes that failed without saying what they left: a second later the engine looks, and tells what it finds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pylon_workflows.errors import CorruptDatabaseError, StoreError, UnknownInstanceError
from pylon_workflows.ports import Clock

_log = logging.getLogger(__name__)

_PAUSE_S = 1.0


class Doubts:
    """Ids of instances about which the store has left doubt; `look` is tried for each until the store can be read.

    Without it a start or a wake-up that was stored after all would be driven by nobody until a restart (P8).
    """

    def __init__(self, clock: Clock, look: Callable[[str], Awaitable[None]]) -> None:
        self._clock = clock
        self._look = look
        self._ids: dict[str, None] = {}
        self._has_some = asyncio.Event()

    def add(self, instance_id: str) -> None:
        """A write of this instance has failed and may have been stored all the same."""
        self._ids[instance_id] = None
        self._has_some.set()

    async def run(self) -> None:
        """Look at what is doubtful, for ever."""
        self._ids.clear()  # whoever starts an engine looks at everything
        self._has_some = asyncio.Event()  # the former one may be another loop's
        while True:
            await self._has_some.wait()
            await self._clock.sleep(_PAUSE_S)
            self._has_some.clear()
            for instance_id in tuple(self._ids):
                await self._look_at(instance_id)

    async def _look_at(self, instance_id: str) -> None:
        try:
            await self._look(instance_id)
        except (UnknownInstanceError, CorruptDatabaseError):
            pass  # a start that was not stored; or nothing that can be driven
        except StoreError as error:
            _log.warning("%s: still in doubt: %s", instance_id, error)
            self._has_some.set()
            return
        self._ids.pop(instance_id, None)
