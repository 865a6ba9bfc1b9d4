"""The Unix socket beside a database file, on which its owner is called: its name, its making, who is at the other end.

A socket's address has room for about a hundred bytes. A longer name is reached through a symbolic link with a short
one, in a private folder of the system's temporary files.
"""

import os
import secrets
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

LONGEST_NAME_BYTES = 100
"""Linux takes 107 bytes, macOS 103."""

_BACKLOG = 2048
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # macOS's; the socket module has names for them from 3.11 on, on macOS only


def socket_path(database: Path) -> Path:
    """Where the owner of that database listens."""
    return Path(f"{database.resolve()}.sock")


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name of the file or folder at `path` that fits into a socket's address, for as long as the block runs."""
    if len(os.fsencode(path)) <= LONGEST_NAME_BYTES:
        yield str(path)
        return
    folder = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="pw-", dir=folder if len(os.fsencode(folder)) < 70 else "/tmp") as private:  # noqa: S108
        link = Path(private) / "s"
        link.symlink_to(path)
        yield str(link)


class ListeningSocket(NamedTuple):
    """A socket that listens, where, and the inode by which its file is known from another's in its place."""

    listener: socket.socket
    path: Path
    inode: int


def listen_at(path: Path) -> ListeningSocket:
    """A socket that listens at `path`, in the place of whatever is there, and that only this user may connect to.

    It is made in a folder that nobody else may enter, and comes to its place with its final mode: a mode set after
    `bind` would come too late, and the umask is every thread's. To be called by whoever holds the file's lock.

    Raises:
        OSError: the folder takes no sockets.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = path.parent / f".{secrets.token_hex(4)}.sock"
        folder.mkdir(mode=0o700)
        try:
            with short_name(folder) as name:
                listener.bind(f"{name}/s")
            made = folder / "s"
            made.chmod(0o600)
            listener.listen(_BACKLOG)
            inode = made.stat().st_ino
            made.replace(path)
        finally:
            (folder / "s").unlink(missing_ok=True)
            folder.rmdir()
    except BaseException:
        listener.close()
        raise
    return ListeningSocket(listener, path, inode)


def remove(made: ListeningSocket) -> None:
    """Take the socket's file away, unless it is another owner's by now."""
    with suppress(FileNotFoundError):
        if made.path.stat().st_ino == made.inode:
            made.path.unlink()


def peer_uid(descriptor: int) -> int | None:
    """The user at the other end of a connected Unix socket; None where the system does not tell."""
    with socket.socket(fileno=os.dup(descriptor)) as peer:
        if sys.platform == "linux":
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", credentials)[1])
        if sys.platform == "darwin":
            credentials = peer.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
            return int(struct.unpack_from("2I", credentials)[1])
    return None
