"""The lock that gives a database file one owner, and whether it still has it (PROMISES.md P21, P23).

An advisory `flock` on `<real path>.lock`, which the system lets go of when the process ends, however it ends. POSIX
record locks would vanish with any other open and close of the file in the process. The lock file stays: deleting it
would let two processes lock two files of one name.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pylon_workflows.errors import (
    DatabaseInUseError,
    InvalidInputError,
    OwnershipLostError,
    StorageFullError,
    StoreError,
)
from pylon_workflows.ownership import file_systems
from pylon_workflows.ownership.file_identity import Identity, identity_of, is_open_here, real_path_of
from pylon_workflows.ownership.lock_file import lock_path, read_owner, write_owner

if sys.platform != "win32":
    import fcntl
    import pwd

_ATTEMPTS = 10
_held: "set[FileGuard]" = set()


class FileGuard:
    """Who owns the database at `path`: at most one guard on the machine, in this process or another, holds it.

    `file_system_of` tells the type of the file system that a path is on; it is for tests.

    Raises:
        InvalidInputError: no path of a file, such as `:memory:` or a URI.
    """

    def __init__(
        self, path: str | Path, *, file_system_of: Callable[[Path], str | None] = file_systems.type_at
    ) -> None:
        self._path = _checked(Path(path)).absolute()
        self._file_system_of = file_system_of
        self._real = self._path
        self._descriptor: int | None = None
        self._database: Identity | None = None
        self._log: Identity | None = None
        self._misses_log = False
        self._suitable: tuple[Path, Identity | None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this guard owns the file, as far as it knows; `check` looks."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Become the owner, and say so in the lock file; when one is it already, nothing happens.

        Raises:
            DatabaseInUseError: somebody has it; the message names the process, its host and since when.
            StoreError: the file is on a network file system, has two names, is mounted without its folder, or is none;
            the lock file cannot be made; the system has no such lock (Windows). StorageFullError: the disk is.
        """
        if sys.platform == "win32":
            raise StoreError("the engine does not run on Windows, which has no flock: use WSL, or a Linux machine")
        if self._descriptor is not None:
            return
        self._real = self._path.resolve()
        self._refuse_unsuitable()
        lock = lock_path(self._real)
        try:
            self._descriptor = _locked(lock, self._path)
        except OSError as error:
            raise _refusal(lock, error) from error
        self._database = identity_of(self._real)
        self._log, self._misses_log = None, False
        _let_go_in_children()
        _held.add(self)

    def _refuse_unsuitable(self) -> None:
        found = self._real, identity_of(self._real) if self._real.exists() else None
        if found != self._suitable:  # asked once: who stands by acquires again and again
            self._refuse_mount()
            self._suitable = found
        if self._real.exists() and not self._real.is_file():
            raise StoreError(f"{self._path} is no file: name one, such as {self._path / 'workflows.db'}")
        if self._real.exists() and self._real.stat().st_nlink > 1:
            raise StoreError(
                f"{self._path} has a second name (a hard link), by which another program could open it unnoticed: "
                "remove that name, or copy the file"
            )

    def _refuse_mount(self) -> None:
        if file_systems.is_shared(kind := self._file_system_of(self._real)):
            raise StoreError(
                f"{self._path} is on a network file system ({kind}), where locks and shared memory do not keep two "
                "machines apart: put the database on a disk of this machine"
            )
        if self._real.is_file() and file_systems.is_mounted_alone(self._real):
            raise StoreError(
                f"{self._path} is mounted by itself, without its folder: its lock and its log would lie where nobody "
                "finds them who has the file by another name, and be lost with a container: mount its folder"
            )

    def check(self) -> None:
        """Look whether the file is still this owner's, which is to be asked once a second while the engine runs.

        To be called once after the database has been opened: later calls compare with what was there then. A log
        (`-wal`) must be missing twice, or twice be one that this process does not have open, because the writer may be
        opening the file anew.

        Raises:
            OwnershipLostError: the lock file, the database or its log was removed or replaced, so that what is
            committed from now on may go to a file that has no name; or the name that was given leads elsewhere.
        """
        if self._descriptor is None:
            raise OwnershipLostError(f"{self._path} is no longer owned by this engine")
        database = identity_of(self._real)
        if self._database is None:
            self._database = database
        if database is None or database != self._database:
            raise OwnershipLostError(self._lost(self._real, "what was committed since is not in the file of that name"))
        lock = lock_path(self._real)
        if identity_of(lock) != identity_of(self._descriptor):  # after the file: without its lock alone one stands by
            raise OwnershipLostError(
                f"{lock} {_fate(lock)} while the engine ran (another engine may own the database now), so this one "
                "drives it no longer"
            )
        self._check_name()
        log = Path(f"{self._real}-wal")
        found, was_missing = identity_of(log), self._misses_log
        self._misses_log = self._log not in (None, found) and not (found is not None and is_open_here(found))
        if not self._misses_log:
            self._log = found or self._log
        elif was_missing:
            raise OwnershipLostError(self._lost(log, "it is a part of the database and not to be touched"))

    def _check_name(self) -> None:
        real = real_path_of(self._path)
        if real != self._real:
            where = "nowhere" if real is None else f"to {real}"
            so_what = f"it leads {where} now, and what was committed is in {self._real}"
            raise OwnershipLostError(self._lost(self._path, so_what, "was pointed elsewhere"))

    def _lost(self, file: Path, so_what: str, what: str | None = None) -> str:
        what = what or _fate(file)
        return f"{file} {what} while the engine ran ({so_what}), so the engine has stopped: put it right, then restart"

    def release(self) -> None:
        """Stop being the owner; again is no error."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            os.close(descriptor)


def _fate(file: Path) -> str:
    return "was replaced" if file.exists() else "was removed"


def _checked(path: Path) -> Path:
    name = str(path)
    if name == ":memory:":
        raise InvalidInputError(
            "database: :memory: keeps nothing; name a file, or in a test use pylon_workflows.testing.engine_in_memory"
        )
    if name.startswith("file:"):
        raise InvalidInputError(f"database: {name!r} is a URI; give the file's path")
    if not path.name or "\0" in name:
        raise InvalidInputError(f"database: {name!r} names no file")
    return path


def _locked(lock: Path, database: Path) -> int:
    """A descriptor that holds the lock, on the file that is at `lock` now."""
    for _ in range(_ATTEMPTS):
        # What a link leads to would be written over, such as the database itself.
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if identity_of(lock) == identity_of(descriptor):
                write_owner(descriptor)
                return descriptor
        except BlockingIOError:
            owner = read_owner(descriptor)
            os.close(descriptor)
            told = "another process" if owner is None else str(owner)
            raise DatabaseInUseError(f"{database} is in use by {told}: stop it, or talk to it over HTTP") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody removed or replaced the lock file while we locked it
    raise StoreError(f"{lock} keeps being replaced by another program")


def _refusal(lock: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError(f"{lock} cannot be written: the disk is full")
    return StoreError(f"{lock} cannot be locked: {error.strerror}{_remedy(lock, error)}")


def _remedy(lock: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return ": make the folder, or name another file"
    if isinstance(error, PermissionError) and (whose := _owner_of(lock)):
        return f": it belongs to {whose}: give it and the database to the user who runs the engine (chown, chmod)"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return ": this user must be able to make files in the folder of the database"
    return ""


def _owner_of(file: Path) -> str:
    """The user whose file that is, and what he lets others do; empty where there is none or that cannot be seen."""
    try:
        found = file.lstat()
    except OSError:
        return ""
    try:
        user = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        user = f"user {found.st_uid}"
    return f"{user}, mode {stat.S_IMODE(found.st_mode):o}"


def _release_in_child() -> None:
    for guard in list(_held):
        guard.release()


@cache
def _let_go_in_children() -> None:
    """A forked child shares the lock: it must let go of its copy, or the lock would outlive its owner."""
    os.register_at_fork(after_in_child=_release_in_child)
