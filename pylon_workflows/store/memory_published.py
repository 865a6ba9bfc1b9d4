"""The published events of the store in memory."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from pylon_workflows.core.instance import EventWait, Instance
from pylon_workflows.core.transitions import Transition
from pylon_workflows.ports import Acceptance, StartOutcome, Write
from pylon_workflows.published import Correlation, KeptUnder, PublishedEvent, WaitPlace, too_many_kept


class Append(Protocol):
    """`Store.append`."""

    def __call__(self, instance: Instance, transitions: Sequence[Transition]) -> Write[str | None]:
        """See `Store`."""
        ...


@dataclass(slots=True)
class _Stored:
    published: PublishedEvent
    keep_until: datetime
    remember_until: datetime
    is_kept: bool = True


class MemoryPublished:
    """A `PublishedStore` that writes to no disk.

    `create` and `append` are those of the `Store`, `waits` are its instances that wait for an event, and `check_open`
    raises when it is closed.
    """

    def __init__(
        self,
        create: Callable[[Instance], Awaitable[str | None]],
        append: Append,
        waits: Callable[[], Iterator[tuple[WaitPlace, EventWait]]],
        check_open: Callable[[], None],
    ) -> None:
        self._events: dict[int, _Stored] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._last_key = 0
        self._create = create
        self._append = append
        self._all_waits = waits
        self._check_open = check_open

    async def accept(
        self, published: PublishedEvent, *, keep_until: datetime, remember_until: datetime, most: int
    ) -> Acceptance:
        """See `PublishedStore`."""
        self._check_open()
        own = (published.source, published.event_id)
        if own in self._ids:
            key = self._ids[own]
            known, first = self._events[key], self._events[key].published.correlation
            is_other = first != published.correlation
            return Acceptance(key if known.is_kept else None, is_duplicate=True, first=first if is_other else None)
        if len(self._kept(published.correlation)) >= most:
            raise too_many_kept(published.correlation, most)
        self._last_key += 1
        self._events[self._last_key] = _Stored(published, keep_until, remember_until)
        self._ids[own] = self._last_key
        return Acceptance(self._last_key, is_duplicate=False)

    async def get(self, key: int) -> PublishedEvent | None:
        """See `PublishedStore`."""
        self._check_open()
        found = self._events.get(key)
        return found.published if found is not None and found.is_kept else None

    async def kept(self, correlation: Correlation | str, *, after: int = 0, limit: int) -> Sequence[int]:
        """See `PublishedStore`."""
        self._check_open()
        return [key for key in self._kept(correlation) if key > after][:limit]

    async def kept_under_other_keys(self, correlation: Correlation, *, among: int) -> Sequence[KeptUnder]:
        """See `PublishedStore`."""
        self._check_open()
        kept = [(each.keep_until, key, each.published) for key, each in self._events.items() if each.is_kept]
        found = [published for _, _, published in heapq.nlargest(among, kept)]
        return [
            KeptUnder(each.correlation.key, each.received_at)
            for each in found
            if each.correlation.event == correlation.event and each.correlation.key != correlation.key
        ]

    async def waits(
        self, correlation: Correlation, *, after: WaitPlace | None = None, limit: int
    ) -> Sequence[WaitPlace]:
        """See `PublishedStore`."""
        self._check_open()
        waits = [(place, wait) for place, wait in self._all_waits() if _correlation(wait) == correlation]
        if after is not None:
            waits = [
                (place._replace(match_json=wait.match_json), wait) for place, wait in waits if place[:2] > after[:2]
            ]
        return sorted(place for place, _ in waits)[:limit]

    def claim(self, key: int, instance: Instance, transitions: Sequence[Transition]) -> Write[bool]:
        """See `PublishedStore`."""
        self._check_open()
        done: Write[bool] = Write(loop=asyncio.get_running_loop())
        found = self._events.get(key)
        if found is None or not found.is_kept:
            _end(done, is_claimed=False)
            return done
        if not transitions:
            self._settle(found)
            _end(done, is_claimed=True)
            return done
        appended = self._append(instance, transitions)
        if not appended.done():  # one that fails has failed at once
            self._settle(found)
        appended.add_done_callback(lambda _: _end(done, is_claimed=True, error=appended.exception()))
        return done

    async def start(self, key: int, instance: Instance) -> StartOutcome:
        """See `PublishedStore`."""
        self._check_open()
        found = self._events.get(key)
        if found is None or not found.is_kept:
            return "gone"
        if await self._create(instance) is not None:
            found.published = replace(found.published, start=None)
            return "taken"
        self._settle(found)
        return "started"

    async def open_keys(self) -> AsyncIterator[str]:
        """See `PublishedStore`."""
        self._check_open()
        kept = [stored.published for stored in self._events.values() if stored.is_kept]
        awaited = {_correlation(wait) for _, wait in self._all_waits()}
        for key in sorted({each.correlation.key for each in kept if each.start or each.correlation in awaited}):
            yield key

    async def awaited(self, instance_ids: Sequence[str]) -> Sequence[Correlation]:
        """See `PublishedStore`."""
        self._check_open()
        ids = set(instance_ids)
        awaited = {_correlation(wait) for place, wait in self._all_waits() if place.instance_id in ids}
        return sorted(each for each in awaited if each is not None and self._kept(each))

    async def expire(self, *, now: datetime, limit: int) -> Sequence[str]:
        """See `PublishedStore`."""
        self._check_open()
        expired = [stored for stored in self._events.values() if stored.is_kept and stored.keep_until <= now]
        expired = sorted(expired, key=lambda stored: stored.keep_until)[:limit]
        for stored in expired:
            self._settle(stored)
        return [stored.published.correlation.event for stored in expired]

    async def forget(self, *, now: datetime, limit: int) -> int:
        """See `PublishedStore`."""
        self._check_open()
        over = [key for key, each in self._events.items() if not each.is_kept and each.remember_until <= now]
        for key in over[:limit]:
            published = self._events.pop(key).published
            del self._ids[published.source, published.event_id]
        return len(over[:limit])

    def _kept(self, correlation: Correlation | str) -> list[int]:
        if isinstance(correlation, str):
            return [
                key
                for key, each in self._events.items()
                if each.is_kept and each.published.correlation.key == correlation
            ]
        return [key for key, each in self._events.items() if each.is_kept and each.published.correlation == correlation]

    def _settle(self, stored: _Stored) -> None:
        stored.is_kept = False
        stored.published = replace(stored.published, data_json=b"null", start=None)


def _correlation(wait: EventWait) -> Correlation | None:
    return None if wait.correlation is None else Correlation(wait.correlation, wait.event)


def _end(done: Write[bool], *, is_claimed: bool, error: BaseException | None = None) -> None:
    if error is None:
        asyncio.get_running_loop().call_soon(done.set_result, is_claimed)
    else:
        done.set_exception(error)
