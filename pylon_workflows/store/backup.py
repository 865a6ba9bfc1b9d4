"""Backups of a database file, which an engine may be writing, and their return (PROMISES.md P27)."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pylon_workflows.errors import CorruptDatabaseError, NewerDatabaseError, StoreError
from pylon_workflows.store.disk import sync
from pylon_workflows.store.failures import translate
from pylon_workflows.store.file_copies import complete_copy, put_in_place, uri
from pylon_workflows.store.migrations import check, migrations, version_of

_COMPANIONS = ("-wal", "-journal", "-shm")
"""What lies beside a database and belongs to it. Beside another one of the same name it would spoil that one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied; `kept` is where a file went that was in the way."""

    path: Path
    size_bytes: int
    instances: int
    kept: Path | None = None


def back_up(database: Path, to: Path, *, is_replacing: bool = False) -> Copied:
    """Copy a database, whether or not an engine has it open: one consistent file, checked and synced.

    It holds every change that was acknowledged before. `to` is not there before it is complete; one that is there
    already is only replaced when `is_replacing` says so.

    Raises:
        StoreError: `to` is there, is in use, or cannot be written; there is no such database. StorageFullError.
        NewerDatabaseError: written by a newer release. CorruptDatabaseError: it is damaged; nothing was written.
    """
    _check_is_there(database)
    if to.exists() and not is_replacing:
        raise StoreError(f"{to} is there already: name another file, or replace it with --force")
    if to.is_dir() or (to.exists() and to.samefile(database)):
        raise StoreError(f"{to} is {'a folder' if to.is_dir() else 'the database itself'}: name another file")
    own = [Path(f"{database.resolve()}{suffix}") for suffix in (*_COMPANIONS, ".lock", ".sock")]
    if to.parent.resolve() / to.name in own:
        raise StoreError(f"{to} belongs to the database, which would lose it: name another file")
    beside = _companion(to)
    if beside is not None:
        raise StoreError(f"{to} is in use, or was not closed cleanly: {beside} is there. Name another file")
    with _opened(database, "mode=ro") as source, complete_copy(source, to) as copy:
        copied = _facts(copy, to)
        copy.chmod(database.stat().st_mode & 0o777)
        put_in_place(copy, to, is_replacing=is_replacing)
    return copied


def restore(backup: Path, database: Path) -> Copied:
    """Put a copy of a backup in the place of a database that nobody has open: the caller holds its lock.

    The former file, if there is one, is kept beside it as `...before-restore-<time>`, with what it needs to be opened.
    Nothing is changed before the copy is whole.

    Raises:
        StoreError: there is no such backup; the database is another program's, or cannot be written. StorageFullError.
        NewerDatabaseError, CorruptDatabaseError: the backup is.
    """
    database = database.resolve()
    _check_is_there(backup)
    if database.exists() and database.samefile(backup):
        raise StoreError(f"{backup} is the database itself: name the backup first, then the database")
    with suppress(CorruptDatabaseError, NewerDatabaseError):  # reasons to restore
        check(database, migrations())
    options = "mode=ro" if Path(f"{backup}-wal").exists() else "mode=ro&immutable=1"  # it may be on a read-only medium
    with _opened(backup, options) as source, complete_copy(source, database) as copy:
        copied = _facts(copy, database)
        try:
            _take_after(copy, database if database.exists() else backup)
            if database.exists():
                _empty_log(database)
            kept = _put_aside(database)
            sync(database.parent)
        except OSError as error:
            raise StoreError(f"{database} cannot be replaced: {error.strerror or error}") from error
        put_in_place(copy, database, is_replacing=True)
    return Copied(path=database, size_bytes=copied.size_bytes, instances=copied.instances, kept=kept)


def _check_is_there(database: Path) -> None:
    if not database.is_file():
        raise StoreError(f"{database} is not there")


@contextmanager
def _opened(database: Path, options: str) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, to a database of ours."""
    try:
        with closing(sqlite3.connect(uri(database, options), uri=True, isolation_level=None)) as connection:
            if version_of(connection, database, migrations()) == 0:
                raise StoreError(f"{database} is empty: no engine has used it yet")
            yield connection
    except sqlite3.Error as error:
        raise translate(error, str(database)) from error


def _facts(copy: Path, to: Path) -> Copied:
    with closing(sqlite3.connect(uri(copy, "mode=ro&immutable=1"), uri=True)) as connection:
        (instances,) = connection.execute("SELECT count(*) FROM instances").fetchone()
    return Copied(path=to, size_bytes=copy.stat().st_size, instances=instances)


def _companion(database: Path) -> Path | None:
    beside = (Path(f"{database}{companion}") for companion in _COMPANIONS)
    return next((each for each in beside if each.exists()), None)


def _take_after(copy: Path, model: Path) -> None:
    """Let a file belong to whom the other belongs, as far as that is allowed."""
    status = model.stat()
    copy.chmod(status.st_mode & 0o777)
    with suppress(PermissionError):
        os.chown(copy, status.st_uid, status.st_gid)


def _empty_log(database: Path) -> None:
    """Move what a killed engine left in the log into the file, so that it can be replaced in one step.

    Not into a damaged one: that stays as it is (P26). It is looked at by a connection that cannot write, because one
    that can would move the log when it is closed.
    """
    with suppress(sqlite3.Error):
        with closing(sqlite3.connect(uri(database, "mode=ro"), uri=True)) as connection:
            is_sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        if is_sound:
            with closing(sqlite3.connect(uri(database, "mode=rw"), uri=True)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _put_aside(database: Path) -> Path | None:
    """Give the file, if there is one, a second name, and what belongs to it a new one.

    The name it had goes only when the copy gets it: an engine that is started in between finds a file of two names,
    which it refuses, and not none, which it would make anew.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (Path(f"{database}.before-restore-{stamp}{suffix}") for suffix in ("", *(f"-{n}" for n in range(2, 100))))
    name = next(name for name in names if not name.exists())
    is_kept = database.exists()
    if is_kept:
        try:
            os.link(database, name)
        except OSError:  # a file system without links
            database.rename(name)
    for companion in _COMPANIONS:
        beside = Path(f"{database}{companion}")
        if companion == "-shm":
            beside.unlink(missing_ok=True)  # SQLite makes it anew
        elif beside.exists():
            beside.rename(f"{name}{companion}")
    return name if is_kept else None
