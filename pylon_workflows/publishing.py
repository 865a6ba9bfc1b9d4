"""What becomes of an event that is published, up to its acknowledgement; and of what nobody has claimed in time."""

import logging
from collections import Counter
from datetime import timedelta

from pylon_workflows.errors import StorageFullError, StoreError
from pylon_workflows.matcher import Matcher
from pylon_workflows.once_a_minute import OnceAMinute
from pylon_workflows.ports import Clock, Store
from pylon_workflows.published import Correlation, PublishedEvent, PublishReceipt

REMEMBERED_FOR = timedelta(days=7)
"""How long the id of an event is known at least."""

_log = logging.getLogger(__name__)

_PAUSE_S = 60.0
_BATCH = 200


class Publishing:
    """Accepts events, which `matcher` then hears of; drops those that are kept longer than `keep_for`, in `run`.

    At most `most` events of one correlation are kept. `unclaimed` counts those dropped since the engine began.
    """

    def __init__(self, store: Store, matcher: Matcher, clock: Clock, *, keep_for: timedelta, most: int) -> None:
        self._store = store
        self._matcher = matcher
        self._clock = clock
        self._keep_for = keep_for
        self._most = most
        self._others = OnceAMinute(clock.monotonic)
        self.unclaimed = 0

    async def accept(self, published: PublishedEvent, *, is_remembered: bool) -> PublishReceipt:
        """Store an event; one that is not remembered has an id that nobody can send again.

        Raises:
            KeptEventsFullError; StoreError.
        """
        keep_until = published.received_at + self._keep_for
        remember_until = published.received_at
        if is_remembered:
            remember_until = max(keep_until, published.received_at + REMEMBERED_FOR)
        try:
            acceptance = await self._store.published.accept(
                published, keep_until=keep_until, remember_until=remember_until, most=self._most
            )
        except StoreError as error:
            if not isinstance(error, StorageFullError):  # which says that nothing was changed
                self._matcher.doubt(published.correlation)
            raise
        if acceptance.key is not None:
            fresh = None if acceptance.is_duplicate else published  # what is kept may say something else
            self._matcher.published(acceptance.key, published.correlation, fresh)
        if acceptance.first is not None:
            self._tell_of_another(published, acceptance.first)
        return PublishReceipt(is_duplicate=acceptance.is_duplicate)

    def _tell_of_another(self, published: PublishedEvent, first: Correlation) -> None:
        """Whoever gives one id to several events loses all but the first, and is answered as if nothing were wrong."""
        others = self._others.turn()
        if others is not None:
            _log.warning(
                "source %r: the id of an event %r came again with another %s: dropped as its repeat; an id must differ "
                "for each event%s",
                published.source,
                first.event,
                "name" if first.event != published.correlation.event else "correlation key",
                others,
            )

    async def run(self) -> None:
        """Drop what nobody claimed, and forget what need not be remembered, once a minute, for ever."""
        while True:
            try:
                while await self.sweep() == _BATCH:
                    await self._clock.sleep(0)
            except StoreError as error:
                _log.warning("published events that are over could not be deleted: %s", error)
            await self._clock.sleep(_PAUSE_S)

    async def sweep(self) -> int:
        """One batch of each; how many the larger one had. What a wait claimed in time is not dropped."""
        now = self._clock.now()
        await self._matcher.catch_up()
        expired = await self._store.published.expire(now=now, limit=_BATCH)
        if expired:
            self.unclaimed += len(expired)
            names = ", ".join(f"{count} {event!r}" for event, count in sorted(Counter(expired).items())[:10])
            _log.warning(
                "%d published events were claimed by nobody within %s: %s", len(expired), self._keep_for, names
            )
        return max(len(expired), await self._store.published.forget(now=now, limit=_BATCH))
