"""The examination of a database file: all checks, in the order in which they are told."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pylon_workflows.doctor import surroundings
from pylon_workflows.doctor.contents import UnreadableError, contents
from pylon_workflows.doctor.findings import Finding, Report, Verdict
from pylon_workflows.ownership import file_systems
from pylon_workflows.ports import PayloadCodec


def examine(
    path: Path,
    *,
    is_verifying: bool = False,
    codec: PayloadCodec | None = None,
    file_system_of: Callable[[Path], str | None] = file_systems.type_at,
) -> Report:
    """Look at the file, at what is around it and at what is in it. Nothing is written.

    `is_verifying` adds up the history of each instance, and holds its row to that: of an encrypted file with its codec.

    To be called in another process than the engine's: POSIX locks, which SQLite holds on the file, go with any close of
    it in their process.
    """
    real = path.resolve()
    try:
        _check_readable(real)
    except UnreadableError as error:
        return Report(path, [_unreadable(error)])
    return Report(path, list(_findings(real, file_system_of, codec, is_verifying=is_verifying)))


def _findings(
    path: Path, file_system_of: Callable[[Path], str | None], codec: PayloadCodec | None, *, is_verifying: bool
) -> Iterator[Finding]:
    owner = surroundings.owner(path)
    yield owner
    yield surroundings.sqlite()
    yield surroundings.file_system(path, file_system_of)
    yield surroundings.permissions(path)
    yield surroundings.space(path)
    yield surroundings.sizes(path, is_owned=bool(owner.facts["is_owned"]))
    try:
        yield from contents(path, codec, is_verifying=is_verifying)
    except UnreadableError as error:
        yield _unreadable(error)


def _check_readable(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        raise UnreadableError(
            f"{path} is not there", "check the name; an engine makes the file when it starts"
        ) from None
    except OSError as error:
        raise UnreadableError(f"{path} cannot be looked at: {error.strerror}", _as_whom(path)) from None
    if not path.is_file():
        raise UnreadableError(f"{path} is no file", "name the database file")
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise UnreadableError(f"{path} cannot be read: {os.strerror(errno.EACCES)}", _as_whom(path))


def _as_whom(path: Path) -> str:
    try:
        return f"run doctor as {surroundings.user_name(path.stat().st_uid)}, whose file it is"
    except OSError:
        return "run doctor as the user who runs the engine"


def _unreadable(error: UnreadableError) -> Finding:
    return Finding(about="file", text=str(error), advice=error.advice, verdict=Verdict.UNREADABLE)
