"""Which file system a path is on, by what Linux and macOS say about their mounts."""

import os
import sys
from pathlib import Path

import pytest

from pylon_workflows.ownership.file_systems import (
    Mount,
    bsd_mounts,
    is_mount_point,
    is_mounted_alone,
    is_shared,
    linux_mounts,
    type_among,
    type_at,
)

MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
36 27 0:45 / /mnt/team\040share rw,relatime shared:9 master:1 - nfs4 server:/export rw,vers=4.2
37 27 0:46 / /mnt/sshfs rw,nosuid - fuse.sshfs me@host:/ rw,user_id=0
a line that is none
"""

MOUNT = """
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)
//me@server/share on /Volumes/My (old) share (smbfs, nodev, nosuid, mounted by me)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
"""


def test_mountinfo_is_read_with_its_escapes_and_optional_fields():
    assert linux_mounts(MOUNTINFO) == [
        Mount((0, 21), "/proc", "proc", 22, 27),
        Mount((254, 0), "/", "ext4", 27, 1),
        Mount((0, 45), "/mnt/team share", "nfs4", 36, 27),
        Mount((0, 46), "/mnt/sshfs", "fuse.sshfs", 37, 27),
    ]


def test_what_mount_prints_on_macos_is_read():
    assert [(mount.point, mount.type) for mount in bsd_mounts(MOUNT)] == [
        ("/", "apfs"),
        ("/System/Volumes/Data", "apfs"),
        ("/Volumes/My (old) share", "smbfs"),
        ("/System/Volumes/Data/home", "autofs"),
    ]


def test_the_device_goes_before_the_longest_mount_point(tmp_path):
    device = tmp_path.stat().st_dev
    here = Mount((os.major(device), os.minor(device)), "/elsewhere", "by device")
    assert type_among([Mount(None, str(tmp_path), "by path"), here], tmp_path) == "by device"


def test_without_a_known_device_the_longest_mount_point_decides_and_of_equals_the_last(tmp_path):
    mounts = [
        Mount(None, "/", "root"),
        Mount((9999, 9999), str(tmp_path), "hidden"),
        Mount(None, str(tmp_path), "on top"),
        Mount(None, f"{tmp_path}x", "beside"),
        Mount(None, str(tmp_path / "below"), "below"),
    ]
    assert type_among(mounts, tmp_path) == "on top"
    assert type_among(mounts[:1], tmp_path) == "root"
    assert type_among([], tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own mounts")
def test_a_file_that_is_yet_to_be_made_is_on_what_its_nearest_folder_is_on(tmp_path):
    assert type_at(Path("/proc/self/no/such/folder/workflows.db")) == "proc"
    (tmp_path / "workflows.db").touch()
    kinds = {type_at(tmp_path), type_at(tmp_path / "workflows.db"), type_at(tmp_path / "no" / "such" / "w.db")}
    assert len(kinds) == 1
    assert kinds != {None}


@pytest.mark.parametrize("kind", ["nfs", "NFS4", "cifs", "fuse.s3fs", "lustre", "virtual-9p"])
def test_network_file_systems_are_known_by_name_in_any_case(kind):
    assert is_shared(kind) is (kind != "virtual-9p")


def test_a_file_system_that_nobody_named_is_taken_for_a_local_one():
    assert not is_shared(None)
    assert not is_shared("bcachefs")


def mounted(*lines):
    """What mountinfo says of mounts given as `<id> <parent> <point>`, beside the root's, which has the id 27."""
    return linux_mounts(
        "\n".join(
            f"{number} {parent} 254:0 /x {point} rw,relatime shared:1 - ext4 /dev/vda rw"
            for number, parent, point in (line.split(" ") for line in ("27 1 /", *lines))
        )
    )


@pytest.mark.parametrize(
    "lines",
    [
        ["40 27 /data/orders.db"],
        ["40 27 /data", "41 40 /data/orders.db"],
        ["41 40 /data/orders.db", "40 27 /data"],
        ["40 27 /data/orders.db", "41 40 /data/orders.db"],
        ["40 27 /data/orders.db", "41 27 /data", "42 41 /data/orders.db"],
        ["40 27 /", "41 40 /data/orders.db"],
    ],
    ids=["alone", "in a mounted folder", "told the other way round", "twice", "hidden, and once more", "in a new root"],
)
def test_a_file_that_is_mounted_is_a_mount_point_in_whatever_it_is_mounted(lines):
    assert is_mount_point(mounted(*lines), Path("/data/orders.db"))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["40 27 /data"],
        ["40 27 /data/orders.db.lock", "41 27 /data/orders", "42 27 /orders.db"],
        ["40 27 /data/orders.db", "41 27 /data"],
        ["40 27 /data", "41 40 /data/orders.db", "42 40 /data"],
        ["40 27 /data/orders.db", "41 27 /"],
    ],
    ids=["no mount", "its folder", "others", "hidden by its folder", "hidden by one over its folder", "by a new root"],
)
def test_a_file_whose_folder_is_mounted_is_none_nor_one_that_hides_under_another_mount(lines):
    assert not is_mount_point(mounted(*lines), Path("/data/orders.db"))


def test_in_a_changed_root_the_mounts_above_it_are_not_told():
    (_, *mounts) = mounted("40 39 /data", "41 40 /data/orders.db")
    assert is_mount_point(mounts, Path("/data/orders.db"))
    assert not is_mount_point(mounts, Path("/data/other.db"))


def test_a_root_that_is_upon_itself_is_no_riddle():
    assert is_mount_point(linux_mounts("1 1 0:1 / / rw - rootfs none rw\n2 1 0:2 / /a rw - ext4 x rw"), Path("/a"))


def test_a_mount_point_is_found_whatever_its_name_is_made_of(tmp_path, monkeypatch):
    """Of these mountinfo escapes the space, the tab, the line's end and the backslash, and nothing else."""
    folder = "my \t\n\\ \\040\x85\r\x0c\u2028\udcff"
    file = Path(f"/data/{folder}/orders.db")
    escaped = "".join(f"\\{ord(sign):03o}" if sign in " \t\n\\" else sign for sign in str(file))
    text = f"27 1 254:0 / / rw - ext4 /dev/vda rw\n41 27 254:0 /o {escaped} rw - ext4 /dev/vda rw\n"
    (tmp_path / "mountinfo").write_bytes(os.fsencode(text))
    monkeypatch.setattr("pylon_workflows.ownership.file_systems._MOUNTS", tmp_path / "mountinfo")
    assert is_mounted_alone(file)
    assert not is_mounted_alone(file.with_name("other.db"))
    monkeypatch.setattr("pylon_workflows.ownership.file_systems._MOUNTS", tmp_path / "no such file")
    assert not is_mounted_alone(file)
