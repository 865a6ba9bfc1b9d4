"""Moves what was committed from the write-ahead log into the file, so that the log stays short."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

PAGES_TO_EMPTY = 16_384
"""A log this long (64 MiB) is not only copied but emptied, for which the writer waits for readers, a moment."""

READERS_MS = 100

_log = logging.getLogger("pylon_workflows.store")


class Checkpoints:
    """Failing loses nothing: it is tried again. What goes wrong is told when it begins, and when it is over."""

    def __init__(self) -> None:
        self._is_troubled = False

    def run(self, connection: sqlite3.Connection) -> None:
        """Copy what no reader holds back; empty a log that has become long."""
        in_wal = self._try(connection, "PASSIVE")
        if in_wal is None:
            return
        if in_wal < PAGES_TO_EMPTY or self._is_emptied(connection):
            self._is_well()

    def finish(self, connection: sqlite3.Connection) -> None:
        """Copy everything and empty the log, at the end of the work."""
        self._try(connection, "TRUNCATE")

    def _try(self, connection: sqlite3.Connection, mode: str) -> int | None:
        """How many pages are in the log, or None when it failed."""
        try:
            is_busy, in_wal, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            self._is_ill(f"checkpoint ({mode}) failed: {error}")
            return None
        _log.debug("checkpoint (%s): %d of %d pages, busy %d", mode, moved, in_wal, is_busy)
        if is_busy:
            self._is_ill(
                f"checkpoint ({mode}): the write-ahead log of {in_wal} pages cannot be emptied while a program, such "
                "as a backup, goes on reading what was there before; until it ends, the log grows"
            )
            return None
        return int(in_wal)

    def _is_emptied(self, connection: sqlite3.Connection) -> bool:
        with _patience(connection, READERS_MS):
            return self._try(connection, "TRUNCATE") is not None

    def _is_ill(self, trouble: str) -> None:
        _log.log(logging.DEBUG if self._is_troubled else logging.WARNING, "%s", trouble)
        self._is_troubled = True

    def _is_well(self) -> None:
        if self._is_troubled:
            _log.info("the write-ahead log can be copied into the file again")
        self._is_troubled = False


@contextmanager
def _patience(connection: sqlite3.Connection, longest_ms: int) -> Iterator[None]:
    (usual_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {min(longest_ms, usual_ms)}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {usual_ms}")
