"""The lock that gives a database file one owner (PROMISES.md P21).

An advisory `flock` on `<real path>.lock`, which the system lets go of when the process ends, however it ends. POSIX
record locks would vanish with any other open and close of the file in the process. The lock file stays: deleting it
would let two processes lock two files of one name.
"""

import json
import os
import socket
import sys
import weakref
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pylon_workflows.errors import DatabaseInUseError, StoreError

if sys.platform != "win32":
    import fcntl

_ATTEMPTS = 10
_held: "weakref.WeakSet[FileGuard]" = weakref.WeakSet()


class FileGuard:
    """Who owns the database at `path`: at most one guard on the machine, in this process or another, holds it."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this guard owns the file."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Become the owner, and say so in the lock file.

        Raises:
            DatabaseInUseError: another has it; the message names its process, host and since when.
            StoreError: the lock file cannot be made, or the system has no such lock (Windows).
        """
        if sys.platform == "win32":
            raise StoreError("the engine does not run on Windows, which has no flock: use WSL, or a Linux machine")
        if self._descriptor is not None:
            return
        lock = Path(f"{self._path.resolve()}.lock")
        try:
            self._descriptor = _locked(lock, self._path)
        except OSError as error:
            raise StoreError(f"{lock} cannot be locked: {error.strerror}") from error
        _let_go_in_children()
        _held.add(self)

    def release(self) -> None:
        """Stop being the owner; again is no error."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            os.close(descriptor)


def _locked(lock: Path, database: Path) -> int:
    """A descriptor that holds the lock, on the file that is at `lock` now."""
    for _ in range(_ATTEMPTS):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(lock, descriptor):
                _write_owner(descriptor)
                return descriptor
        except BlockingIOError:
            message = f"{database} is in use by {_owner(descriptor)}: stop it, or talk to it over HTTP"
            os.close(descriptor)
            raise DatabaseInUseError(message) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody removed or replaced the lock file while we locked it
    raise StoreError(f"{lock} keeps being replaced by another program")


def _is_at(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_owner(descriptor: int) -> None:
    facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(facts).encode(), 0)


def _owner(descriptor: int) -> str:
    """The owner in words, as far as the lock file tells: it may be read before its owner has written it."""
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
    except (ValueError, TypeError, KeyError, OSError):
        return "another process"


def _release_in_child() -> None:
    for guard in list(_held):
        guard.release()


@cache
def _let_go_in_children() -> None:
    """A forked child shares the lock: it must let go of its copy, or the lock would outlive its owner."""
    os.register_at_fork(after_in_child=_release_in_child)
