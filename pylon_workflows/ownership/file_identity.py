"""Which file it is, whatever it is called."""

import errno
import os
from contextlib import suppress
from pathlib import Path

Identity = tuple[int, int]
"""A file's device and inode: what stays the same under another name, and differs under the same name later."""

_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def identity_of(file: Path | int) -> Identity | None:
    """Of the file of that name or an open one; None when there is none. Raises OSError when that cannot be told."""
    try:
        found = os.fstat(file) if isinstance(file, int) else file.stat()
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise
    return found.st_dev, found.st_ino


def real_path_of(name: Path) -> Path | None:
    """Where the links of this name lead; None when to no file. Raises OSError when that cannot be told."""
    try:
        return Path(os.path.realpath(name, strict=True))
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise


def is_open_here(file: Identity) -> bool:
    """Whether this process has the file open; so too where the system does not tell."""
    try:
        descriptors = [int(each.name) for each in Path("/dev/fd").iterdir()]
    except OSError:
        return True
    for descriptor in descriptors:
        with suppress(OSError):  # closed since
            if identity_of(descriptor) == file:
                return True
    return False
