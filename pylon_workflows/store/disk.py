"""What the store asks of the file system itself."""

import errno
import os
import tempfile
from pathlib import Path

PROBE_BYTES = 65_536


def has_room(folder: Path) -> bool:
    """Whether some pages can still be written there: an exhausted quota, too, reaches SQLite as an I/O error."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return not is_for_want_of_room(error)
    return True


def is_for_want_of_room(error: OSError) -> bool:
    """Whether the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
