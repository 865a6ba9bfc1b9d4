"""A database file that is mounted without its folder, as `docker run -v ./orders.db:/data/orders.db` does (P21, P23).

By its two names it has two locks and two logs. The mounts here are real, in a mount namespace that ends with its
process; what the guard makes of every kind of mount is in `test_guard.py` and `test_file_systems.py`.
"""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

ENGINE = """
import asyncio, sys
from pylon_workflows import WorkflowDefinition, WorkflowEngine
from pylon_workflows.errors import StoreError

async def main():
    engine = WorkflowEngine(runner=None, database=sys.argv[1])
    engine.register(WorkflowDefinition("order"))
    try:
        async with engine:
            await engine.start("order")
            print(engine.role, len(await engine.list()))
    except StoreError as refusal:
        print(refusal)

asyncio.run(main())
"""
REFUSAL = "is mounted by itself, without its folder"

pytestmark = pytest.mark.slow


def run(mounts, *arguments):
    """Python, run where each of these files or folders is mounted at the other."""
    script = "".join(f"{shlex.join(['mount', '--bind', *map(str, mount)])} && " for mount in mounts)
    namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{script}exec "$@"', "sh"]
    command = [*namespace, sys.executable, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module", autouse=True)
def _may_mount(tmp_path_factory):
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a file can only be mounted by root, on Linux; test_guard.py proves the same on any")
    folder = tmp_path_factory.mktemp("mounts")
    tried = run([(folder, folder)], "-c", "")
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")


@pytest.fixture
def host(tmp_path):
    """The file's own folder, with a file that an engine has begun and one instance in it."""
    folder = tmp_path / "the host's own"
    folder.mkdir()
    done = run([], "-c", ENGINE, folder / "orders.db")
    assert done.stdout == "owner 1\n", done.stderr
    return folder


@pytest.fixture
def container(tmp_path):
    """Where it is mounted."""
    folder = tmp_path / "a container's"
    folder.mkdir()
    (folder / "orders.db").touch()
    return folder


def contents(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir()}


@pytest.mark.parametrize("is_linked", [False, True])
def test_an_engine_refuses_a_file_that_is_mounted_without_its_folder_and_makes_nothing(host, container, is_linked):
    name = container / "orders.db"
    if is_linked:
        name = container.parent / "link.db"
        name.symlink_to(container / "orders.db")
    before = contents(host)
    done = run([(host / "orders.db", container / "orders.db")], "-c", ENGINE, name)
    assert f"{name} {REFUSAL}" in done.stdout, done.stderr
    assert contents(host) == before
    assert contents(container) == {"orders.db": b""}


def test_a_file_that_is_mounted_over_itself_or_twice_is_refused_too(host, container):
    twice = [(host / "orders.db", container / "orders.db"), (host / "orders.db", container / "orders.db")]
    assert REFUSAL in run(twice, "-c", ENGINE, container / "orders.db").stdout
    file = host / "orders.db"
    assert REFUSAL in run([(file, file)], "-c", ENGINE, file).stdout


def test_with_its_folder_mounted_it_is_the_same_database(host, container):
    done = run([(host, container)], "-c", ENGINE, container / "orders.db")
    assert done.stdout == "owner 2\n", done.stderr


def test_a_mount_that_hides_under_another_one_is_none(host, container):
    hidden = [(host / "orders.db", container / "orders.db"), (host, container)]
    assert run(hidden, "-c", ENGINE, container / "orders.db").stdout == "owner 2\n"


def test_doctor_says_that_the_file_is_mounted_without_its_folder(host, container):
    mounts = [(host / "orders.db", container / "orders.db")]
    done = run(mounts, "-m", "pylon_workflows", "doctor", container / "orders.db")
    (line,) = [line for line in done.stdout.splitlines() if "file system" in line]
    assert (done.returncode, line.split()[0]) == (1, "ACT"), done.stderr
    assert "the file is mounted by itself, without its folder" in line
    assert "mount its folder" in line


def test_no_backup_is_made_by_the_name_that_lacks_the_log_but_one_may_be_restored_from_such_a_file(host, container):
    original, file, copy = host / "orders.db", container / "orders.db", host.parent / "copy.db"
    done = run([(original, file)], "-m", "pylon_workflows", "backup", file, copy)
    assert (done.returncode, copy.exists()) == (1, False)
    assert REFUSAL in done.stderr
    assert run([], "-m", "pylon_workflows", "backup", original, copy).returncode == 0
    done = run([(copy, file)], "-m", "pylon_workflows", "restore", file, original)
    assert done.stdout.startswith("restored 1 instance"), done.stderr


def test_a_backup_is_not_restored_onto_a_mounted_file_nor_another_written_over_it(host, container):
    original, file, copy = host / "orders.db", container / "orders.db", host.parent / "copy.db"
    assert run([], "-m", "pylon_workflows", "backup", original, copy).returncode == 0
    before = contents(host)
    done = run([(original, file)], "-m", "pylon_workflows", "restore", copy, file)
    assert (done.returncode, REFUSAL in done.stderr) == (1, True)
    done = run([(original, file)], "-m", "pylon_workflows", "backup", "--force", copy, file)
    assert (done.returncode, "cannot be written" in done.stderr) == (1, True)
    assert contents(host) == before
    assert contents(container) == {"orders.db": b""}
