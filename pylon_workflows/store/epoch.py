"""Whose file it is, as the file itself says: an owner that was replaced cannot commit (PROMISES.md P21).

Each opening for writing raises `owner.epoch`. Every transaction reads it before its COMMIT, when no other can raise it
any more. What is read with it tells one committed state from the next, without a write of its own: the last row of the
history, and a count for the transactions that add none.
"""

import os
import socket
import sqlite3
from datetime import UTC, datetime
from typing import NamedTuple

from pylon_workflows.errors import OwnershipLostError
from pylon_workflows.store.codec import to_microseconds

_TAKE = """
INSERT INTO owner (only, epoch, batch, pid, host, since) VALUES (1, 1, 0, ?, ?, ?)
ON CONFLICT (only) DO UPDATE SET epoch = epoch + 1, pid = excluded.pid, host = excluded.host, since = excluded.since
RETURNING epoch
"""
_LOOK = "SELECT epoch, batch, (SELECT max(rowid) FROM history) FROM owner WHERE only = 1"


class Mark(NamedTuple):
    """What of the file every transaction changes."""

    batch: int
    last_row: int | None


class Epoch:
    """One owner's hold on the file: a `Fence`."""

    def __init__(self) -> None:
        self._number: int | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the file has been taken, and is only opened again from now on."""
        return self._number is not None

    def take(self, connection: sqlite3.Connection) -> None:
        """See `Fence`."""
        since = to_microseconds(datetime.now(UTC))
        ((self._number,),) = connection.execute(_TAKE, (os.getpid(), socket.gethostname(), since)).fetchall()

    def mark(self, connection: sqlite3.Connection) -> Mark:
        """See `Fence`."""
        found = connection.execute(_LOOK).fetchone()
        if found is None or found[0] != self._number:
            raise OwnershipLostError(
                "another engine has taken the file over: this one has lost it, and writes no more before it is started "
                "again"
            )
        return Mark(*found[1:])

    def seal(self, connection: sqlite3.Connection, committed: Mark) -> Mark:
        """See `Fence`."""
        mark = self.mark(connection)
        if mark != committed:
            return mark
        connection.execute("UPDATE owner SET batch = batch + 1 WHERE only = 1")
        return mark._replace(batch=mark.batch + 1)
