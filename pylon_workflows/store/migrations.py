"""The file's schema: checked before anything is written, then created or brought up to date in one transaction."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from pylon_workflows.errors import CorruptDatabaseError, NewerDatabaseError, StoreError
from pylon_workflows.store.failures import translate
from pylon_workflows.store.file_copies import complete_copy, put_in_place, uri

APPLICATION_ID = 0x50594C57
"""`PYLW`: how the file says whose it is."""

OLDEST_SQLITE = (3, 35, 0)
_HEADER = b"SQLite format 3\x00"
_JOURNAL_HEADER = bytes.fromhex("d9d505f920a163d7")


def migrations() -> Sequence[str]:
    """The SQL that leads from each version to the next, in order."""
    folder = files("pylon_workflows.store") / "migrations"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [entry.read_text("utf-8") for entry in found]


def check(path: Path, scripts: Sequence[str]) -> int:
    """The version of the file, 0 for none or an empty one; nothing is written.

    Raises:
        NewerDatabaseError: written by a newer release.
        CorruptDatabaseError: no database, or damaged.
        StoreError: a database of another program, or a SQLite that is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: {needed} or later is needed")
    try:
        with path.open("rb") as file:
            header = file.read(100)
            size = file.seek(0, os.SEEK_END)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    if not header:
        return 0
    if _was_being_made(path, size):
        return 0
    if not header.startswith(_HEADER):
        raise CorruptDatabaseError(f"{path} is no SQLite database, or damaged: restore a backup, or name another file")
    has_log = Path(f"{path}-wal").exists()
    if not has_log and size < _size_by(header):
        raise CorruptDatabaseError(f"{path} is damaged (its end is missing): restore a backup")
    options = "mode=ro" if has_log else "mode=ro&immutable=1"  # the latter makes no files beside it
    try:
        with closing(sqlite3.connect(uri(path, options), uri=True, isolation_level=None)) as connection:
            return version_of(connection, path, scripts)
    except sqlite3.Error as error:
        raise translate(error, str(path)) from error


def version_of(connection: sqlite3.Connection, path: Path, scripts: Sequence[str]) -> int:
    """The version of a file that is open, 0 for an empty one.

    Raises:
        NewerDatabaseError: written by a newer release. StoreError: a database of another program. sqlite3.Error.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id != APPLICATION_ID:
        if objects or version or application_id:
            raise StoreError(f"{path} is the database of another program: name another file")
        return 0
    if version > len(scripts):
        raise NewerDatabaseError(
            f"{path} was written by a newer release (schema {version}, this release knows {len(scripts)}): "
            "upgrade pylon-workflows, or restore a backup made with this release"
        )
    return int(version)


def _was_being_made(path: Path, size: int) -> bool:
    """Whether the power went while SQLite wrote the file's first page.

    Then a journal beside it says that there was no page before, and SQLite empties the file when it opens it to write
    (https://www.sqlite.org/fileformat.html#the_rollback_journal).
    """
    try:
        with Path(f"{path}-journal").open("rb") as journal:
            head = journal.read(28)
    except OSError:
        return False
    pages_before, page_size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[24:28], "big")
    return head.startswith(_JOURNAL_HEADER) and pages_before == 0 and size <= page_size


def _size_by(header: bytes) -> int:
    """How many bytes the file has by its header, in a database that is not in use."""
    page_size, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    return (65536 if page_size == 1 else page_size) * pages


def migrate(connection: sqlite3.Connection, path: Path, version: int, scripts: Sequence[str]) -> None:
    """Lead the file from a version to the newest in one transaction; an older file is first copied beside itself.

    Raises:
        CorruptDatabaseError: the file is damaged, so that it is left alone. StoreError: it cannot be copied.
    """
    if version == len(scripts):
        return
    if version > 0:
        kept = Path(f"{path}.schema-{version}.bak")
        with complete_copy(connection, kept) as copy:
            put_in_place(copy, kept, is_replacing=True)
    try:
        connection.executescript(
            "\n".join(
                (
                    "BEGIN IMMEDIATE;",
                    *scripts[version:],
                    f"PRAGMA application_id = {APPLICATION_ID};",
                    f"PRAGMA user_version = {len(scripts)};",
                    "COMMIT;",
                )
            )
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
