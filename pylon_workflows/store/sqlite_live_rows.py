"""The rows of unfinished instances of the store in a file."""

# ruff: noqa: S608  only fixed terms are put into statements; values are always parameters

from pylon_workflows.core.instance import Status
from pylon_workflows.ports import Piece
from pylon_workflows.store import reads

_STATUSES = ", ".join(f"'{status.value}'" for status in Status)
_END = "SELECT max(key) FROM (SELECT key FROM instances WHERE key > ? ORDER BY key LIMIT ?)"
_WITHOUT_REASON = f"""
SELECT id FROM instances WHERE key > ? AND key <= ? AND completed_at IS NULL AND (
    status NOT IN ({_STATUSES})
    OR (status = 'blocked' AND blocked_reason IS NULL)
    OR (status = 'sleeping' AND due_at IS NULL)
    OR (status IN ('waiting_for_event', 'awaiting_approval', 'waiting_for_child') AND waiting_for IS NULL)
    OR (status = 'waiting_for_child' AND NOT EXISTS (
        SELECT 1 FROM instances AS child WHERE child.id = instances.waiting_for AND child.completed_at IS NULL
    ))
    OR status IN ('completed', 'failed', 'cancelled')
) ORDER BY key
"""


class SqliteLiveRows:
    """`LiveRows` over a reader of the file: a walk along the table, a piece at a time."""

    def __init__(self, reader: reads.Reader) -> None:
        self._reader = reader

    async def without_reason(self, *, after: int, limit: int) -> Piece:
        """See `LiveRows`."""
        ((end,),) = await self._reader.rows(_END, (after, limit))
        if end is None:
            return Piece((), None)
        return Piece(await self._reader.ids(_WITHOUT_REASON, (after, end)), end)
