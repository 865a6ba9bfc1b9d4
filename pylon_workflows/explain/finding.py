"""Finds the facts around an instance, in a store or in a file that another process writes."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from pylon_workflows.core.instance import ChildWait, EventWait, Instance
from pylon_workflows.core.transitions import EventReceived, Transition
from pylon_workflows.errors import CorruptDatabaseError, UnreadableInstanceError
from pylon_workflows.explain.near_misses import MOST_BYTES, closest
from pylon_workflows.explain.reasons import explained
from pylon_workflows.explain.shapes import Driving, Explanation, Facts, KeptEvent
from pylon_workflows.published import Correlation, KeptUnder, PublishedEvent
from pylon_workflows.summaries import HistoryPage, InstanceSummary

_RECENT = 50
"""So many of the last transitions are told, or as many of the last as one page of a history holds."""
_KEPT = 20
_AMONG = 1_000
"""Of so many of the newest kept events those are found that have the name that is waited for, and another key."""


class Published(Protocol):
    """Where published events are kept."""

    async def kept(self, correlation: str, *, limit: int) -> Sequence[int]:
        """See `PublishedStore.kept`."""
        ...

    async def kept_under_other_keys(self, correlation: Correlation, *, among: int) -> Sequence[KeptUnder]:
        """See `PublishedStore.kept_under_other_keys`."""
        ...

    async def get(self, key: int) -> PublishedEvent | None:
        """See `PublishedStore.get`."""
        ...


class Source(Protocol):
    """Where instances are kept."""

    @property
    def published(self) -> Published:
        """See `Store.published`."""
        ...

    async def history_page(self, instance_id: str, *, after: int, limit: int) -> HistoryPage | None:
        """See `Store.history_page`."""
        ...

    async def summary(self, instance_id: str) -> InstanceSummary | None:
        """See `Store.summary`."""
        ...


async def explanation_of(source: Source, instance: Instance, now: datetime, driving: Driving) -> Explanation:
    """Why the instance is where it is. Raises StoreError."""
    facts = Facts(
        now=now,
        driving=driving,
        recent=await _recent(source, instance),
        child=await source.summary(instance.wait.child_id) if isinstance(instance.wait, ChildWait) else None,
        kept=await _kept(source.published, instance),
        under_other_keys=await _under_other_keys(source.published, instance),
        received_at=await _received_at(source, instance),
    )
    return explained(instance, facts)


async def _recent(source: Source, instance: Instance) -> Sequence[Transition]:
    """The last transitions. A page that is full before the end has the older ones: then fewer are asked for."""
    count = _RECENT
    while True:
        page = await _page(source, instance, instance.revision - count, count)
        if page is None or page.last >= instance.revision or count == 1:
            return () if page is None else page.transitions
        count //= 2


async def _kept(published: Published, instance: Instance) -> list[KeptEvent]:
    """The oldest events that are kept under the key with which the instance waits, whatever their names."""
    wait, found, size = instance.wait, [], 0
    if not isinstance(wait, EventWait) or wait.correlation is None:
        return []
    for key in await published.kept(wait.correlation, limit=_KEPT):
        with suppress(CorruptDatabaseError):  # the matcher tells of it
            event = await published.get(key)
            size += 0 if event is None else len(event.data_json)
            if size > MOST_BYTES:
                break
            if event is not None:
                name, data_json = event.correlation.event, event.data_json
                found.append(KeptEvent(event=name, received_at=event.received_at, data_json=data_json))
    return found


async def _under_other_keys(published: Published, instance: Instance) -> Sequence[KeptUnder]:
    wait = instance.wait
    if not isinstance(wait, EventWait) or wait.correlation is None:
        return ()
    return await published.kept_under_other_keys(Correlation(wait.correlation, wait.event), among=_AMONG)


async def _received_at(source: Source, instance: Instance) -> dict[int, datetime]:
    times = {}
    for event in closest(instance):
        page = await _page(source, instance, event.revision - 1, 1)
        found = page.transitions[0] if page is not None and page.transitions else None
        if isinstance(found, EventReceived):  # or else retention has deleted the run in which it came
            times[event.revision] = found.at
    return times


async def _page(source: Source, instance: Instance, after: int, limit: int) -> HistoryPage | None:
    try:
        return await source.history_page(instance.id, after=max(0, after), limit=limit)
    except UnreadableInstanceError:
        return None
