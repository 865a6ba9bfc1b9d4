"""A database under another name: whole, checked and on the disk before it has that name."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pylon_workflows.errors import CorruptDatabaseError, StorageFullError, StoreError
from pylon_workflows.store.disk import sync
from pylon_workflows.store.failures import is_corruption, is_full, translate

_PAGES_A_STEP = 1_000


def uri(path: Path, options: str) -> str:
    """The name by which SQLite opens the file, with options such as `mode=ro`."""
    return f"{path.absolute().as_uri()}?{options}"


@contextmanager
def complete_copy(source: sqlite3.Connection, to: Path) -> Iterator[Path]:
    """A copy of what `source` sees now, its log included, beside `to`: checked, synced, to be renamed by the caller.

    It is one state of the database, whatever is committed meanwhile; writers are not held up. What has not been renamed
    at the end is removed.

    Raises:
        CorruptDatabaseError: the source is damaged. StorageFullError, StoreError: the copy cannot be written.
    """
    with _told(to):
        descriptor, name = tempfile.mkstemp(prefix=f".{to.name}.", suffix=".partial", dir=to.parent)
        os.close(descriptor)
    copy = Path(name)
    try:
        with _told(to):
            _fill(copy, source)
            _check(copy)
            sync(copy)
        yield copy
    finally:
        with suppress(OSError):
            copy.unlink(missing_ok=True)


def put_in_place(copy: Path, to: Path, *, is_replacing: bool) -> None:
    """Give a copy its name, durably. Raises StoreError where there is such a file and it is not to be replaced."""
    with _told(to):
        if is_replacing:
            copy.replace(to)
        else:
            try:
                os.link(copy, to)
            except FileExistsError:
                raise
            except OSError:  # a file system without links
                if to.exists():
                    raise FileExistsError(f"{to} is there already") from None
                copy.rename(to)
            copy.unlink(missing_ok=True)
        sync(to.parent)


def _fill(copy: Path, source: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(copy, isolation_level=None)) as target:
        target.execute("PRAGMA journal_mode = OFF")  # what is not whole is thrown away
        target.execute("PRAGMA synchronous = OFF")  # and what is whole is synced at the end
        source.execute("BEGIN")
        try:
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it sees this state alone
            source.backup(target, pages=_PAGES_A_STEP)
        finally:
            source.execute("ROLLBACK")


def _check(copy: Path) -> None:
    with closing(sqlite3.connect(uri(copy, "mode=ro&immutable=1"), uri=True)) as connection:
        faults = [fault for (fault,) in connection.execute("PRAGMA quick_check(3)")]
    if faults != ["ok"]:
        raise CorruptDatabaseError(f"the database is damaged ({'; '.join(faults)}): restore a backup")


@contextmanager
def _told(to: Path) -> Iterator[None]:
    """Errors of SQLite and the system as ours."""
    try:
        yield
    except FileExistsError as error:
        raise StoreError(f"{to} is there already") from error
    except OSError as error:
        raise (StorageFullError if is_full(error) else StoreError)(
            f"{to} cannot be written: {error.strerror or error}"
        ) from error
    except sqlite3.Error as error:
        raise translate(error, "the database" if is_corruption(error) else str(to)) from error
