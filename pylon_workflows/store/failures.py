"""What an error of SQLite means, told by its `sqlite_errorname`."""

import sqlite3

from pylon_workflows.errors import (
    CorruptDatabaseError,
    OwnershipLostError,
    StorageFailedError,
    StorageFullError,
    StoreError,
    WorkflowError,
)
from pylon_workflows.store.disk import is_for_want_of_room


def error_name(error: BaseException | None) -> str:
    """SQLite's own name for the error or for its cause, such as SQLITE_FULL; empty where neither is SQLite's."""
    return getattr(error, "sqlite_errorname", None) or (error_name(error.__cause__) if error is not None else "")


def is_corruption(error: BaseException) -> bool:
    """Whether the file is damaged, or is no database."""
    return error_name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def is_full(error: BaseException) -> bool:
    """Whether the disk is full. A file opened on a full disk fails to make its shared memory."""
    if isinstance(error, OSError):
        return is_for_want_of_room(error)
    return isinstance(error, StorageFullError) or error_name(error) in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")


def is_io_error(error: BaseException) -> bool:
    """Whether the disk failed, so that a commit is uncertain and the connection is to be opened anew."""
    return error_name(error).startswith("SQLITE_IOERR")


def is_final(error: BaseException) -> bool:
    """Whether nothing may be written any more before somebody has looked at it."""
    is_lost = isinstance(error, OwnershipLostError | StorageFailedError)
    return is_lost or is_corruption(error) or error_name(error).startswith("SQLITE_READONLY")


def concerns_the_file(error: BaseException) -> bool:
    """Whether every other write would fail alike: the disk, the file or memory, not the item that was written."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | MemoryError) or is_corruption(error)


def translate(error: BaseException, what: str = "the database") -> WorkflowError:
    """The error that callers get; `what` is named in it. An error of ours stays what it is."""
    if isinstance(error, WorkflowError):
        return type(error)(*error.args)
    name = error_name(error)
    failure: StoreError
    if is_full(error):
        failure = StorageFullError(f"{what} cannot be written: the disk is full")
    elif is_corruption(error):
        failure = CorruptDatabaseError(f"{what} is damaged ({error}): restore a backup")
    elif isinstance(error, UnicodeEncodeError):  # a text of a row that is no Unicode was looked for, or compared
        failure = CorruptDatabaseError(f"{what} holds a text that is no Unicode: {error.reason}")
    elif name.startswith("SQLITE_READONLY"):
        failure = StorageFailedError(
            f"{what} may only be read ({name}): make it writable for this user, and its folder too; then start again"
        )
    else:
        failure = StoreError(f"{what} cannot be used: {error}" + (f" ({name})" if name else ""))
    failure.__cause__ = error
    return failure
