"""What has changed, read and written out once for all who are told of it at the same time."""

from collections import OrderedDict
from functools import cached_property, partial

from pylon_workflows.api import views
from pylon_workflows.api.event_stream import message
from pylon_workflows.api.sharing import Sharing
from pylon_workflows.filters import InstanceFilter
from pylon_workflows.ports import ChangePage, Engine

_MOST_KEPT, _MOST_BYTES = 2_000, 4 * 1024 * 1024
"""Instances of the last pages, for who is a little behind, and how much is written of them: an error may be long."""


class Told:
    """A page of changes, as the messages that tell of it."""

    def __init__(self, page: ChangePage) -> None:
        self.page = page

    @cached_property
    def size(self) -> int:
        """In bytes, as it is written."""
        return sum(map(len, self._texts))

    def messages(self, where: InstanceFilter) -> bytes:
        """Those of the instances that fit. Only the last one has an id: who is cut off before it is told again."""
        if where.is_empty:
            return self._all
        fitting = [text for text, summary in zip(self._texts, self.page.instances, strict=True) if where.fits(summary)]
        return self._written(fitting)

    @cached_property
    def _texts(self) -> list[bytes]:
        return [views.summary_json(summary) for summary in self.page.instances]

    @cached_property
    def _all(self) -> bytes:
        return self._written(self._texts)

    def _written(self, texts: list[bytes]) -> bytes:
        if not texts:
            return b""
        return b"".join([*map(message, texts[:-1]), message(texts[-1], id=self.page.after)])


class SharedChanges:
    """Asks an engine for what is next, once for all who ask after the same change.

    A page is what has changed between two numbers, so whoever comes to the first later may be given the same one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sharing: Sharing[int, Told] = Sharing()
        self._told: OrderedDict[int, Told] = OrderedDict()
        self._kept = self._bytes = 0

    def has(self, after: int) -> bool:
        """Whether what follows is known already."""
        return after in self._told

    async def next(self, *, after: int, timeout_s: float) -> Told:
        """See `ports.Engine.next_changes`; the first who asks says how long to wait."""
        if (told := self._told.get(after)) is not None:
            return told
        return await self._sharing.ask(after, partial(self._ask, after, timeout_s))

    async def _ask(self, after: int, timeout_s: float) -> Told:
        told = Told(await self._engine.next_changes(after=after, timeout_s=timeout_s))
        if told.page.after > after:
            self._told[after] = told
            self._count(told, 1)
            while self._kept > _MOST_KEPT or self._bytes > _MOST_BYTES:
                _, oldest = self._told.popitem(last=False)
                self._count(oldest, -1)
        return told

    def _count(self, told: Told, sign: int) -> None:
        self._kept += sign * len(told.page.instances)
        self._bytes += sign * told.size
