"""The change log of the store in a file: the row numbers of its history, in which nothing is ever rewritten."""

# ruff: noqa: S608  only column names are put into statements; values are always parameters

from pylon_workflows.ports import ChangePage
from pylon_workflows.store import reads
from pylon_workflows.store.rows import SUMMARY_COLUMNS, summary_from

_ROWS_AT_A_TIME = 1_000

_LAST = "SELECT coalesce(max(rowid), 0) FROM history"
_END = """
SELECT coalesce(max(number), ?1), (SELECT coalesce(max(rowid), 0) FROM history)
FROM (SELECT rowid AS number FROM history WHERE rowid > ?1 ORDER BY rowid LIMIT ?2)
"""
_CHANGED = f"""
SELECT {SUMMARY_COLUMNS} FROM (
    SELECT instance, max(rowid) AS number FROM history WHERE rowid > ?1 AND rowid <= ?2 GROUP BY instance
) AS changed CROSS JOIN instances ON instances.key = changed.instance ORDER BY changed.number
"""


class SqliteChangeLog:
    """A `ChangeLog` over a reader of the file."""

    def __init__(self, reader: reads.Reader) -> None:
        self._reader = reader

    async def last(self) -> int:
        """See `ChangeLog`."""
        ((last,),) = await self._reader.rows(_LAST)
        return int(last)

    async def since(self, after: int) -> ChangePage:
        """See `ChangeLog`."""
        ((end, last),) = await self._reader.rows(_END, (after, _ROWS_AT_A_TIME))
        if after >= last:
            return ChangePage(after=last, instances=(), is_complete=True)
        rows = await self._reader.rows(_CHANGED, (after, end))
        return ChangePage(after=end, instances=[summary_from(row) for row in rows], is_complete=end == last)
