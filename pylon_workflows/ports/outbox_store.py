"""Where notices for receivers outside are kept until they have been delivered."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from pylon_workflows.notices import GivenUp, Notice, Subscription, UnreadableNotice


class OutboxStore(Protocol):
    """The notices of a `Store`, which is open when they are asked for.

    A change that brings an instance into a status of which a receiver wants to be told writes its notice in the same
    transaction, whichever change that is: an append, or the parking of one that cannot be read. Importing an instance,
    and mending a row, writes none. A notice needs its instance no more: that may be deleted.
    Every call raises `StorageFullError` when the disk is full, with nothing changed, and another `StoreError` when the
    file cannot be used.
    """

    def write_for(self, subscriptions: Sequence[Subscription], now: Callable[[], datetime]) -> None:
        """Write notices for these receivers from the next `open` on; `now` may be called in another thread."""
        ...

    async def due(self, receiver: str, *, now: datetime, limit: int) -> Sequence[Notice | UnreadableNotice]:
        """A receiver's notices that are to be delivered now, the longest due first.

        One that is due at a time which no backoff reaches, because the clock was set back, is due now.
        """
        ...

    async def delivered(self, key: int) -> None:
        """Forget a notice."""
        ...

    async def failed(self, key: int, *, next_at: datetime) -> None:
        """An attempt has failed; the next one is due then."""
        ...

    async def give_up(self, receiver: str, *, before: datetime, limit: int) -> Sequence[GivenUp]:
        """Forget at most so many of a receiver's notices that were written before then; which they were."""
        ...

    async def receivers(self) -> Sequence[str]:
        """The keys of all receivers that notices are kept for, also of those that nobody knows any more."""
        ...
