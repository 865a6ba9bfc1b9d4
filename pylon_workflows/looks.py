"""What the matcher has to look at, by correlation key: in order under each, and the keys take turns."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pylon_workflows.errors import CorruptDatabaseError, StoreError
from pylon_workflows.ports import Clock

_log = logging.getLogger("pylon_workflows.matcher")  # one name for all that a person reads of published events

_PLACES = 64
"""So many keys are looked at at a time. What comes under one key is looked at one after the other, whatever its names:
so an event that is to start an instance has done so when a later one finds the id taken."""

_TROUBLE_PAUSE_S = 1.0
_PUT_OFF_S = 60.0
_TRIES = 10
"""After so many vain looks nobody waits for a key any more: it may be a row's trouble, and not the file's."""


class Mark:
    """`is_passed` when all that was there before it has been looked at, under each of so many keys."""

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self.is_passed = asyncio.Event()
        self.pass_by(0)

    def pass_by(self, keys: int = 1) -> None:
        """Say so of one more."""
        self._keys -= keys
        if self._keys == 0:
            self.is_passed.set()


class Look(NamedTuple):
    """What is to be looked at: an event that has come, a wait that has begun, or, with neither, all under the key."""

    event: int | None = None
    wait: tuple[str, str] | None = None
    """The event that is waited for, and by which instance."""
    mark: Mark | None = None
    """Nothing is to be looked at: what was told before has been."""


class Looks:
    """Has `look` look at whatever is added; `run` it. What fails is repeated, in a minute where a row is corrupt."""

    def __init__(self, look: Callable[[str, Look], Awaitable[None]], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Forget all of it."""
        self._left: dict[str, OrderedDict[Look, None]] = {}
        self._next: asyncio.Queue[str] = asyncio.Queue()
        self._put_off: set[str] = set()
        self._tries: dict[str, int] = {}
        self._in_trouble: list[str] = []
        self._has_trouble = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether everything has been looked at."""
        return not self._left

    def add(self, key: str, look: Look) -> None:
        """Look at that when it is the key's turn, after what is there already under the key."""
        if key not in self._left:
            self._left[key] = OrderedDict()
            self._next.put_nowait(key)
        self._left[key][look] = None

    def put_off(self, key: str) -> None:
        """Look through the key in a minute."""
        self._put_off.add(key)

    async def passed(self) -> None:
        """Wait until all that is there by now has been looked at, or cannot be."""
        mark = Mark(len(self._left))
        for looks in self._left.values():
            looks[Look(mark=mark)] = None
        await mark.is_passed.wait()

    async def run(self) -> None:
        """Look, for ever."""
        self._next, self._has_trouble = asyncio.Queue(), asyncio.Event()  # those before may be another loop's
        self._in_trouble = []
        self._left = {key: looks for key, looks in self._left.items() if looks}
        for key in self._left:
            self._next.put_nowait(key)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again_after_trouble())
            tasks.create_task(self._again_in_a_minute())
            for _ in range(_PLACES):
                tasks.create_task(self._work(), name="match published events")

    async def _work(self) -> None:
        """One look, and it is the next key's turn, however much is left under this one."""
        while True:
            key = await self._next.get()
            looks = self._left[key]
            look, _ = looks.popitem(last=False)  # what is told from now on is looked at anew
            if not await self._is_done(key, look):
                looks[look] = None
                looks.move_to_end(look, last=False)
                self._in_trouble.append(key)
                self._has_trouble.set()
            elif looks:
                self._next.put_nowait(key)
            else:
                del self._left[key]

    async def _is_done(self, key: str, look: Look) -> bool:
        """Look; False when the store is in trouble and the look is to be repeated."""
        if look.mark is not None:
            look.mark.pass_by()
            return True
        try:
            await self._look(key, look)
        except CorruptDatabaseError as error:
            _log.error("a published event is left unmatched, tried again in a minute: %s", error)
            self.put_off(key)
        except StoreError as error:
            self._trouble(key, error)
            return False
        except Exception:
            _log.exception("matching published events failed; tried again in a minute")
            self.put_off(key)
        self._tries.pop(key, None)
        return True

    def _trouble(self, key: str, error: StoreError) -> None:
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        if tries == 1:  # once an outage
            _log.warning("published events cannot be matched yet: %s", error)
        if tries >= _TRIES:
            looks = self._left[key]
            for look in list(looks):
                if look.mark is not None:
                    del looks[look]
                    look.mark.pass_by()

    async def _again_after_trouble(self) -> None:
        while True:
            await self._has_trouble.wait()
            await self._clock.sleep(_TROUBLE_PAUSE_S)
            self._has_trouble.clear()
            in_trouble, self._in_trouble = self._in_trouble, []
            for key in in_trouble:
                self._next.put_nowait(key)

    async def _again_in_a_minute(self) -> None:
        while True:
            await self._clock.sleep(_PUT_OFF_S)
            put_off, self._put_off = self._put_off, set()
            for key in put_off:
                self.add(key, Look())
