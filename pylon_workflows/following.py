"""What is new, for callers that wait for it: of one instance, or of all."""

from typing import Protocol

from pylon_workflows.histories import Histories, history_page
from pylon_workflows.ports import MAX_HISTORY_PAGE, ChangeLog, ChangePage, HistoryPage
from pylon_workflows.updates import Updates


class Source(Histories, Protocol):
    """Where instances are kept."""

    @property
    def change_log(self) -> ChangeLog:
        """See `Store.change_log`."""
        ...


class Following:
    """Reads from a source what is new, whenever `updates` hears of something."""

    def __init__(self, source: Source, updates: Updates) -> None:
        self._source = source
        self._updates = updates

    async def next_history(self, instance_id: str, *, after: int, timeout_s: float) -> HistoryPage:
        """See `ports.Engine.next_history`."""

        async def read() -> HistoryPage:
            return await history_page(self._source, instance_id, after, MAX_HISTORY_PAGE)

        return await self._updates.next(
            instance_id, read, lambda page: bool(page.transitions) or page.revision < after, timeout_s
        )

    async def next_changes(self, *, after: int | None, timeout_s: float) -> ChangePage:
        """See `ports.Engine.next_changes`."""
        log = self._source.change_log
        if after is None:
            return ChangePage(after=await log.last(), instances=(), is_complete=True)
        start = after

        async def read() -> ChangePage:
            return await log.since(start)

        return await self._updates.next(None, read, lambda page: page.after != start, timeout_s)
