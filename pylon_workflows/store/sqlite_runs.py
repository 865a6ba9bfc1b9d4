"""The earlier runs of instances in the store in a file."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from pylon_workflows.core.transitions import EarlierRunsDeleted, Transition
from pylon_workflows.ports import PARKED
from pylon_workflows.store import reads
from pylon_workflows.store.codec import Encoded, decode_rows, encode, to_microseconds
from pylon_workflows.store.group_commit import GroupCommit

_OVERDUE = f"""
SELECT id FROM instances WHERE key IN (SELECT instance FROM history WHERE type = 'RunContinued' AND at <= ?1)
AND NOT (status = 'blocked' AND substr(coalesce(blocked_reason, ''), 1, {len(PARKED)}) = '{PARKED}')
ORDER BY key LIMIT ?2
"""  # noqa: S608  a fixed term
_PAST = """
WITH begun AS (
    SELECT revision, row_number() OVER (ORDER BY revision) AS place, type = 'RunContinued' AND at <= ?2 AS is_due
    FROM history WHERE instance = (SELECT key FROM instances WHERE id = ?1)
)
SELECT revision, type, at, body, payload FROM history
WHERE instance = (SELECT key FROM instances WHERE id = ?1) AND revision <= coalesce(
    (SELECT max(revision) FROM begun WHERE is_due AND place <= ?3), (SELECT min(revision) FROM begun WHERE is_due), 0
) ORDER BY revision
"""
_REPLACE = """
UPDATE history SET type = ?, at = ?, body = ?, payload = ?
WHERE instance = (SELECT key FROM instances WHERE id = ?) AND revision = ? AND type = 'RunContinued'
"""
_DELETE = """
DELETE FROM history WHERE instance = (SELECT key FROM instances WHERE id = ?) AND revision > 1 AND revision < ?
"""


class PastRow(NamedTuple):
    """What is written in the place of deleted runs."""

    instance_id: str
    revision: int
    columns: Encoded


def delete_past_runs(connection: sqlite3.Connection, rows: Sequence[PastRow]) -> Sequence[bool]:
    """Replace and delete; for each row whether there was something to replace."""
    done = []
    for row in rows:
        place = (row.instance_id, row.revision)
        done.append(connection.execute(_REPLACE, (*row.columns, *place)).rowcount == 1)
        if done[-1]:
            connection.execute(_DELETE, place)
    return done


class SqliteRuns:
    """A `RunStore` over the writer and the readers of a `SqliteStore`."""

    def __init__(self, writer: Callable[[], GroupCommit], histories: reads.Reader, states: reads.Reader) -> None:
        self._writer = writer
        self._histories = histories
        self._states = states

    async def overdue(self, *, ended_by: datetime, limit: int) -> Sequence[str]:
        """See `RunStore`."""
        return await self._states.ids(_OVERDUE, (to_microseconds(ended_by), limit))

    async def past(self, instance_id: str, *, ended_by: datetime, limit: int) -> Sequence[Transition]:
        """See `RunStore`."""
        rows = await self._histories.rows(_PAST, (instance_id, to_microseconds(ended_by), limit))
        return list(decode_rows(instance_id, rows))

    async def delete_past(self, instance_id: str, deletion: EarlierRunsDeleted) -> bool:
        """See `RunStore`."""
        row = PastRow(instance_id, deletion.replaces, encode(deletion))
        was_there: bool = await self._writer().submit(delete_past_runs, row)
        return was_there
