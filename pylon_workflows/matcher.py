"""Brings published events and the waits for them together: an event was stored before anybody looks who waits for it.

Whichever of an event and a wait is committed second looks for the other, so that none is missed and no lock spans the
two commits; what a crash leaves unmatched is looked for at the start. The claim is one transaction with what it does to
its instance, and can be made once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from functools import partial
from itertools import compress

from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import DeliverEvent
from pylon_workflows.core.deciding.matching import may_match
from pylon_workflows.core.instance import EventWait, Instance
from pylon_workflows.core.transitions import EventTaken
from pylon_workflows.decision import Decision
from pylon_workflows.errors import (
    CorruptDatabaseError,
    InboxFullError,
    StoreError,
    UnknownInstanceError,
    UnknownWorkflowError,
)
from pylon_workflows.live_instances import LiveInstances
from pylon_workflows.looks import Look, Looks
from pylon_workflows.ports import Clock, Store
from pylon_workflows.published import Correlation, PublishedEvent, StartTerms
from pylon_workflows.start_options import StartOptions
from pylon_workflows.starts import Starts

_log = logging.getLogger(__name__)

_FRESH_BYTES = 4_000_000
"""So much of the events that have just been committed is not read again."""

_PAGE = 100
_STORE_TROUBLE_PAUSE_S = 1.0


class _Claim(Enum):
    CLAIMED = auto()
    GONE = auto()
    """Somebody else has claimed the event."""
    UNFIT = auto()
    """The wait does not match it, or its instance cannot be read."""
    OVER = auto()
    """The instance no longer waits with this correlation."""


class Matcher:
    """Matches what it is told of, and what is left from before; `run` it."""

    def __init__(self, store: Store, changes: Changes, live: LiveInstances, starts: Starts, clock: Clock) -> None:
        self._store = store
        self._changes = changes
        self._live = live
        self._starts = starts
        self._clock = clock
        self._looks = Looks(self._match, clock)
        self._unknown: set[str] = set()
        self._unreadable: set[int] = set()
        self._fresh: dict[int, PublishedEvent] = {}
        self._fresh_bytes = 0
        self._is_abreast = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether everything that it was told of has been looked at, and all that was left from before."""
        return self._looks.is_empty and self._is_abreast.is_set()

    async def catch_up(self) -> None:
        """Wait until all that was left from before has been looked at once, and all that it was told of by now."""
        await self._is_abreast.wait()
        await self._looks.passed()

    def published(self, key: int, correlation: Correlation, fresh: PublishedEvent | None = None) -> None:
        """An event has been committed; `fresh` is what was."""
        if fresh is not None and self._fresh_bytes + fresh.size <= _FRESH_BYTES:
            self._fresh_bytes += fresh.size
            self._fresh[key] = fresh
        self._looks.add(correlation.key, Look(event=key))

    def committed(self, instance: Instance) -> None:
        """An instance has been committed."""
        wait = instance.wait
        if wait is not None and isinstance(wait, EventWait) and wait.correlation is not None:
            self._looks.add(wait.correlation, Look(wait=(wait.event, instance.id)))

    def doubt(self, correlation: Correlation) -> None:
        """An event of this correlation may have been committed."""
        self._looks.add(correlation.key, Look())

    def clear(self) -> None:
        """Forget what it was told: whoever opens the store finds it there."""
        self._looks.clear()
        self._fresh, self._fresh_bytes = {}, 0
        self._is_abreast = asyncio.Event()

    async def run(self) -> None:
        """Match whatever comes, and first what is in the store, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_at_what_is_left())
            tasks.create_task(self._looks.run())

    async def settle(self, instance_ids: Sequence[str]) -> None:
        """Let instances whose waits are over have what was published in time. Raises StoreError."""
        for correlation in await self._store.published.awaited(instance_ids):
            try:
                await self._look_through(correlation, partial(self._match_event, may_start=False))
            except CorruptDatabaseError as error:
                _log.error("a published event %r is left unmatched: %s", correlation.event, error)

    async def _look_at_what_is_left(self) -> None:
        """What a former owner has stored and not matched any more."""
        self._is_abreast.clear()
        while not self._is_abreast.is_set():
            try:
                async for key in self._store.published.open_keys():
                    self._looks.add(key, Look())
                self._is_abreast.set()
            except StoreError as error:
                _log.warning("published events could not be looked for, tried again: %s", error)
                await self._clock.sleep(_STORE_TROUBLE_PAUSE_S)

    async def _match(self, key: str, look: Look) -> None:
        if look.event is not None:
            fresh = self._fresh.pop(look.event, None)
            self._fresh_bytes -= 0 if fresh is None else fresh.size
            await self._match_event(look.event, fresh)
        elif look.wait is not None:
            event, instance_id = look.wait
            await self._match_wait(Correlation(key, event), instance_id)
        else:
            await self._look_through(key, self._match_event)

    async def _look_through(self, correlation: Correlation | str, is_enough: Callable[[int], Awaitable[bool]]) -> None:
        """Look at what is kept of that correlation, or under that key, the oldest first, until it is enough."""
        after = 0
        while keys := await self._store.published.kept(correlation, after=after, limit=_PAGE):
            for key in keys:
                if await is_enough(key):
                    return
            after = keys[-1]

    async def _match_event(self, key: int, fresh: PublishedEvent | None = None, *, may_start: bool = True) -> bool:
        """Give an event to the oldest wait that it fits, or let it start what it is to start, or leave it kept.

        `fresh` is the event, where it is known still. It is never enough: what comes after it is looked at, too.
        """
        published = fresh or await self._readable(key)
        if published is None:
            return False
        after = None
        while waits := await self._store.published.waits(published.correlation, after=after, limit=_PAGE):
            may = may_match([wait.match_json for wait in waits], published.data_json)
            for wait in compress(waits, may):
                claim = await self._claim(key, published, wait.instance_id)
                if claim is _Claim.CLAIMED or claim is _Claim.GONE:
                    return False
            after = waits[-1]
        if published.start is not None and may_start:
            await self._start(key, published.correlation, published.start)
        return False

    async def _match_wait(self, correlation: Correlation, instance_id: str) -> None:
        """Give a wait the oldest event that fits it."""

        async def is_enough(key: int) -> bool:
            published = await self._readable(key)
            if published is None:
                return False
            claim = await self._claim(key, published, instance_id)
            return claim is _Claim.CLAIMED or claim is _Claim.OVER

        await self._look_through(correlation, is_enough)

    async def _readable(self, key: int) -> PublishedEvent | None:
        """The event, while it is kept; one that cannot be read holds up no other, and is told of once."""
        try:
            return await self._store.published.get(key)
        except CorruptDatabaseError as error:
            if key not in self._unreadable:
                self._unreadable.add(key)
                _log.error("%s; nobody gets it", error)
            return None

    async def _claim(self, key: int, published: PublishedEvent, instance_id: str) -> _Claim:
        with self._live.use(instance_id) as live:
            async with live.lock:
                try:
                    instance = await self._changes.load(live, instance_id)
                except (CorruptDatabaseError, UnknownInstanceError):
                    return _Claim.UNFIT  # it has been parked, or deleted
                wait = instance.wait
                if not isinstance(wait, EventWait) or published.correlation != (wait.correlation, wait.event):
                    return _Claim.OVER
                decision = Decision(instance, self._clock.now())
                delivery = DeliverEvent(event=wait.event, data_json=published.data_json, event_id=published.delivery_id)
                try:
                    decision.add(delivery)
                except InboxFullError:
                    return _Claim.UNFIT
                transitions = decision.transitions
                if transitions and not isinstance(transitions[-1], EventTaken):
                    return _Claim.UNFIT
                write = self._store.published.claim(key, decision.after, transitions)
                is_claimed = await self._changes.stored(live, decision, write, is_stored=bool)
                return _Claim.CLAIMED if is_claimed else _Claim.GONE

    async def _start(self, key: int, correlation: Correlation, start: StartTerms) -> None:
        try:
            instance = self._starts.new_instance(
                start.name, start.input_json, StartOptions(id=start.id, tags=start.tags)
            )
        except UnknownWorkflowError as error:
            if start.name not in self._unknown:
                self._unknown.add(start.name)
                _log.error(
                    "a published event %r starts nothing, tried again every minute: %s", correlation.event, error
                )
            self._looks.put_off(correlation.key)
            return
        self._unknown.discard(start.name)
        await self._starts.stored(
            instance,
            lambda: self._store.published.start(key, instance),
            is_new=lambda outcome: outcome == "started",
        )
