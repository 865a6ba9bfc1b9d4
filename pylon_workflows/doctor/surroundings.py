"""What is around a database file: who owns it, on which file system it is, who may touch it, how much room there is."""

import os
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from pylon_workflows.doctor.findings import Finding, Verdict, size_text
from pylon_workflows.ownership import file_systems, lock_file

if sys.platform != "win32":
    import pwd

_LEAST_SPACE = 64 * 1024 * 1024
_LONGEST_LOG = 128 * 1024 * 1024
_MENDED_IN = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""The releases of SQLite that lose no commits when a checkpoint on one connection meets a writer on another; see
https://www.sqlite.org/wal.html."""


def owner(path: Path) -> Finding:
    """Who holds the lock, and whether that process can be seen."""
    try:
        is_held, known = lock_file.look(path)
    except OSError as error:
        lock = lock_file.lock_path(path)
        return Finding(
            about="owner",
            text=f"cannot be told: {lock} cannot be read ({error.strerror})",
            advice="run doctor as the user who runs the engine",
            facts={"is_owned": None},
        )
    facts: dict[str, object] = {"is_owned": is_held}
    if known is not None:
        facts |= {"pid": known.pid, "host": known.host, "since": known.since.isoformat()}
    if not is_held:
        last = "" if known is None else f"; the last one was {known}"
        return Finding(about="owner", text=f"no engine runs on it{last}", facts=facts)
    if known is None:
        return Finding(about="owner", text="an engine that has not said who it is", facts=facts)
    facts["is_alive"] = is_alive = _is_alive(known)
    if is_alive:
        return Finding(about="owner", text=f"{known}, which is alive", facts=facts)
    return Finding(
        about="owner",
        text=f"{known}, which cannot be seen from here: it may run in a container",
        advice="if no such engine should run, look there; the lock itself goes with its process",
        facts=facts,
    )


def _is_alive(owner: lock_file.Owner) -> bool:
    if owner.host != socket.gethostname():
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sqlite(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> Finding:
    """The SQLite of this Python, and whether it has the WAL-reset fault."""
    name = ".".join(map(str, version))
    has_fault = has_wal_reset_fault(version)
    facts = {"version": name, "has_wal_reset_fault": has_fault}
    if not has_fault:
        return Finding(about="sqlite", text=f"version {name}, without the WAL-reset fault", facts=facts)
    return Finding(
        about="sqlite",
        text=f"version {name} has the WAL-reset fault, which 3.51.3, 3.50.7 and 3.44.6 have mended; it cannot bite "
        "here, because one connection alone writes and checkpoints",
        advice="write to the file with no other program while the engine runs",
        facts=facts,
    )


def has_wal_reset_fault(version: tuple[int, int, int]) -> bool:
    """Whether a checkpoint that meets a writer on another connection may lose commits in this SQLite."""
    return version < _MENDED_IN[-1] and not any(
        version[:2] == mended[:2] and version >= mended for mended in _MENDED_IN
    )


def file_system(path: Path, file_system_of: Callable[[Path], str | None]) -> Finding:
    """Whether the file may be there at all, and whether it outlives a restart."""
    kind, is_alone = file_system_of(path), file_systems.is_mounted_alone(path)
    facts = {"type": kind, "is_mounted_alone": is_alone}
    if file_systems.is_shared(kind):
        return Finding(
            about="file system",
            text=f"{kind}: a network file system, where locks do not keep two machines apart; the engine refuses it",
            advice="move the file to a disk of this machine, with its engine stopped",
            verdict=Verdict.NEEDS_ACTION,
            facts=facts,
        )
    if is_alone:
        return Finding(
            about="file system",
            text="the file is mounted by itself, without its folder, so that the lock and the log that an engine keeps "
            "beside its other name are not seen; the engine refuses it",
            advice="mount its folder; what is found here may be old",
            verdict=Verdict.NEEDS_ACTION,
            facts=facts,
        )
    if kind is None:
        return Finding(about="file system", text="cannot be told", facts=facts)
    if kind in file_systems.VOLATILE:
        return Finding(
            about="file system",
            text=f"{kind}: memory, not a disk; everything is gone after a reboot, and no sync helps",
            advice="move the file to a disk, unless it may be lost",
            verdict=Verdict.NEEDS_ACTION,
            facts=facts,
        )
    if kind == "overlay":
        return Finding(
            about="file system",
            text="overlay: in a container, the file is gone when the container is removed",
            advice="in a container, mount a volume and put the file there",
            facts=facts,
        )
    return Finding(about="file system", text=kind, facts=facts)


def permissions(path: Path) -> Finding:
    """Whose the file is, who may read and write it, and whether the files beside it are of the same user."""
    status = path.stat()
    whose, rights = user_name(status.st_uid), stat.filemode(status.st_mode)
    facts = {"user": whose, "mode": rights, "names": status.st_nlink}

    def trouble(text: str, advice: str) -> Finding:
        return Finding(about="permissions", text=text, advice=advice, verdict=Verdict.NEEDS_ACTION, facts=facts)

    for suffix in ("-wal", "-shm", ".lock"):
        beside = Path(f"{path}{suffix}")
        if beside.exists() and (found := beside.stat().st_uid) != status.st_uid:
            return trouble(
                f"{beside.name} belongs to {user_name(found)}, the database to {whose}: the engine may not be able to "
                "open it",
                f"chown {whose} {beside}; then open the file with no program that runs as another user",
            )
    if status.st_nlink > 1:
        return trouble(
            "it has a second name (a hard link), by which another program could open it unnoticed; the engine refuses "
            "it",
            "remove that name, or copy the file",
        )
    if status.st_mode & stat.S_IWOTH:
        return trouble(f"everybody on this machine may write to it ({rights})", f"chmod o-w {path}")
    if status.st_uid == os.geteuid() and not (_may_write(path) and _may_write(path.parent)):
        return trouble(
            f"it, or its folder, may not be written ({rights})", f"chmod u+w {path}, and u+wx its folder {path.parent}"
        )
    if status.st_mode & stat.S_IROTH:
        return Finding(
            about="permissions",
            text=f"{rights}, of {whose}: everybody on this machine may read inputs and outputs",
            advice=f"chmod o-r {path}, when others use this machine",
            facts=facts,
        )
    return Finding(about="permissions", text=f"{rights}, of {whose}", facts=facts)


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def user_name(uid: int) -> str:
    """The user's name, or the number of one who has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def space(path: Path, free_bytes: int | None = None) -> Finding:
    """How much room the disk has left; `free_bytes` is for tests."""
    free = shutil.disk_usage(path.parent).free if free_bytes is None else free_bytes
    size = path.stat().st_size
    facts = {"free_bytes": free}
    if free < _LEAST_SPACE:
        return Finding(
            about="disk space",
            text=f"{size_text(free)} left: soon nothing can be written (`storage-full`)",
            advice="make room; an engine goes on by itself when there is some",
            verdict=Verdict.NEEDS_ACTION,
            facts=facts,
        )
    if free < size:
        return Finding(
            about="disk space",
            text=f"{size_text(free)} left, less than the file has",
            advice="make room before a backup beside the file, or an upgrade, which copies it first",
            facts=facts,
        )
    return Finding(about="disk space", text=f"{size_text(free)} left", facts=facts)


def sizes(path: Path, *, is_owned: bool) -> Finding:
    """The sizes of the file and of its write-ahead log."""
    log = Path(f"{path}-wal")
    size, log_size = path.stat().st_size, log.stat().st_size if log.exists() else 0
    text = f"{size_text(size)}, and {size_text(log_size)} in the log ({log.name})"
    facts = {"bytes": size, "wal_bytes": log_size}
    if log_size <= _LONGEST_LOG or not is_owned:
        after_kill = "the next start moves it into the file: never delete it" if log_size and not is_owned else None
        if after_kill is None:
            return Finding(about="size", text=text, facts=facts)
        return Finding(about="size", text=text, advice=after_kill, facts=facts)
    return Finding(
        about="size",
        text=f"{text}, which does not get shorter: some program has been reading the file for long",
        advice="find what has the file open (`lsof`), and end its read",
        verdict=Verdict.NEEDS_ACTION,
        facts=facts,
    )
