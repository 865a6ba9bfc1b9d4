"""Where published events are kept."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import Transition
from pylon_workflows.ports.writes import Write
from pylon_workflows.published import Correlation, KeptUnder, PublishedEvent, WaitPlace


class Acceptance(NamedTuple):
    """What came of an event: its key in the store, None when nothing is left to do about it.

    Of a duplicate whose name or correlation key is another than that of the event first accepted, `first` are those.
    """

    key: int | None
    is_duplicate: bool
    first: Correlation | None = None


StartOutcome = Literal["started", "taken", "gone"]
"""What came of a start: its instance is stored; its id is another's; or somebody else has claimed the event."""


class PublishedStore(Protocol):
    """The published events of a `Store`, which is open when they are asked for. What a call has returned is durable.

    An event is kept until it is claimed, once, or expires; then it is remembered, without its data. Keys grow in the
    order in which events were accepted. Every call raises `StorageFullError` when the disk is full, with nothing
    changed, and another `StoreError` when the file cannot be used.
    """

    async def accept(
        self, published: PublishedEvent, *, keep_until: datetime, remember_until: datetime, most: int
    ) -> Acceptance:
        """Keep an event, unless one of that source and id is kept or remembered: then nothing is changed.

        Raises:
            KeptEventsFullError: `most` events of this correlation are kept already.
        """
        ...

    async def get(self, key: int) -> PublishedEvent | None:
        """The event, while it is kept. Raises CorruptDatabaseError: it cannot be read."""
        ...

    async def kept(self, correlation: Correlation | str, *, after: int = 0, limit: int) -> Sequence[int]:
        """Keys of the events that are kept, of that correlation, or under that correlation key whatever their names.

        The oldest comes first, after the one given.
        """
        ...

    async def kept_under_other_keys(self, correlation: Correlation, *, among: int) -> Sequence[KeptUnder]:
        """Where events of that name are kept under other keys, the newest first, of the newest so many that are kept.

        What cannot be read is left out. The newest are those that are kept the longest from now.
        """
        ...

    async def waits(
        self, correlation: Correlation, *, after: WaitPlace | None = None, limit: int
    ) -> Sequence[WaitPlace]:
        """Instances that wait for that correlation, the oldest wait first, after the one given.

        Those after another one come with what they match, where that can be read.
        """
        ...

    def claim(self, key: int, instance: Instance, transitions: Sequence[Transition]) -> Write[bool]:
        """Take an event out of those kept and store, as `Store.append` does, what it did to an instance, or do neither.

        False: it was not kept any more, and nothing was changed. Without transitions the instance has had it before.
        """
        ...

    async def start(self, key: int, instance: Instance) -> StartOutcome:
        """Take an event out of those kept and store the new instance that it starts, both or nothing.

        When the instance's id is taken the event stays kept, and starts nothing from now on.
        """
        ...

    def open_keys(self) -> AsyncIterator[str]:
        """Correlation keys under which events are kept that an instance waits for, or that are to start one."""
        ...

    async def awaited(self, instance_ids: Sequence[str]) -> Sequence[Correlation]:
        """Those that any of these instances waits for, and of which events are kept."""
        ...

    async def expire(self, *, now: datetime, limit: int) -> Sequence[str]:
        """Drop at most so many kept events whose time is over; the names of those dropped."""
        ...

    async def forget(self, *, now: datetime, limit: int) -> int:
        """Forget at most so many events that are not kept, and whose time is over; how many there were."""
        ...
