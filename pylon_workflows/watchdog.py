"""Looks for instances that nothing would ever wake: that are in flight, due, waiting and blocked in no way (P8).

There should be none. What an index finds is asked for at each look; the rest of the table is walked a piece at a time.
One that has no reason twice in a row, unchanged, is told of, once, and looked at anew as after a restart, which mends
what memory has lost.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice

from pylon_workflows.core.instance import Status
from pylon_workflows.dispatcher import Dispatcher
from pylon_workflows.errors import CorruptDatabaseError, StoreError, UnknownInstanceError
from pylon_workflows.ports import Clock, InstanceSummary, Store

_log = logging.getLogger(__name__)

PAUSE_S = 10.0
_PIECES = 4
_ROWS_AT_A_TIME = 5_000
"""About ten milliseconds of a connection that only reads; at four pieces a look a million rows take eight minutes."""
_IDS_AT_A_TIME = 1_000
_OVERDUE = timedelta(seconds=60)
"""What is due is woken within a second (P16)."""


class Watchdog:
    """Call `run`; `unexplained` are the instances that had no reason when they were last looked at.

    `is_put_off` tells of what is due whether it is tried again later, `is_settling` of a finished instance whether its
    family is being told. `reconsider` reads an instance again and tells everybody of it. Without a dispatcher whatever
    is runnable waits for answers from outside.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        dispatcher: Dispatcher | None,
        *,
        is_put_off: Callable[[str], bool],
        is_settling: Callable[[str], bool],
        reconsider: Callable[[str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._dispatcher = dispatcher
        self._is_put_off = is_put_off
        self._is_settling = is_settling
        self._reconsider = reconsider
        self._suspects: dict[str, int] = {}
        self._row = 0
        self._names: list[str] = []
        self._runnable_after: str | None = None
        self.unexplained: dict[str, str] = {}

    async def run(self) -> None:
        """Look every ten seconds, for ever."""
        self._suspects, self.unexplained = {}, {}
        while True:
            await self._clock.sleep(PAUSE_S)
            try:
                await self.look()
            except StoreError as error:
                _log.debug("the watchdog could not look: %s", error)  # whoever writes or wakes has told of it

    async def look(self) -> None:
        """Look once: again at what was found before, and at the next piece of everything."""
        former, self._suspects = self._suspects, {}
        found = dict.fromkeys([*self.unexplained, *former, *await self._candidates()])
        for instance_id in islice(found, _IDS_AT_A_TIME):
            summary = await self._store.summary(instance_id)
            why = None if summary is None else await self._trouble(summary)
            if summary is None or why is None:
                if self.unexplained.pop(instance_id, None) is not None:
                    _log.info("%s: has a reason again, or is gone", instance_id)
                continue
            self._suspects[instance_id] = summary.revision
            if former.get(instance_id) == summary.revision:
                await self._tell(summary, why)

    async def _tell(self, row: InstanceSummary, why: str) -> None:
        if row.id not in self.unexplained:
            _log.error("%s: nothing would ever let it go on: %s; it is looked at anew", row.id, why)
        self.unexplained[row.id] = why
        child_id = row.waiting_for if row.status is Status.WAITING_FOR_CHILD else None
        for instance_id in (row.id, child_id):
            if instance_id is not None:
                with suppress(CorruptDatabaseError, UnknownInstanceError):  # parked, or gone
                    await self._reconsider(instance_id)

    async def _candidates(self) -> Sequence[str]:
        found = list(await self._store.due(now=self._clock.now() - _OVERDUE, limit=_IDS_AT_A_TIME))
        for _ in range(_PIECES):
            piece = await self._store.live_rows.without_reason(after=self._row, limit=_ROWS_AT_A_TIME)
            found += piece.ids
            self._row = piece.next or 0
            if piece.next is None:
                break
        return [*found, *await self._undriven()]

    async def _undriven(self) -> Sequence[str]:
        """Among the next of what is runnable in the store, what the dispatcher does not know of."""
        dispatcher = self._dispatcher
        if dispatcher is None:
            return ()
        if not self._names:
            self._names, self._runnable_after = list(await self._store.runnable_names()), None
        if not self._names:
            return ()
        name = self._names[-1]
        page = await self._store.runnable(name, after=self._runnable_after, limit=_IDS_AT_A_TIME)
        if len(page) < _IDS_AT_A_TIME:
            self._names.pop()
            self._runnable_after = None
        else:
            self._runnable_after = page[-1]
        return [instance_id for instance_id in page if dispatcher.place_of(instance_id, name) == "nowhere"]

    async def _trouble(self, row: InstanceSummary) -> str | None:  # noqa: PLR0911 -- a case a reason
        """Why it would never go on; None for an instance that has a reason to be where it is."""
        if row.completed_at is not None or (row.status is Status.BLOCKED and row.blocked_reason is not None):
            return None
        if row.due_at is not None:
            is_late = row.due_at < self._clock.now() - _OVERDUE and not self._is_put_off(row.id)
            return f"it was due at {row.due_at}, and nobody has woken it" if is_late else None
        match row.status:
            case Status.WAITING_FOR_EVENT | Status.AWAITING_APPROVAL if row.waiting_for is not None:
                return None
            case Status.WAITING_FOR_CHILD if row.waiting_for is not None:
                return await self._trouble_with_child(row.waiting_for)
            case Status.PENDING | Status.RUNNING:
                dispatcher = self._dispatcher
                if dispatcher is None or dispatcher.place_of(row.id, row.name) != "nowhere":
                    return None
                return "it could go on, and nobody drives it"
        return f"it is {row.status}, and does not say what it waits for"

    async def _trouble_with_child(self, child_id: str) -> str | None:
        child = await self._store.summary(child_id)
        if child is None:
            return f"it waits for its child {child_id}, which is not there"
        if child.completed_at is None or self._is_settling(child_id):
            return None
        return f"it waits for its child {child_id}, which has finished"
