"""What an error of SQLite means, told by its `sqlite_errorname`."""

import sqlite3

from pylon_workflows.errors import CorruptDatabaseError, StorageFullError, StoreError, WorkflowError


def error_name(error: BaseException) -> str:
    """SQLite's own name for the error, such as SQLITE_FULL; empty for an error that is not SQLite's."""
    return getattr(error, "sqlite_errorname", None) or ""


def is_corruption(error: BaseException) -> bool:
    """Whether the file is damaged, or is no database."""
    return error_name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def is_io_error(error: BaseException) -> bool:
    """Whether the connection is to be opened anew."""
    return error_name(error).startswith("SQLITE_IOERR")


def concerns_the_file(error: BaseException) -> bool:
    """Whether every other write would fail alike: the disk, the file or memory, not the item that was written."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | MemoryError) or is_corruption(error)


def translate(error: BaseException, what: str = "the database") -> WorkflowError:
    """The error that callers get; `what` is named in it. An error of ours stays what it is."""
    if isinstance(error, WorkflowError):
        return type(error)(*error.args)
    name = error_name(error)
    failure: StoreError
    if name in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"):
        failure = StorageFullError(f"{what} cannot be written: the disk is full")
    elif is_corruption(error):
        failure = CorruptDatabaseError(f"{what} is damaged ({error}): restore a backup")
    else:
        failure = StoreError(f"{what} cannot be used: {error}" + (f" ({name})" if name else ""))
    failure.__cause__ = error
    return failure
