"""One owner a database file: among processes, within a process, and after the owner's death."""

import errno
import fcntl
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from pylon_workflows.errors import (
    DatabaseInUseError,
    InvalidInputError,
    OwnershipLostError,
    StorageFullError,
    StoreError,
)
from pylon_workflows.ownership.guard import FileGuard, _release_in_child
from pylon_workflows.ownership.lock_file import look

OWNER = """
import sys
from pylon_workflows.ownership.guard import FileGuard
guard = FileGuard(sys.argv[1])
guard.acquire()
print("owner", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workflows.db"


@pytest.fixture
def guard(path):
    guard = FileGuard(path)
    guard.acquire()
    yield guard
    guard.release()


def lock_of(path):
    return path.with_name(f"{path.name}.lock")


@pytest.mark.parametrize("has_file", [True, False])
def test_a_symbolic_link_leads_to_the_same_owner(path, guard, tmp_path, has_file):
    other_name = tmp_path / "link.db"
    if has_file:
        path.touch()
    other_name.symlink_to(path)
    with pytest.raises(DatabaseInUseError, match=rf"is in use by process {os.getpid()} on"):
        FileGuard(other_name).acquire()


def test_a_symbolic_link_to_the_folder_leads_to_the_same_owner(path, guard, tmp_path, monkeypatch):
    (tmp_path / "sub").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path / "sub" / path.name, f"sub/{path.name}", path.name, f"sub/sub/{path.name}"):
        with pytest.raises(DatabaseInUseError):
            FileGuard(name).acquire()


def test_a_file_with_two_names_has_no_owner_because_another_process_could_take_the_other_name(path, tmp_path):
    path.touch()
    (tmp_path / "second.db").hardlink_to(path)
    for name in (path, tmp_path / "second.db"):
        with pytest.raises(StoreError, match="has a second name") as refusal:
            FileGuard(name).acquire()
        assert not isinstance(refusal.value, DatabaseInUseError)
    (tmp_path / "second.db").unlink()
    guard = FileGuard(path)
    guard.acquire()
    guard.release()


def test_another_file_of_the_same_name_is_another_database(path, guard, tmp_path):
    (tmp_path / "sub").mkdir()
    other = FileGuard(tmp_path / "sub" / path.name)
    other.acquire()
    other.release()


def test_two_files_have_two_owners(guard, tmp_path):
    other = FileGuard(str(tmp_path / "other.db"))
    other.acquire()
    other.release()


def test_who_owns_the_file_stands_in_the_lock_file_which_only_they_may_read(path, guard):
    facts = json.loads(lock_of(path).read_text())
    assert (facts["pid"], facts["host"]) == (os.getpid(), socket.gethostname())
    assert datetime.fromisoformat(facts["since"]) <= datetime.now(UTC)
    assert stat.S_IMODE(lock_of(path).stat().st_mode) == 0o600


def test_a_shorter_name_leaves_nothing_of_a_longer_one(path):
    lock_of(path).write_text("x" * 500)
    guard = FileGuard(path)
    guard.acquire()
    assert json.loads(lock_of(path).read_text())["pid"] == os.getpid()
    guard.release()


def test_a_released_file_can_be_owned_again_and_keeps_its_lock_file(path, guard):
    guard.release()
    guard.release()
    assert not guard.is_held
    assert lock_of(path).exists()
    other = FileGuard(path)
    other.acquire()
    assert other.is_held
    other.release()


def test_acquiring_what_one_has_is_no_error(guard):
    guard.acquire()
    assert guard.is_held


def test_an_owner_that_has_not_yet_said_who_it_is_is_another_process(path):
    descriptor = os.open(lock_of(path), os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(DatabaseInUseError, match="in use by another process"):
        FileGuard(path).acquire()
    os.close(descriptor)


def replacing(lock, times):
    """A `flock` beside which somebody removes the lock file, so many times."""
    calls = []

    def flock(descriptor, operation):
        calls.append(operation)
        if len(calls) <= times:
            lock.unlink()
        if len(calls) == times:
            lock.touch()

    return flock


def test_a_lock_file_that_is_replaced_while_it_is_locked_is_locked_again(path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", replacing(lock_of(path), times=2))
    guard = FileGuard(path)
    guard.acquire()
    assert os.path.samestat(lock_of(path).stat(), os.fstat(guard._descriptor))
    guard.release()


def test_a_lock_file_that_is_always_replaced_is_given_up(path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", replacing(lock_of(path), times=1_000_000))
    with pytest.raises(StoreError, match="keeps being replaced"):
        FileGuard(path).acquire()


def test_a_file_system_without_locks_is_told(path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match="cannot be locked: No locks available"):
        FileGuard(path).acquire()


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(StoreError, match="cannot be locked: No such file or directory: make the folder"):
        FileGuard(tmp_path / "missing" / "workflows.db").acquire()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_told(path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match="this user must be able to make files in the folder of the database"):
        FileGuard(path).acquire()


def test_a_lock_that_is_there_and_may_not_be_opened_names_its_user_and_does_not_blame_the_folder(path, monkeypatch):
    lock_of(path).touch(0o600)

    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    owner = pwd.getpwuid(os.geteuid()).pw_name
    with pytest.raises(StoreError, match=rf"cannot be locked: Permission denied: it belongs to {owner}, mode 600: "):
        FileGuard(path).acquire()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_first_start_on_a_full_disk_says_so(path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(StorageFullError, match=r"workflows\.db\.lock cannot be written: the disk is full"):
        FileGuard(path).acquire()


@pytest.mark.parametrize("name", [":memory:", "file:workflows.db?mode=memory", "file:///srv/workflows.db", "", "a\0b"])
def test_what_is_no_path_of_a_file_is_refused_when_the_engine_is_built(name):
    with pytest.raises(InvalidInputError, match=r"^database: "):
        FileGuard(name)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(StoreError, match=r"is no file: name one, such as .*/workflows\.db"):
        FileGuard(tmp_path).acquire()


@pytest.mark.parametrize("kind", ["nfs4", "NFS", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "lustre", "fuse.s3fs"])
def test_a_network_file_system_is_refused_before_anything_is_made(path, kind):
    asked = []

    def file_system_of(file):
        asked.append(file)
        return kind

    with pytest.raises(StoreError, match=f"on a network file system .{kind}.*: put the database on a disk of this"):
        FileGuard(path, file_system_of=file_system_of).acquire()
    assert asked == [path]
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "apfs", "fuseblk", "fuse.new", None])
def test_any_other_file_system_will_do(path, kind):
    guard = FileGuard(path, file_system_of=lambda file: kind)
    guard.acquire()
    guard.release()


def test_the_file_system_is_asked_for_once_by_one_that_tries_again_and_again(path, guard):
    asked = []
    other = FileGuard(path, file_system_of=asked.append)
    guard.release()
    for _ in range(3):
        other.acquire()
        other.release()
    assert len(asked) == 1


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    """Where the system tells its mounts: at first the root's alone."""
    told = tmp_path / "mountinfo"
    told.write_text("27 1 254:0 / / rw - ext4 /dev/vda rw\n")
    monkeypatch.setattr("pylon_workflows.ownership.file_systems._MOUNTS", told)
    return told


def mount(mounts, point):
    with mounts.open("a") as told:
        told.write(f"40 27 254:0 /srv/orders.db {point} rw,relatime - ext4 /dev/vda rw\n")


def test_a_file_that_is_mounted_without_its_folder_is_refused_by_every_name_before_anything_is_made(tmp_path, mounts):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "orders.db").touch()
    (tmp_path / "link.db").symlink_to(folder / "orders.db")
    (tmp_path / "folder").symlink_to(folder)
    mount(mounts, (folder / "orders.db").resolve())
    for name in (folder / "orders.db", tmp_path / "link.db", tmp_path / "folder" / "orders.db"):
        with pytest.raises(StoreError, match=r"is mounted by itself, .*: mount its folder$") as refusal:
            FileGuard(name).acquire()
        assert not isinstance(refusal.value, DatabaseInUseError)
    assert [each.name for each in folder.iterdir()] == ["orders.db"]


@pytest.mark.parametrize("has_file", [True, False])
def test_a_file_whose_folder_is_mounted_will_do_and_one_that_is_yet_to_be_made(path, mounts, has_file):
    if has_file:
        path.touch()
    mount(mounts, path.parent.resolve())
    guard = FileGuard(path)
    guard.acquire()
    guard.release()


def test_mounts_are_asked_for_again_when_another_file_is_at_the_path(path, tmp_path, mounts):
    guard = FileGuard(tmp_path / "link.db")
    (tmp_path / "link.db").symlink_to(path)
    guard.acquire()
    guard.release()
    path.touch()
    mount(mounts, path.resolve())
    with pytest.raises(StoreError, match="is mounted by itself"):
        guard.acquire()
    (tmp_path / "other.db").touch()
    (tmp_path / "link.db").unlink()
    (tmp_path / "link.db").symlink_to(tmp_path / "other.db")
    guard.acquire()
    guard.release()


def owned(path):
    """A guard with its database opened: the file, its log, and the first look."""
    guard = FileGuard(path)
    guard.acquire()
    path.touch()
    path.with_name(f"{path.name}-wal").touch()
    guard.check()
    return guard


@pytest.fixture
def owner(path):
    guard = owned(path)
    yield guard
    guard.release()


def test_an_owner_whose_files_are_as_they_were_has_lost_nothing(path, owner):
    path.write_bytes(b"more")
    path.chmod(0o640)
    (path.parent / "backup.db").hardlink_to(path)
    for _ in range(3):
        owner.check()


@pytest.mark.parametrize("is_replaced", [True, False])
@pytest.mark.parametrize("of", ["workflows.db", "workflows.db.lock"])
def test_an_owner_whose_file_is_removed_or_replaced_has_lost_it(path, owner, of, is_replaced):
    file = path.with_name(of)
    if is_replaced:
        (path.parent / "new").touch()
        (path.parent / "new").rename(file)
    else:
        file.unlink()
    with pytest.raises(OwnershipLostError) as loss:
        owner.check()
    assert f"{file} was {'replaced' if is_replaced else 'removed'} while the engine ran" in str(loss.value)
    remedy = "so the engine has stopped: put it right, then restart"
    if of.endswith(".lock"):  # which is how a process that hangs is made to let go: it goes on as a standby
        remedy = "(another engine may own the database now), so this one drives it no longer"
    assert str(loss.value).endswith(remedy)


def pointed(link, target):
    """At once, as who deploys a release does it."""
    new = link.with_name("new link")
    new.symlink_to(target)
    new.replace(link)


@pytest.fixture
def linked(tmp_path):
    """`current/orders.db`, by two links, is `first/v1.db`; `second/v1.db` is a copy that another owner may have."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "orders.db").symlink_to("v1.db")
        (tmp_path / name / "v1.db").touch()
    (tmp_path / "current").symlink_to("first")
    return tmp_path / "current" / "orders.db"


@pytest.mark.parametrize("is_made", [True, False])
def test_an_owner_whose_link_leads_to_another_file_has_lost_its_file(linked, tmp_path, is_made):
    guard = owned(linked)
    if is_made:
        (tmp_path / "first" / "v2.db").touch()
    pointed(linked, "v2.db")
    with pytest.raises(OwnershipLostError) as loss:
        guard.check()
    elsewhere, before = tmp_path.resolve() / "first" / "v2.db", tmp_path.resolve() / "first" / "v1.db"
    where = f"to {elsewhere}" if is_made else "nowhere"
    so_what = f"it leads {where} now, and what was committed is in {before}"
    assert f"{linked} was pointed elsewhere while the engine ran ({so_what})" in str(loss.value)
    assert "so the engine has stopped: put it right, then restart" in str(loss.value)
    guard.release()


def test_an_owner_whose_folder_is_a_link_that_leads_elsewhere_has_lost_its_file(linked, tmp_path):
    guard = owned(linked)
    pointed(tmp_path / "current", "second")
    with pytest.raises(OwnershipLostError, match=r"current/orders.db was pointed elsewhere .*second/v1\.db now"):
        guard.check()
    guard.release()


def test_an_owner_whose_link_leads_to_a_new_second_name_of_its_file_has_lost_it_by_its_lock_and_log(linked, tmp_path):
    guard = owned(linked)
    (tmp_path / "second" / "v1.db").unlink()
    (tmp_path / "second" / "v1.db").hardlink_to(tmp_path / "first" / "v1.db")
    pointed(tmp_path / "current", "second")
    with pytest.raises(OwnershipLostError, match="was pointed elsewhere"):
        guard.check()
    guard.release()


def test_an_owner_whose_links_are_made_anew_and_lead_where_they_did_has_lost_nothing(linked, tmp_path):
    guard = owned(linked)
    pointed(linked, tmp_path / "first" / "v1.db")
    guard.check()
    pointed(tmp_path / "second" / "orders.db", tmp_path / "first" / "v1.db")
    pointed(tmp_path / "current", "second")
    guard.check()
    guard.release()


def test_an_owner_whose_links_cannot_be_followed_now_has_not_lost_its_file(linked, tmp_path, monkeypatch):
    guard = owned(linked)

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    with monkeypatch.context() as patch:
        patch.setattr(os.path, "realpath", refuse)
        with pytest.raises(PermissionError):
            guard.check()
    guard.check()
    guard.release()


def test_an_owner_whose_link_leads_to_itself_has_lost_its_file(linked):
    guard = owned(linked)
    pointed(linked, "orders.db")
    with pytest.raises(OwnershipLostError, match="leads nowhere now"):
        guard.check()
    guard.release()


def test_a_database_that_is_replaced_between_the_lock_and_the_opening_is_lost(path):
    path.touch()
    guard = FileGuard(path)
    guard.acquire()
    (path.parent / "new").touch()
    (path.parent / "new").rename(path)
    with pytest.raises(OwnershipLostError, match="was replaced"):
        guard.check()
    guard.release()


def test_a_database_that_vanishes_before_the_first_look_is_lost(path, guard):
    with pytest.raises(OwnershipLostError, match="was removed"):
        guard.check()


def test_a_database_whose_folder_is_moved_away_is_lost(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    guard = owned(folder / "workflows.db")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(OwnershipLostError, match="was removed"):
        guard.check()
    guard.release()


def test_a_log_that_is_missing_twice_is_lost_and_one_that_was_being_opened_anew_is_not(path, owner):
    log = path.with_name(f"{path.name}-wal")
    log.unlink()
    owner.check()
    with log.open("w"):
        owner.check()
    log.unlink()
    owner.check()
    with pytest.raises(OwnershipLostError, match="-wal was removed while the engine ran"):
        owner.check()


def test_a_log_that_is_replaced_by_one_that_nobody_here_has_open_is_lost(path, owner):
    log = path.with_name(f"{path.name}-wal")
    copy = path.with_name("copy")
    copy.write_bytes(log.read_bytes())
    copy.replace(log)
    owner.check()
    with pytest.raises(OwnershipLostError, match="-wal was replaced while the engine ran"):
        owner.check()


def test_a_database_without_a_log_misses_none(path, guard):
    path.touch()
    for _ in range(3):
        guard.check()


def test_who_has_let_go_owns_nothing(path, owner):
    owner.release()
    with pytest.raises(OwnershipLostError, match="no longer owned"):
        owner.check()


def test_who_owns_the_file_again_compares_with_what_is_there_now(path, owner):
    owner.release()
    path.unlink()
    path.touch()
    owner.acquire()
    owner.check()


def test_windows_is_refused_with_a_sentence(path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(StoreError, match="does not run on Windows"):
        FileGuard(path).acquire()


def test_a_forked_child_lets_go_of_everything_it_inherited(path, guard):
    _release_in_child()
    assert not guard.is_held


@pytest.mark.slow
def test_another_process_is_refused_until_the_owner_is_gone_even_killed(path):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout.readline() == b"owner\n"
        with pytest.raises(DatabaseInUseError) as refusal:
            FileGuard(path).acquire()
        message = str(refusal.value)
        assert f"process {owner.pid} on {socket.gethostname()}, since {datetime.now(UTC):%Y-}" in message
        assert "stop it, or talk to it over HTTP" in message
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    guard = FileGuard(path)
    guard.acquire()
    guard.release()


@pytest.mark.slow
def test_a_forked_child_does_not_keep_the_lock_of_its_parent(path):
    """The child lives on when the owner lets go; a child that had kept its copy would still hold the lock."""
    program = """
import os, sys
from pylon_workflows.errors import DatabaseInUseError
from pylon_workflows.ownership.guard import FileGuard
guard = FileGuard(sys.argv[1])
guard.acquire()
wait, tell = os.pipe()
hear, say = os.pipe()
child = os.fork()
if child == 0:
    os.close(tell)
    os.write(say, b"held" if guard.is_held else b"free")
    os.read(wait, 1)
    os._exit(0)
os.close(wait)
print(os.read(hear, 4).decode())
try:
    FileGuard(sys.argv[1]).acquire()
except DatabaseInUseError:
    print("still owned")
guard.release()
other = FileGuard(sys.argv[1])
other.acquire()
print("owned again")
os.close(tell)
os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split("\n")[:3] == ["free", "still owned", "owned again"]


def test_a_lock_file_that_is_a_link_is_not_followed_for_what_it_leads_to_would_be_written_over(path):
    path.write_bytes(b"all that there is")
    lock_of(path).symlink_to(path)
    with pytest.raises(StoreError, match="cannot be locked"):
        FileGuard(path).acquire()
    assert path.read_bytes() == b"all that there is"


def test_a_lock_file_with_nonsense_in_it_names_nobody(path, guard):
    for nonsense in ("[" * 4000, "{}", "7", '{"pid": [], "host": 1, "since": "x"}'):
        lock_of(path).write_text(nonsense)
        assert look(path) == (True, None)
