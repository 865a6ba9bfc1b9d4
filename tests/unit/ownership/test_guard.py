"""One owner a database file: among processes, within a process, and after the owner's death."""

import errno
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from pylon_workflows.errors import DatabaseInUseError, StoreError
from pylon_workflows.ownership.guard import FileGuard, _release_in_child

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


def test_a_second_owner_in_the_process_is_refused_with_the_owners_name(path, guard):
    with pytest.raises(DatabaseInUseError) as refusal:
        FileGuard(path).acquire()
    message = str(refusal.value)
    assert f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%Y-}" in message
    assert "stop it, or talk to it over HTTP" in message


def test_one_name_after_another_leads_to_the_same_lock(path, guard, tmp_path):
    other_name = tmp_path / "link.db"
    path.touch()
    other_name.symlink_to(path)
    with pytest.raises(DatabaseInUseError):
        FileGuard(other_name).acquire()


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
    with pytest.raises(StoreError, match="cannot be locked: No such file"):
        FileGuard(tmp_path / "missing" / "workflows.db").acquire()


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
        with pytest.raises(DatabaseInUseError, match=f"process {owner.pid} on"):
            FileGuard(path).acquire()
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
