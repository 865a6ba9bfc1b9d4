"""The write-ahead log as a file, to make sure that what SQLite reads from it is on the disk."""

import os
import sqlite3

from pylon_workflows.store.disk import is_for_want_of_room

_CHUNK = 1024 * 1024


def write_again(connection: sqlite3.Connection) -> None:
    """Write the log over itself, byte for byte, and sync it; nobody may be writing to it.

    When a sync has failed, the system may take what it could not write for written: it still shows it, and a later
    sync succeeds without it (https://lwn.net/Articles/752063/). SQLite cannot know, and commits go behind a gap that a
    power cut would lay open. What is written again is synced again. It needs no pause of the readers, and SQLite has no
    locks on this file that closing it could drop.

    Raises:
        sqlite3.OperationalError: with SQLite's name for the trouble, which is then judged as an error of SQLite's.
    """
    database = connection.execute("PRAGMA database_list").fetchone()[2]
    try:
        log = os.open(f"{database}-wal", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _in_words_of_sqlite(error) from error
    try:
        offset = 0
        while chunk := os.pread(log, _CHUNK, offset):
            offset += os.pwrite(log, chunk, offset)
        os.fsync(log)
    except OSError as error:
        raise _in_words_of_sqlite(error) from error
    finally:
        os.close(log)


def _in_words_of_sqlite(error: OSError) -> sqlite3.OperationalError:
    trouble = sqlite3.OperationalError(f"the write-ahead log cannot be synced: {error.strerror}")
    trouble.sqlite_errorname = "SQLITE_FULL" if is_for_want_of_room(error) else "SQLITE_IOERR_FSYNC"
    return trouble
