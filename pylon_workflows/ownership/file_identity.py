"""Which file it is, whatever it is called."""

import os
from contextlib import suppress
from pathlib import Path

Identity = tuple[int, int]
"""A file's device and inode: what stays the same under another name, and differs under the same name later."""


def identity_of(file: Path | int) -> Identity | None:
    """Of the file of that name or an open one; None when there is none. Raises OSError when that cannot be told."""
    try:
        found = os.fstat(file) if isinstance(file, int) else file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


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
