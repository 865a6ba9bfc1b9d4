"""Which file system a path is on, and whether a database may not be on it, or may not be mounted so (P21, P23)."""

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
    """A mounted file system: where it is, its type; on Linux its device, its own number and that of the mount below."""

    device: tuple[int, int] | None
    point: str
    type: str
    id: int = 0
    parent: int = 0


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


def is_mounted_alone(file: Path) -> bool:
    """Whether the file with this real path is a mount without its folder (`-v ./orders.db:/data/orders.db`).

    What lies beside it, a lock or a log, is then not beside the same file by its other names. Where the system does not
    tell its mounts as Linux does, the answer is no.
    """
    return is_mount_point(linux_mounts(_text(_MOUNTS)), file)


def is_mount_point(mounts: Iterable[Mount], path: Path) -> bool:
    """Whether what is seen at this real path is mounted right there.

    Found as the system finds it, down from the root: at each place what is mounted on it is seen, and again what is
    mounted on that. A mount point that is listed may be hidden under one that came later.
    """
    mounts = list(mounts)
    listed = {mount.id for mount in mounts}
    upon: dict[tuple[int | None, str], int] = {}
    for mount in mounts:
        is_first = mount.parent not in listed or mount.parent == mount.id  # what is above a changed root is not told
        upon[None if is_first else mount.parent, mount.point] = mount.id
    seen = below = None
    for place in map(str, (*reversed(path.parents), path)):
        below = seen
        while (seen, place) in upon:
            seen = upon[seen, place]
    return seen != below


def linux_mounts(text: str) -> list[Mount]:
    """What `/proc/self/mountinfo` says; see proc(5)."""
    mounts = []
    for line in text.split("\n"):
        before, separator, after = line.partition(" - ")
        fields, more = before.split(" "), after.split(" ")
        if separator and len(fields) >= 5:
            major, _, minor = fields[2].partition(":")
            point, device = _unescaped(fields[4]), (int(major), int(minor))
            mounts.append(Mount(device, point, more[0], int(fields[0]), int(fields[1])))
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
        return os.fsdecode(path.read_bytes())
    except OSError:
        return ""


def _said_by_mount() -> str:
    try:
        done = subprocess.run(["/sbin/mount"], capture_output=True, text=True, errors="replace", timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
