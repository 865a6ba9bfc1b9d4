"""The rows of unfinished instances of the store in memory."""

from collections.abc import Callable

from pylon_workflows.core.instance import WAITING, Status
from pylon_workflows.ports import InstanceSummary, Piece


class MemoryLiveRows:
    """`LiveRows` of the instances that it is told of with `note`; `check_open` raises when the store is closed."""

    def __init__(self, summary_of: Callable[[str], InstanceSummary | None], check_open: Callable[[], None]) -> None:
        self._ids: list[str] = []
        self._summary_of = summary_of
        self._check_open = check_open

    def note(self, instance_id: str) -> None:
        """There is a new one."""
        self._ids.append(instance_id)

    async def without_reason(self, *, after: int, limit: int) -> Piece:
        """See `LiveRows`."""
        self._check_open()
        ids = self._ids[after : after + limit]
        if not ids:
            return Piece((), None)
        summaries = [found for instance_id in ids if (found := self._summary_of(instance_id)) is not None]
        return Piece([each.id for each in summaries if not self._has_reason(each)], after + len(ids))

    def _has_reason(self, row: InstanceSummary) -> bool:
        if row.completed_at is not None:
            return True
        if row.status is Status.BLOCKED:
            return row.blocked_reason is not None
        if row.status is Status.SLEEPING:
            return row.due_at is not None
        if row.status is Status.WAITING_FOR_CHILD:
            child = None if row.waiting_for is None else self._summary_of(row.waiting_for)
            return child is not None and child.completed_at is None
        return row.status not in WAITING or row.waiting_for is not None
