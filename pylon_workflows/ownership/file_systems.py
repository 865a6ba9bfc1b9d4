"""Which file system a path is on, and whether it is one that a database may not be on (PROMISES.md P23)."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")

SHARED = frozenset(
    """
    9p acfs afpfs afs beegfs ceph cephfs cifs coda davfs ftp gfs gfs2 gfs2meta glusterfs gpfs lustre moosefs ncp ncpfs
    nfs nfs3 nfs4 ocfs2 orangefs panfs prl_fs pvfs2 smb smb2 smb3 smbfs vboxsf vmhgfs webdav wekafs
    fuse.afpfs fuse.beegfs fuse.blobfuse fuse.blobfuse2 fuse.ceph fuse.ceph-fuse fuse.curlftpfs fuse.davfs fuse.davfs2
    fuse.dfs fuse.fuse_dfs fuse.gcsfuse fuse.geesefs fuse.glusterfs fuse.goofys fuse.gvfsd-fuse fuse.hdfs fuse.juicefs
    fuse.kio-fuse fuse.lizardfs fuse.mfs fuse.moosefs fuse.mount-s3 fuse.mountpoint-s3 fuse.portal fuse.prl_fsd
    fuse.rclone fuse.rozofs fuse.s3backer fuse.s3fs fuse.seaweedfs fuse.smbnetfs fuse.sshfs fuse.vmhgfs-fuse fuse.weed
    fuse.weedfs
    """.split()  # noqa: SIM905 -- as a list it would be seventy lines
)
"""File systems that another machine, or the host of a virtual one, writes to as well: a lock on one side, or the memory
that SQLite shares between processes, is not seen on the other."""

VOLATILE = frozenset({"tmpfs", "ramfs", "devtmpfs"})
"""File systems whose files are gone after a reboot."""


class Mount(NamedTuple):
    """A mounted file system: its device number where that is told (Linux), where it is, its type."""

    device: tuple[int, int] | None
    point: str
    type: str


def type_at(path: Path) -> str | None:
    """The type of the file system that holds `path`, or will hold it, such as `ext4`; None when it cannot be told."""
    folder = path.resolve()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder.is_file():
        folder = folder.parent  # an overlay shows its own device only for folders
    if sys.platform == "linux":
        mounts = linux_mounts(_text(_MOUNTS))
    else:
        mounts = bsd_mounts(_said_by_mount())
    return type_among(mounts, folder)


def is_shared(type: str | None) -> bool:
    """Whether machines share such a file system; one of unknown type is taken for a local one."""
    return type is not None and type.lower() in SHARED


def type_among(mounts: Iterable[Mount], folder: Path) -> str | None:
    """The type of the one of these mounts that an existing folder is on.

    By device, because something may be mounted over a part of the path; else (btrfs gives each subvolume a device of
    its own) by the longest mount point above it, the last one of those at the same place.
    """
    mounts = list(mounts)
    device = folder.stat().st_dev
    for mount in mounts:
        if mount.device == (os.major(device), os.minor(device)):
            return mount.type
    above = [mount for mount in mounts if folder.is_relative_to(mount.point)]
    return max(reversed(above), key=lambda mount: len(mount.point)).type if above else None


def linux_mounts(text: str) -> list[Mount]:
    """What `/proc/self/mountinfo` says; see proc(5)."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, more = before.split(" "), after.split(" ")
        if separator and len(fields) >= 5:
            major, _, minor = fields[2].partition(":")
            mounts.append(Mount((int(major), int(minor)), _unescaped(fields[4]), more[0]))
    return mounts


def bsd_mounts(text: str) -> list[Mount]:
    """What `mount` says on macOS: `SOURCE on POINT (TYPE, OPTION...)`."""
    mounts = []
    for line in text.splitlines():
        found = re.fullmatch(r".*? on (?P<point>/.*) \((?P<type>[^,)]+)[^)]*\)", line)
        if found is not None:
            mounts.append(Mount(None, found["point"], found["type"]))
    return mounts


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def _said_by_mount() -> str:
    try:
        done = subprocess.run(["/sbin/mount"], capture_output=True, text=True, errors="replace", timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
