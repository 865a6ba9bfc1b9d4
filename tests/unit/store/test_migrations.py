"""A file is looked at before it is touched: what is not ours, or damaged, or newer, stays as it is."""

import sqlite3
import struct
from contextlib import closing

import pytest

from pylon_workflows.errors import CorruptDatabaseError, NewerDatabaseError, StorageFullError, StoreError
from pylon_workflows.store import migrations
from pylon_workflows.store.migrations import APPLICATION_ID, check, migrate
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import new_instance

SCRIPTS = ("CREATE TABLE first (a);", "CREATE TABLE second (b); INSERT INTO second SELECT a FROM first;")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workflows.db"


def statements(path, *lines):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(line).fetchall() for line in lines]


def migrated(path, version, scripts):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, path, version, scripts)


async def refused(path, kind, words):
    before = path.read_bytes()
    store = SqliteStore(path)
    try:
        with pytest.raises(kind, match=words):
            await store.open()
    finally:
        await store.close()  # one that opened all the same would keep the whole run from ending
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_a_new_file_says_whose_it_is_and_which_version(path):
    store = SqliteStore(path)
    await store.open()
    await store.close()
    assert statements(path, "PRAGMA application_id", "PRAGMA user_version", "PRAGMA journal_mode") == [
        [(APPLICATION_ID,)],
        [(len(migrations.migrations()),)],
        [("wal",)],
    ]


async def test_an_empty_file_is_a_new_one(path):
    path.touch()
    store = SqliteStore(path)
    await store.open()
    assert await store.create(new_instance()) is None
    await store.close()


@pytest.mark.parametrize("log", [None, b""])
@pytest.mark.parametrize("page", [bytes(4096), bytes(1000), b"SQLite form", b"SQLite format 3\0" + bytes(4080)])
async def test_a_file_whose_making_was_cut_off_by_a_power_cut_is_made_anew(path, page, log):
    path.write_bytes(page)
    if log is not None:
        path.with_name("workflows.db-wal").write_bytes(log)
    journal_of_no_page = struct.pack(">8sIIIII", bytes.fromhex("d9d505f920a163d7"), 0, 1, 0, 512, 4096)
    path.with_name("workflows.db-journal").write_bytes(journal_of_no_page.ljust(512, b"\0"))
    store = SqliteStore(path)
    await store.open()
    assert await store.create(new_instance()) is None
    await store.close()
    assert statements(path, "PRAGMA integrity_check") == [[("ok",)]]
    assert not path.with_name("workflows.db-journal").exists()


async def test_damage_is_refused_whatever_journal_lies_beside_it(path):
    path.write_bytes(bytes(4096))
    journal = path.with_name("workflows.db-journal")
    journal.write_bytes(struct.pack(">8sIIIII", bytes.fromhex("d9d505f920a163d7"), 0, 1, 7, 512, 4096).ljust(512))
    with pytest.raises(CorruptDatabaseError, match="no SQLite database"):
        await SqliteStore(path).open()
    assert path.read_bytes() == bytes(4096)


async def test_a_newer_file_is_refused_and_left_alone(path):
    store = SqliteStore(path)
    await store.open()
    await store.close()
    statements(path, "PRAGMA user_version = 99", "PRAGMA wal_checkpoint(TRUNCATE)")
    await refused(path, NewerDatabaseError, "written by a newer release .* upgrade pylon-workflows, or restore")


async def test_what_is_no_database_is_refused_and_left_alone(path):
    path.write_bytes(b"to do: buy milk\n" * 500)
    await refused(path, CorruptDatabaseError, "no SQLite database.*restore a backup")


async def test_a_short_file_is_refused_and_left_alone(path):
    path.write_bytes(b"SQLite")
    await refused(path, CorruptDatabaseError, "no SQLite database.*restore a backup")


async def test_a_damaged_schema_is_refused_and_left_alone(path):
    store = SqliteStore(path)
    await store.open()
    await store.close()
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = b"\xff" * 3996
    path.write_bytes(damaged)
    await refused(path, CorruptDatabaseError, "damaged.*restore a backup")


async def test_a_file_whose_end_is_missing_is_refused_and_left_alone(path):
    store = SqliteStore(path)
    await store.open()
    await store.close()
    path.write_bytes(path.read_bytes()[:-4096])
    await refused(path, CorruptDatabaseError, "its end is missing.*restore a backup")


async def test_another_programs_database_is_refused_and_left_alone(path):
    statements(path, "CREATE TABLE users (name)")
    await refused(path, StoreError, "another program")


async def test_a_folder_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be read"):
        await SqliteStore(tmp_path).open()


async def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be used"):
        await SqliteStore(tmp_path / "missing" / "workflows.db").open()


async def test_an_old_sqlite_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StoreError, match=r"too old: 3\.35\.0 or later is needed"):
        await SqliteStore(path).open()
    assert not path.exists()


def test_an_older_file_is_copied_and_brought_up_to_date(path):
    migrated(path, 0, SCRIPTS[:1])
    statements(path, "INSERT INTO first VALUES (7)")
    assert check(path, SCRIPTS) == 1
    migrated(path, 1, SCRIPTS)
    assert check(path, SCRIPTS) == 2
    assert statements(path, "SELECT b FROM second") == [[(7,)]]
    copy = path.with_name("workflows.db.schema-1.bak")
    assert check(copy, SCRIPTS) == 1
    assert statements(copy, "SELECT a FROM first") == [[(7,)]]


def test_the_copy_of_an_older_file_has_what_is_only_in_its_log(path):
    migrated(path, 0, SCRIPTS[:1])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("INSERT INTO first VALUES (8)")
        assert path.with_name("workflows.db-wal").stat().st_size > 0
        migrate(connection, path, 1, SCRIPTS)
    assert statements(path.with_name("workflows.db.schema-1.bak"), "SELECT a FROM first") == [[(8,)]]


def test_an_older_file_that_is_damaged_or_cannot_be_copied_is_left_alone(path, monkeypatch):
    migrated(path, 0, SCRIPTS[:1])
    statements(path, *(f"INSERT INTO first VALUES (zeroblob({number + 3000}))" for number in range(100)))
    sound = path.read_bytes()
    monkeypatch.setattr(migrations, "put_in_place", lambda *_, **__: no_room())

    def no_room():
        raise StorageFullError("no room")

    with pytest.raises(StorageFullError):
        migrated(path, 1, SCRIPTS)
    assert path.read_bytes() == sound
    path.write_bytes(sound[: 40 * 4096] + b"\xff" * 4096 + sound[41 * 4096 :])
    damaged = path.read_bytes()
    with pytest.raises(CorruptDatabaseError, match="the database is damaged"):
        migrated(path, 1, SCRIPTS)
    assert path.read_bytes() == damaged
    assert list(path.parent.iterdir()) == [path]


def test_an_up_to_date_file_is_not_touched(path):
    migrated(path, 0, SCRIPTS)
    before = path.read_bytes()
    migrated(path, 2, SCRIPTS)
    assert path.read_bytes() == before


@pytest.mark.parametrize("broken", ["CREATE TABLE second (b); SELECT nonsense;", "COMMIT; SELECT nonsense;"])
def test_a_migration_is_all_or_nothing(path, broken):
    migrated(path, 0, SCRIPTS[:1])
    with pytest.raises(sqlite3.OperationalError):
        migrated(path, 1, [*SCRIPTS[:1], broken])
    assert check(path, SCRIPTS) == 1
    assert statements(path, "SELECT count(*) FROM sqlite_master") == [[(1,)]]


def test_of_several_migrations_all_are_made_or_none(path):
    migrated(path, 0, SCRIPTS[:1])
    statements(path, "INSERT INTO first VALUES (7)")
    with pytest.raises(sqlite3.OperationalError, match="nonsense"):
        migrated(path, 1, [*SCRIPTS, "CREATE TABLE third (c); SELECT nonsense;"])
    assert check(path, SCRIPTS) == 1
    assert statements(path, "SELECT name FROM sqlite_master") == [[("first",)]]
    migrated(path, 1, SCRIPTS)
    assert statements(path, "SELECT b FROM second") == [[(7,)]]
