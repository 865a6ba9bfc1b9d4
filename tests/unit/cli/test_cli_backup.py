"""`backup` and `restore` as they are typed."""

import asyncio

import pytest
from click.testing import CliRunner

from pylon_workflows.cli import main
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import new_instance


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def path(tmp_path):
    async def fill():
        store = SqliteStore(path)
        await store.open()
        await store.create(new_instance())
        await store.close()

    path = tmp_path / "orders.db"
    asyncio.run(fill())
    return path


def test_a_file_is_backed_up_and_restored(path, tmp_path):
    to = tmp_path / "backup.db"
    done = run("backup", path, to)
    assert (done.exit_code, done.output) == (0, f"backed up 1 instance, {to.stat().st_size:,} bytes: {to}\n")
    done = run("restore", to, path)
    assert done.exit_code == 0
    first, second = done.output.splitlines()
    assert first == f"restored 1 instance, {path.stat().st_size:,} bytes: {path}"
    assert second.startswith(f"the former file is {path}.before-restore-")


def test_a_backup_that_is_there_needs_force(path, tmp_path):
    to = tmp_path / "backup.db"
    run("backup", path, to)
    refused = run("backup", path, to)
    assert (refused.exit_code, refused.output.count("--force")) == (1, 1)
    assert run("backup", path, to, "--force").exit_code == 0


def test_a_file_that_an_engine_owns_is_backed_up_and_not_restored(path, tmp_path):
    to = tmp_path / "backup.db"
    guard = FileGuard(path)
    guard.acquire()
    assert run("backup", path, to).exit_code == 0
    before = path.read_bytes()
    refused = run("restore", to, path)
    guard.release()
    assert refused.exit_code == 1
    assert "is in use by" in refused.output
    assert path.read_bytes() == before
    assert not [each for each in tmp_path.iterdir() if "before-restore" in each.name]


def test_after_a_refusal_the_file_is_free(path, tmp_path):
    assert "is not there" in run("restore", tmp_path / "none.db", path).output
    guard = FileGuard(path)
    guard.acquire()
    guard.release()


def test_a_file_that_is_mounted_without_its_folder_is_neither_backed_up_nor_restored(path, tmp_path, monkeypatch):
    to, told = tmp_path / "backup.db", tmp_path / "mountinfo"
    assert run("backup", path, to).exit_code == 0
    told.write_text(f"27 1 254:0 / / rw - ext4 x rw\n40 27 254:0 /orders.db {path.resolve()} rw - ext4 x rw\n")
    monkeypatch.setattr("pylon_workflows.ownership.file_systems._MOUNTS", told)
    before = path.read_bytes()
    for command in (("backup", path, tmp_path / "second.db"), ("restore", to, path)):
        refused = run(*command)
        assert refused.exit_code == 1
        assert "orders.db is mounted by itself, without its folder" in refused.output
    assert path.read_bytes() == before
    assert not (tmp_path / "second.db").exists()
