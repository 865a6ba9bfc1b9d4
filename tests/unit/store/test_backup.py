"""A backup is one consistent file with everything acknowledged before it began (P27), and comes back whole."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from pylon_workflows.core.evolution import replay
from pylon_workflows.errors import CorruptDatabaseError, NewerDatabaseError, StorageFullError, StoreError
from pylon_workflows.store import backup as module
from pylon_workflows.store import file_copies, migrations
from pylon_workflows.store.backup import back_up, restore
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import after, new_instance, succeeded

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workflows.db"


@pytest.fixture
def to(tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "ünïcode ?#%.db"


async def a_store(path, *ids):
    store = SqliteStore(path, synchronous="normal")
    await store.open()
    for each in ids:
        await store.create(new_instance(each))
    return store


async def a_file(path, *ids):
    await (await a_store(path, *ids)).close()


async def ids_in(path):
    store = SqliteStore(path)
    await store.open()
    try:
        return [each.id for each in reversed(await store.list(limit=1000))]
    finally:
        await store.close()


def killed(path, *ids):
    """A file with these instances as a killed engine leaves it, all of it in the log."""
    program = (
        "import asyncio, os, sys\n"
        "from pylon_workflows.store.sqlite import SqliteStore\n"
        "from tests.contracts.store_contract import new_instance\n"
        "async def main():\n"
        "    store = SqliteStore(sys.argv[1])\n"
        "    await store.open()\n"
        "    for each in sys.argv[2:]:\n"
        "        await store.create(new_instance(each))\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path), *ids], check=True, timeout=60, cwd=ROOT)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0


def overwrite(path, page):
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xff" * 4096)


def names(folder):
    return sorted(each.name for each in folder.iterdir())


async def test_a_backup_of_a_running_engine_has_all_that_was_acknowledged_before_it_began(path, to, monkeypatch):
    """Writers go on all the time, and each copied page may meet a change."""
    monkeypatch.setattr(file_copies, "_PAGES_A_STEP", 1)
    store = await a_store(path)
    acknowledged = {}

    async def write(name):
        instance = new_instance(name)
        await store.create(instance)
        while True:
            step = succeeded(instance.current_step, b'"' + b"x" * 500 + b'"')
            instance = after(instance, step)
            await store.append(instance, [step])
            acknowledged[name] = instance.revision

    writers = [asyncio.create_task(write(f"wf_{number}")) for number in range(20)]
    while len(acknowledged) < 20:  # noqa: ASYNC110 -- the writers set no event
        await asyncio.sleep(0)
    rounds_with_writes = 0
    while rounds_with_writes < 3:  # on a busy machine a copy may be ready before anything is written
        before, copy = dict(acknowledged), to.with_name(f"{uuid4()}.db")
        copied = await asyncio.to_thread(back_up, path, copy)
        assert copied.instances == 20
        assert copied.size_bytes == copy.stat().st_size
        rounds_with_writes += any(acknowledged[name] > before[name] for name in before)
        contents = await a_store(copy)
        histories = await contents.histories(list(before))
        for name, revision in before.items():
            found = replay(histories[name])
            assert found.revision >= revision
            assert (await contents.summary(name)).revision == found.revision
        await contents.close()
    for writer in writers:
        writer.cancel()
    await asyncio.gather(*writers, return_exceptions=True)
    await store.close()


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_backup_without_an_engine_is_as_complete(path, to, is_killed):
    if is_killed:
        killed(path, "wf_1", "wf_2")
    else:
        await a_file(path, "wf_1", "wf_2")
    assert back_up(path, to).instances == 2
    assert names(to.parent) == [to.name]
    assert await ids_in(to) == ["wf_1", "wf_2"]


async def test_a_backup_holds_up_no_writer_and_does_not_begin_again_for_one(path, to):
    store = await a_store(path, *(f"wf_{number}" for number in range(300)))
    loop = asyncio.get_running_loop()
    written = []

    class Source(sqlite3.Connection):
        def backup(self, target, *, pages):
            def write(*_):
                written.append(f"new_{len(written)}")
                asyncio.run_coroutine_threadsafe(store.create(new_instance(written[-1])), loop).result(timeout=30)

            super().backup(target, pages=5, progress=write)

    def copy():
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, factory=Source)) as source,
            file_copies.complete_copy(source, to) as copied,
        ):
            file_copies.put_in_place(copied, to, is_replacing=False)

    await asyncio.to_thread(copy)
    await store.close()
    assert 5 < len(written) <= to.stat().st_size / 4096 / 5 + 1
    assert len(await ids_in(to)) == 300


async def test_a_backup_that_is_there_is_replaced_only_when_that_is_asked_for(path, to):
    await a_file(path, "wf_1")
    to.write_text("precious")
    with pytest.raises(StoreError, match="is there already: name another file, or replace it with --force"):
        back_up(path, to)
    assert to.read_text() == "precious"
    back_up(path, to, is_replacing=True)
    assert await ids_in(to) == ["wf_1"]


async def test_a_backup_that_came_in_between_is_not_replaced(path, to, monkeypatch):
    await a_file(path, "wf_1")
    facts = module._facts
    monkeypatch.setattr(module, "_facts", lambda *args: [facts(*args), to.write_text("precious")][0])
    with pytest.raises(StoreError, match="is there already"):
        back_up(path, to)
    assert to.read_text() == "precious"
    assert names(to.parent) == [to.name]


@pytest.mark.parametrize("is_replacing", [False, True])
async def test_a_file_system_without_links_is_good_enough(path, to, monkeypatch, is_replacing):
    def refuse(*_):
        raise PermissionError("no links here")

    await a_file(path, "wf_1")
    monkeypatch.setattr(os, "link", refuse)
    back_up(path, to, is_replacing=is_replacing)
    await a_file(path.with_name("other.db"), "wf_2")
    assert restore(to, path.with_name("other.db")).kept is not None
    assert await ids_in(path.with_name("other.db")) == ["wf_1"]


async def test_the_copy_is_on_the_disk_before_it_has_its_name(path, to, monkeypatch):
    seen = []
    sync = file_copies.sync
    monkeypatch.setattr(file_copies, "sync", lambda synced: [seen.append((synced, to.exists())), sync(synced)])
    await a_file(path, "wf_1")
    back_up(path, to)
    (copy, was_there), (folder, is_there) = seen
    assert copy.name.endswith(".partial")
    assert (was_there, folder, is_there) == (False, to.parent, True)


@pytest.mark.parametrize("companion", ["-wal", "-journal", "-shm"])
async def test_a_backup_does_not_go_beside_what_belongs_to_another_database(path, to, companion):
    await a_file(path, "wf_1")
    beside = to.with_name(f"{to.name}{companion}")
    beside.touch()
    with pytest.raises(StoreError, match="is in use, or was not closed cleanly"):
        back_up(path, to)
    assert names(to.parent) == [beside.name]


async def test_what_cannot_be_backed_up_says_why_and_leaves_nothing(path, to, tmp_path):
    with pytest.raises(StoreError, match="is not there"):
        back_up(path, to)
    path.touch()
    with pytest.raises(StoreError, match="is empty: no engine has used it yet"):
        back_up(path, to)
    path.write_bytes(b"to do: buy milk\n" * 500)
    with pytest.raises(CorruptDatabaseError, match="restore a backup"):
        back_up(path, to)
    path.unlink()
    await a_file(path, "wf_1")
    with pytest.raises(StoreError, match="is the database itself"):
        back_up(path, path, is_replacing=True)
    with pytest.raises(StoreError, match="is a folder"):
        back_up(path, to.parent, is_replacing=True)
    with pytest.raises(StoreError, match="cannot be written: No such file or directory"):
        back_up(path, tmp_path / "missing" / "backup.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerDatabaseError):
        back_up(path, to)
    assert names(to.parent) == []


async def test_a_damaged_database_makes_no_backup(path, to):
    await a_file(path, *(f"wf_{number}" for number in range(300)))
    overwrite(path, 20)
    with pytest.raises(CorruptDatabaseError, match="damaged"):
        back_up(path, to)
    assert names(to.parent) == []


async def test_a_copy_without_room_leaves_nothing_and_says_so(path, to, monkeypatch):
    class Small(sqlite3.Connection):
        def execute(self, statement, *parameters):
            if statement == "PRAGMA journal_mode = OFF":
                super().execute("PRAGMA max_page_count = 4")
            return super().execute(statement, *parameters)

    await a_file(path, *(f"wf_{number}" for number in range(300)))
    connect = sqlite3.connect

    def small(database, **options):
        return connect(database, **options, **({"factory": Small} if str(database).endswith(".partial") else {}))

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(StorageFullError, match="the disk is full"):
        back_up(path, to)
    assert names(to.parent) == []


async def test_a_backup_may_be_read_by_whom_the_database_may(path, to):
    await a_file(path, "wf_1")
    path.chmod(0o640)
    back_up(path, to)
    assert to.stat().st_mode & 0o777 == 0o640


async def test_a_restored_file_has_what_the_backup_has_and_the_former_one_is_kept(path, to):
    await a_file(path, "old")
    back_up(path, to)
    await (await a_store(path, "since")).close()
    path.chmod(0o600)
    restored = restore(to, path)
    assert (restored.instances, restored.path) == (1, path)
    assert await ids_in(path) == ["old"]
    assert restored.kept.name.startswith("workflows.db.before-restore-20")
    assert await ids_in(restored.kept) == ["old", "since"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_nlink == 1
    assert await ids_in(to) == ["old"]


async def test_the_former_file_has_its_new_name_on_the_disk_before_it_loses_the_old_one(path, to, monkeypatch):
    """Else a power cut in that moment may leave the backup alone, with the former file under no name."""
    await a_file(path, "old")
    back_up(path, to)
    synced, sync = [], module.sync

    def noted(what):
        (kept,) = path.parent.glob(f"{path.name}.before-restore-*")
        synced.append((what, kept.samefile(path)))
        sync(what)

    monkeypatch.setattr(module, "sync", noted)
    restored = restore(to, path)
    assert synced == [(path.parent, True)]
    assert not restored.kept.samefile(path)


@pytest.mark.parametrize("is_log_left", [False, True])
async def test_a_backup_is_restored_where_there_is_no_file_and_what_a_lost_one_left_does_not_spoil_it(
    path, to, is_log_left
):
    killed(path, "old")
    back_up(path, to)
    killed(path, "since")
    path.unlink()
    if not is_log_left:
        path.with_name("workflows.db-wal").unlink()
        path.with_name("workflows.db-shm").unlink()
    assert restore(to, path).kept is None
    assert await ids_in(path) == ["old"]
    assert len([name for name in names(path.parent) if name.endswith("Z-wal")]) == is_log_left


async def test_what_a_killed_engine_left_in_its_log_neither_spoils_the_restored_file_nor_is_lost(path, to):
    killed(path, "old")
    back_up(path, to)
    killed(path, "since")
    restored = restore(to, path)
    assert await ids_in(path) == ["old"]
    assert await ids_in(restored.kept) == ["old", "since"]


async def test_a_damaged_file_is_kept_as_it_is_with_its_log(path, to):
    killed(path, *(f"wf_{number}" for number in range(300)))
    back_up(path, to)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    killed(path, "since")
    overwrite(path, 20)
    log = path.with_name("workflows.db-wal")
    before = path.read_bytes(), log.read_bytes()
    kept = restore(to, path).kept
    assert (kept.read_bytes(), kept.with_name(f"{kept.name}-wal").read_bytes()) == before
    assert not log.exists()
    assert len(await ids_in(path)) == 300


@pytest.mark.parametrize("contents", [b"to do: buy milk\n" * 500, b"", b"SQLite"])
async def test_what_is_no_database_at_all_is_replaced_and_kept(path, to, contents):
    await a_file(path, "old")
    back_up(path, to)
    path.write_bytes(contents)
    assert restore(to, path).kept.read_bytes() == contents
    assert await ids_in(path) == ["old"]


async def test_two_restores_within_a_second_keep_two_files(path, to):
    await a_file(path, "old")
    back_up(path, to)
    kept = {restore(to, path).kept for _ in range(5)}
    assert len(kept) == 5
    assert all(each.exists() for each in kept)


async def test_another_programs_database_is_not_replaced(path, to):
    await a_file(path, "old")
    back_up(path, to)
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE users (name)")
    before = other.read_bytes(), names(path.parent)
    with pytest.raises(StoreError, match="another program"):
        restore(to, other)
    assert (other.read_bytes(), names(path.parent)) == before


async def test_a_backup_that_cannot_be_restored_changes_nothing(path, to):
    await a_file(path, *(f"wf_{number}" for number in range(300)))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is not there"):
        restore(to, path)
    to.write_bytes(b"to do: buy milk\n" * 500)
    with pytest.raises(CorruptDatabaseError):
        restore(to, path)
    shutil.copy(path, to)
    overwrite(to, 20)
    with pytest.raises(CorruptDatabaseError, match="damaged"):
        restore(to, path)
    shutil.copy(path, to)
    with closing(sqlite3.connect(to, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerDatabaseError):
        restore(to, path)
    with pytest.raises(StoreError, match="is the database itself"):
        restore(path, path)
    assert path.read_bytes() == before
    assert names(path.parent) == ["backups", "workflows.db"]


async def test_a_cut_off_restore_leaves_no_name_without_a_file(path, to, monkeypatch):
    """A supervisor that starts the engine in that moment would have it make an empty database, were there none."""
    await a_file(path, "old")
    back_up(path, to)

    def cut_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "put_in_place", cut_off)
    with pytest.raises(KeyboardInterrupt):
        restore(to, path)
    assert path.exists()
    assert path.stat().st_nlink == 2
    assert not [name for name in names(path.parent) if name.endswith(".partial")]


async def test_a_copy_that_still_has_its_log_is_restored_with_it(path, to):
    killed(to, "wf_1", "wf_2")
    restore(to, path)
    assert await ids_in(path) == ["wf_1", "wf_2"]


async def test_a_backup_of_an_older_release_is_restored_and_brought_up_to_date(path, to):
    with closing(sqlite3.connect(to, isolation_level=None)) as connection:
        migrations.migrate(connection, to, 0, migrations.migrations()[:1])
    restore(to, path)
    assert await ids_in(path) == []
    assert path.with_name("workflows.db.schema-1.bak").exists()


async def test_a_link_leads_to_the_file_that_is_replaced(path, to):
    await a_file(path, "old")
    back_up(path, to)
    link = path.with_name("link.db")
    link.symlink_to(path)
    restored = restore(to, link)
    assert link.is_symlink()
    assert restored.path == path
    assert await ids_in(link) == ["old"]


async def test_a_restored_file_is_taken_by_the_next_owner(path, to):
    await a_file(path, "old")
    back_up(path, to)
    restore(to, path)
    store = await a_store(path)
    assert await store.create(new_instance("new")) is None
    store.check()
    await store.close()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal", ".lock", ".sock"])
async def test_what_belongs_to_the_database_is_not_replaced_by_a_backup(path, suffix):
    store = await a_store(path, "a")
    mine = path.with_name(f"{path.name}{suffix}")
    before = mine.read_bytes() if mine.exists() else None
    with pytest.raises(StoreError, match="belongs to the database"):
        back_up(path, mine, is_replacing=True)
    assert (mine.read_bytes() if mine.exists() else None) == before
    await store.close()
