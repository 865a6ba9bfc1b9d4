"""The file beside a database on which its owner holds the lock, and in which it says who it is."""

import json
import os
import socket
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds the lock, or held it last; `since` is when it took it."""

    pid: int
    host: str
    since: datetime

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since.isoformat(timespec='seconds')}"


def lock_path(database: Path) -> Path:
    """The lock file of the database with this real path."""
    return Path(f"{database}.lock")


def write_owner(descriptor: int) -> None:
    """Say that this process is the owner from now on."""
    facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(facts).encode(), 0)


def read_owner(descriptor: int) -> Owner | None:
    """What the owner wrote; None while it has not."""
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        since = datetime.fromisoformat(facts["since"])
        return Owner(pid=int(facts["pid"]), host=str(facts["host"]), since=since)
    except (ValueError, TypeError, KeyError, RecursionError, OSError):
        return None


def look(database: Path) -> tuple[bool, Owner | None]:
    """Whether somebody holds the lock of the database with this real path, and who holds it or held it last.

    Changes nothing. For the blink of this call nobody can take the lock, which then looks as if it were held.

    Raises:
        OSError: the lock file cannot be read.
    """
    try:
        descriptor = os.open(lock_path(database), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False, None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True, read_owner(descriptor)
        return False, read_owner(descriptor)
    finally:
        os.close(descriptor)
