"""What doctor says about files in every condition, and that it changes none of them."""

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from pylon_workflows import WorkflowDefinition, WorkflowEngine
from pylon_workflows.cli import diagnosis
from pylon_workflows.cli.diagnosis import doctor
from pylon_workflows.core.evolution import evolve
from pylon_workflows.core.transitions import InstanceCancelled
from pylon_workflows.doctor import Verdict, examine, surroundings
from pylon_workflows.doctor.surroundings import has_wal_reset_fault
from pylon_workflows.notices import NOTICED, Subscription
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.store import migrations
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.store.token_rows import save_token, token_row
from pylon_workflows.tokens import new_token
from runner_protocol.messages import Complete, Diverged
from tests.contracts.published_store_contract import event, key_of
from tests.contracts.store_contract import new_instance

OWNER = """
import asyncio, sys
from pylon_workflows import WorkflowDefinition, WorkflowEngine

async def main():
    engine = WorkflowEngine(runner=None, database=sys.argv[1])
    engine.register(WorkflowDefinition("order"))
    async with engine:
        await engine.start("order")
        print("owner", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path):
    """Of no file yet, in a folder of its own that others cannot look into."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder / "orders.db"


@pytest.fixture
async def database(path):
    """A file with one instance of each of three statuses, left by its engine, and readable by its user alone."""
    engine = WorkflowEngine(runner=None, database=path)
    engine.register(WorkflowDefinition("order"))
    async with engine:
        for name in ("pending", "blocked", "completed"):
            await engine.start("order", id=name)
        await engine.apply("blocked", Diverged(position=0, expected="charge", got="mail"))
        await engine.apply("completed", Complete())
    path.chmod(0o600)
    return path


@contextmanager
def an_engine_in_another_process(path):
    command = [sys.executable, "-c", OWNER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"owner\n"
        yield process
        process.stdin.close()


@contextmanager
def as_somebody_else():
    """Root may read everything, so that a test of what may not be read is another user for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def examined(path, file_system="ext4"):
    """The report, and a proof that looking has changed nothing."""
    before = state_of(path.parent)
    report = examine(path, file_system_of=lambda _: file_system)
    assert state_of(path.parent) == before
    return report


def state_of(folder):
    """All but `-shm`, in which SQLite's readers tell its writer what they are reading."""
    files = [each for each in folder.iterdir() if each.is_file()]
    return {
        each.name: None if each.name.endswith("-shm") else (each.stat().st_mtime_ns, each.read_bytes())
        for each in files
    }


def found(report, about):
    (finding,) = [finding for finding in report.findings if finding.about == about]
    return finding


def troubles(report):
    return [finding.about for finding in report.findings if finding.verdict is not Verdict.HEALTHY]


def test_a_healthy_file_needs_nothing(database):
    report = examined(database)
    assert report.verdict is Verdict.HEALTHY
    assert [finding.about for finding in report.findings] == [
        "owner",
        "sqlite",
        "file system",
        "permissions",
        "disk space",
        "size",
        "schema",
        "integrity",
        "instances",
        "definitions",
        "schedules",
        "tokens",
        "published events",
        "outbox",
    ]
    assert found(report, "integrity").text == "integrity_check: ok"
    known = len(migrations.migrations())
    assert found(report, "schema").facts == {"version": known, "known": known}
    assert found(report, "size").facts == {"bytes": database.stat().st_size, "wal_bytes": 0}


def test_instances_are_counted_by_status_and_blocked_ones_come_with_advice(database):
    instances = found(examined(database), "instances")
    assert instances.facts == {"blocked": 1, "completed": 1, "pending": 1}
    assert instances.text == "3: 1 blocked, 1 completed, 1 pending"
    assert "list --status blocked" in instances.advice


def test_tokens_are_counted_and_one_that_cannot_be_read_needs_action(database):
    assert found(examined(database), "tokens").text.startswith("none: ")
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    made = [new_token(["read"], now=long_ago, expires_in=expires_in)[0] for expires_in in (None, timedelta(days=1))]
    with closing(sqlite3.connect(database)) as connection:
        save_token(connection, [token_row(token) for token in made])
        connection.commit()
    tokens = found(examined(database), "tokens")
    assert (tokens.text, tokens.verdict) == ("2, of which 1 have expired", Verdict.HEALTHY)
    assert tokens.facts["expired"] == [made[1].id]
    assert made[0].hash.hex() not in str(tokens)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE tokens SET hash = 'x' WHERE id = ?", (made[0].id,))
        connection.commit()
    tokens = found(examined(database), "tokens")
    assert (tokens.text, tokens.verdict) == (
        f"the token '{made[0].id}' cannot be read: its hash is damaged",
        Verdict.NEEDS_ACTION,
    )
    assert "token revoke" in tokens.advice


def test_a_file_that_no_engine_has_open_tells_its_last_owner(database):
    owner = found(examined(database), "owner")
    assert owner.text.startswith(f"no engine runs on it; the last one was process {os.getpid()} on ")
    assert owner.facts["is_owned"] is False


@pytest.mark.slow
def test_an_owned_file_tells_its_living_owner_and_its_log_and_the_engine_goes_on(path):
    with an_engine_in_another_process(path) as process:
        path.chmod(0o600)
        report = examined(path)
        owner = found(report, "owner")
        assert report.verdict is Verdict.HEALTHY
        assert owner.text.startswith(f"process {process.pid} on {socket.gethostname()}, since {datetime.now(UTC):%Y-}")
        assert owner.text.endswith("which is alive")
        assert (owner.facts["is_owned"], owner.facts["is_alive"]) == (True, True)
        assert found(report, "size").facts["wal_bytes"] > 0
        assert found(report, "instances").facts == {"pending": 1}
    assert process.returncode == 0


@pytest.mark.slow
def test_a_file_whose_engine_was_killed_is_healthy_and_its_log_is_not_to_be_deleted(path):
    with an_engine_in_another_process(path) as process:
        process.kill()
        process.wait()
    path.chmod(0o600)
    report = examined(path)
    assert report.verdict is Verdict.HEALTHY
    assert found(report, "owner").facts["is_owned"] is False
    assert found(report, "size").advice == "the next start moves it into the file: never delete it"
    assert found(report, "instances").facts == {"pending": 1}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('{"pid": 1, "host": "another-host", "since": "2026-01-01T00:00:00+00:00"}', "cannot be seen from here"),
        ("", "an engine that has not said who it is"),
    ],
)
def test_an_owner_in_a_container_or_one_that_has_only_begun_is_told_as_such(database, written, said):
    guard = FileGuard(database)
    guard.acquire()
    database.with_name("orders.db.lock").write_text(written)
    report = examined(database)
    guard.release()
    assert said in found(report, "owner").text
    assert report.verdict is Verdict.HEALTHY


def test_looking_does_not_take_the_file_from_anybody(database):
    examined(database)
    guard = FileGuard(database)
    guard.acquire()
    guard.check()
    guard.release()


def test_a_corrupt_file_is_found_out(database):
    content = bytearray(database.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    database.write_bytes(content)
    report = examined(database)
    assert report.verdict is Verdict.NEEDS_ACTION
    assert troubles(report) == ["integrity"]
    assert "the file is damaged" in found(report, "integrity").text
    assert found(report, "integrity").advice.startswith("stop the engine and restore a backup")


def test_a_file_without_its_end_is_found_out(database):
    with database.open("r+b") as file:
        file.truncate(4096)
    report = examined(database)
    assert (report.verdict, troubles(report)) == (Verdict.NEEDS_ACTION, ["integrity"])


def test_a_row_that_is_missing_from_an_index_is_found_out(database):
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'instances_by_name'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(database.read_bytes())
    content[(page - 1) * size + 3 : (page - 1) * size + 5] = (2).to_bytes(2, "big")  # cells in this page, of three
    database.write_bytes(content)
    report = examined(database)
    assert "instances_by_name" in found(report, "integrity").text
    assert report.verdict is Verdict.NEEDS_ACTION


def test_a_huge_file_is_checked_quickly(database, monkeypatch):
    monkeypatch.setattr("pylon_workflows.doctor.contents._HUGE", 0)
    assert found(examined(database), "integrity").text == "quick_check: ok"


def test_a_newer_file_needs_an_upgrade_and_is_still_checked(database):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 99")
    report = examined(database)
    assert (report.verdict, troubles(report)) == (Verdict.NEEDS_ACTION, ["schema"])
    assert "version 99, of a newer release" in found(report, "schema").text
    assert "upgrade pylon-workflows" in found(report, "schema").advice
    assert found(report, "integrity").verdict is Verdict.HEALTHY


def test_an_older_file_is_brought_up_to_date_by_the_next_start(path):
    scripts = migrations.migrations()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(scripts[0])
        connection.execute(f"PRAGMA application_id = {migrations.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    path.chmod(0o600)
    report = examined(path)
    assert found(report, "schema").facts == {"version": 1, "known": len(scripts)}
    assert found(report, "instances").text == "0"
    assert report.verdict is Verdict.HEALTHY


def test_an_empty_file_is_one_that_has_not_begun(path):
    path.touch(0o600)
    report = examined(path)
    assert report.verdict is Verdict.HEALTHY
    assert found(report, "schema").text.startswith("empty")


def test_a_missing_file_cannot_be_read(path):
    report = examined(path)
    assert report.verdict is Verdict.UNREADABLE
    assert f"{path} is not there" in found(report, "file").text


def test_a_folder_is_no_file(path):
    path.mkdir()
    assert examined(path).verdict is Verdict.UNREADABLE


def test_what_is_no_database_cannot_be_read(path):
    path.write_text("Dear diary,\n")
    report = examined(path)
    assert report.verdict is Verdict.UNREADABLE
    assert "is no SQLite database" in found(report, "file").text


def test_the_database_of_another_program_is_not_judged(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE their_own (a)")
    report = examined(path)
    assert report.verdict is Verdict.UNREADABLE
    assert "the database of another program" in found(report, "file").text


def test_a_file_that_another_program_keeps_locked_cannot_be_read(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE a (b)")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("INSERT INTO a VALUES (1)")
        report = examine(path, file_system_of=lambda _: "ext4")
    assert report.verdict is Verdict.UNREADABLE
    assert found(report, "file").advice == "see that nothing keeps it locked"


@pytest.mark.parametrize("of", ["file", "folder"])
def test_a_file_that_this_user_may_not_read_names_the_user_to_be(database, of):
    """In a folder of its own: the folders of pytest are closed to other users anyway."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders.db"
        database.rename(path)
        Path(folder).chmod(0o755)
        closed = path if of == "file" else path.parent
        closed.chmod(0o000)
        with as_somebody_else():
            report = examine(path, file_system_of=lambda _: "ext4")
        closed.chmod(0o700)
    assert report.verdict is Verdict.UNREADABLE
    assert "cannot be" in found(report, "file").text
    assert "run doctor as" in found(report, "file").advice


def test_a_lock_file_that_may_not_be_read_leaves_the_owner_untold(database, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pylon_workflows.ownership.lock_file.os.open", refuse)
    finding = surroundings.owner(database)
    assert "cannot be told" in finding.text
    assert finding.facts == {"is_owned": None}


@pytest.mark.parametrize(
    ("kind", "verdict", "says"),
    [
        ("nfs4", Verdict.NEEDS_ACTION, "a network file system"),
        ("fuse.sshfs", Verdict.NEEDS_ACTION, "a network file system"),
        ("tmpfs", Verdict.NEEDS_ACTION, "gone after a reboot"),
        ("overlay", Verdict.HEALTHY, "gone when the container is removed"),
        ("xfs", Verdict.HEALTHY, "xfs"),
        (None, Verdict.HEALTHY, "cannot be told"),
    ],
)
def test_the_file_system_decides_whether_the_file_may_stay_there(database, kind, verdict, says):
    report = examined(database, file_system=kind)
    assert report.verdict is verdict
    assert says in found(report, "file system").text


def test_a_file_that_is_mounted_without_its_folder_is_told(database, tmp_path, monkeypatch):
    told = tmp_path / "mountinfo"
    told.write_text(f"27 1 254:0 / / rw - ext4 x rw\n40 27 254:0 /orders.db {database.resolve()} rw - ext4 x rw\n")
    monkeypatch.setattr("pylon_workflows.ownership.file_systems._MOUNTS", told)
    finding = found(examined(database), "file system")
    assert (finding.verdict, finding.facts["is_mounted_alone"]) == (Verdict.NEEDS_ACTION, True)
    assert finding.text.startswith("the file is mounted by itself, without its folder")


@pytest.mark.parametrize(
    ("mode", "verdict", "says"),
    [
        (0o600, Verdict.HEALTHY, "-rw-------"),
        (0o644, Verdict.HEALTHY, "may read inputs and outputs"),
        (0o666, Verdict.NEEDS_ACTION, "everybody on this machine may write to it"),
    ],
)
def test_who_may_touch_the_file_is_told(database, mode, verdict, says):
    database.chmod(mode)
    report = examined(database)
    assert report.verdict is verdict
    assert says in found(report, "permissions").text


def test_a_file_that_its_own_user_may_not_write_is_told(database, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode == os.R_OK)
    finding = found(examined(database), "permissions")
    assert finding.verdict is Verdict.NEEDS_ACTION
    assert finding.advice.startswith(f"chmod u+w {database}")


def test_a_second_name_is_told(database):
    database.with_name("second.db").hardlink_to(database)
    finding = found(examined(database), "permissions")
    assert (finding.verdict, finding.facts["names"]) == (Verdict.NEEDS_ACTION, 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_log_that_another_user_has_made_is_told(database):
    log = database.with_name("orders.db-wal")
    log.touch()
    os.chown(log, 65534, 65534)
    finding = surroundings.permissions(database)
    assert finding.verdict is Verdict.NEEDS_ACTION
    assert finding.text.startswith("orders.db-wal belongs to ")
    assert finding.advice.startswith("chown root ")


def test_too_little_space_is_told_before_there_is_none(database):
    assert surroundings.space(database, free_bytes=1000).verdict is Verdict.NEEDS_ACTION
    assert surroundings.space(database, free_bytes=10**12).text == "931.3 GiB left"
    with database.open("r+b") as file:
        file.truncate(200 * 1024 * 1024)
    little = surroundings.space(database, free_bytes=100 * 1024 * 1024)
    assert (little.verdict, little.text) == (Verdict.HEALTHY, "100.0 MiB left, less than the file has")


def test_a_log_that_does_not_get_shorter_under_an_engine_is_told(database):
    with database.with_name("orders.db-wal").open("wb") as log:
        log.truncate(200 * 1024 * 1024)
    assert surroundings.sizes(database, is_owned=True).verdict is Verdict.NEEDS_ACTION
    assert surroundings.sizes(database, is_owned=False).verdict is Verdict.HEALTHY


@pytest.mark.parametrize(
    ("version", "has_fault"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_the_wal_reset_fault_is_known_by_the_version(version, has_fault):
    assert has_wal_reset_fault(version) is has_fault
    finding = surroundings.sqlite(version)
    assert finding.facts["has_wal_reset_fault"] is has_fault
    assert ("cannot bite here" in finding.text) is has_fault


def test_an_engine_that_begins_to_write_while_the_file_is_read_is_read_again(database, monkeypatch):
    from pylon_workflows.doctor import contents

    modes, read = [], contents._read

    def read_while_an_engine_starts(path, *, has_log, **options):
        modes.append(has_log)
        yield from read(path, has_log=False, **options)
        path.with_name("orders.db-wal").touch()

    monkeypatch.setattr(contents, "_read", read_while_an_engine_starts)
    assert [finding.about for finding in contents.contents(database)] == [
        "schema",
        "integrity",
        "instances",
        "definitions",
        "schedules",
        "tokens",
        "published events",
        "outbox",
    ]
    assert modes == [False, True]


@pytest.fixture
def run(monkeypatch):
    """The command; what the machine's own folder for temporary files is on does not count."""

    def examined(path, **options):
        return examine(path, file_system_of=lambda _: "ext4", **options)

    monkeypatch.setattr(diagnosis, "examine", examined)
    return lambda *arguments: CliRunner().invoke(doctor, [str(argument) for argument in arguments])


def test_the_command_prints_a_line_for_each_finding_and_the_verdict(database, run):
    done = run(database)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].split() == ["CHECK", "FOUND", "WHAT", "TO", "DO"]
    assert [line.split()[0] for line in lines[1:-1]] == ["ok"] * 14
    assert lines[-1] == f"{database}: healthy"


def test_the_command_exits_with_1_for_what_needs_action_and_2_for_what_cannot_be_read(database, run):
    database.chmod(0o666)
    done = run(database)
    assert (done.exit_code, done.output.count("ACT ")) == (1, 1)
    assert done.output.splitlines()[-1] == f"{database}: needs action"
    done = run(database.with_name("missing.db"))
    assert done.exit_code == 2
    assert done.output.splitlines()[-1].endswith("missing.db: cannot be read")


def test_the_command_prints_json_for_scripts(database, run):
    done = run(database, "--json")
    report = json.loads(done.output)
    assert (report["file"], report["verdict"]) == (str(database), "healthy")
    by_name = {finding["about"]: finding for finding in report["findings"]}
    assert by_name["integrity"] == {
        "about": "integrity",
        "needs_action": False,
        "text": "integrity_check: ok",
        "advice": "nothing to do",
        "facts": {"check": "integrity_check", "errors": []},
    }
    assert by_name["owner"]["facts"]["is_owned"] is False


def changed(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def histories(report):
    return [finding for finding in report.findings if finding.about in ("history", "histories")]


def test_rows_that_say_what_their_histories_do_are_told_in_a_line(database):
    (found,) = histories(examine(database, is_verifying=True))
    assert (found.text, found.verdict) == ("3 instances are what their histories add up to", Verdict.HEALTHY)
    assert histories(examine(database)) == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE instances SET status = 'running' WHERE id = 'blocked'",
            "blocked: status: 'running' in its row, 'blocked'",
        ),
        ("UPDATE instances SET due_at = 5 WHERE id = 'pending'", "pending: due_at: 5 in its row, None by its history"),
        ("UPDATE instances SET version = 'x' WHERE id = 'pending'", "pending: version: 'x' in its row"),
        ("UPDATE instances SET idempotency_key = 'x' WHERE id = 'pending'", "pending: idempotency_key: 'x'"),
        ("UPDATE instances SET current_step = 'x' WHERE id = 'pending'", "pending: current_step: 'x' in its row, 0"),
        ("INSERT INTO tags SELECT key, 'a', '1', created_at FROM instances WHERE id = 'pending'", "pending: tags:"),
        ("UPDATE instances SET revision = 9 WHERE id = 'pending'", "instance pending: 1 transitions, revision 9"),
        ("UPDATE history SET body = '{}' WHERE instance = 1", "instance pending, revision 1: unreadable"),
        ("DELETE FROM history WHERE instance = 1", "instance pending: it has no history"),
        ("DELETE FROM history WHERE instance = 2 AND revision = 1", "instance blocked: its history has no revision 1"),
        ("UPDATE history SET revision = revision + 7 WHERE instance = 3", "instance completed: its history has no"),
    ],
)
def test_a_row_that_says_something_else_than_its_history_is_named(database, statement, words):
    changed(database, statement)
    before = database.read_bytes()
    report = examine(database, is_verifying=True)
    named, about_all = histories(report)
    assert named.text.startswith(words)
    assert about_all.text == "1 of 3 instances are not what their histories add up to"
    assert (report.verdict, about_all.facts["wrong"]) == (Verdict.NEEDS_ACTION, 1)
    assert database.read_bytes() == before


def test_rows_of_no_instance_are_told(database):
    changed(
        database, "INSERT INTO history VALUES (99, 1, 'x', 0, '{}', NULL)", "INSERT INTO tags VALUES (99, 'a', 'b', 0)"
    )
    stray, about_all = histories(examine(database, is_verifying=True))
    assert (stray.text, about_all.facts["stray_rows"]) == ("2 rows belong to no instance", 2)


async def test_what_keeps_the_number_of_a_deleted_change_belongs_to_the_file(database):
    async with WorkflowEngine(runner=None, database=database) as engine:
        await engine.delete("completed")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM history WHERE instance = 0").fetchone() == (1,)
    (found,) = histories(examine(database, is_verifying=True))
    assert (found.text, found.verdict) == ("2 instances are what their histories add up to", Verdict.HEALTHY)


async def test_a_row_that_differs_is_written_anew_by_an_advance(database):
    changed(database, "UPDATE instances SET run = 7, version = 'x' WHERE id = 'completed'")
    engine = WorkflowEngine(runner=None, database=database)
    async with engine:
        assert (await engine.advance("completed")).value == "completed"
    assert len(histories(examine(database, is_verifying=True))) == 1


async def test_a_file_in_use_is_verified_beside_its_engine(database):
    engine = WorkflowEngine(runner=None, database=database)
    engine.register(WorkflowDefinition("order"))
    async with engine:
        for number in range(20):
            await engine.start("order", id=f"new{number}", tags={"n": str(number)}, delay="1h", parent_id="pending")
        command = [sys.executable, "-m", "pylon_workflows", "doctor", str(database), "--verify", "--json"]
        run = partial(subprocess.run, command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
        result = await asyncio.to_thread(run)
    found = [finding for finding in json.loads(result.stdout)["findings"] if finding["about"] == "histories"]
    assert [finding["facts"] for finding in found] == [{"instances": 23, "wrong": 0, "stray_rows": 0}]


def test_the_command_verifies_when_it_is_asked_to(database):
    changed(database, "UPDATE instances SET run = 7 WHERE id = 'pending'")
    result = CliRunner().invoke(doctor, [str(database), "--verify"])
    assert (result.exit_code, "pending: run: 7 in its row, 1 by its history" in result.output) == (1, True)
    assert CliRunner().invoke(doctor, [str(database)]).exit_code == 0


def test_published_events_are_counted_and_one_that_cannot_be_read_is_told(tmp_path):
    path = tmp_path / "orders.db"

    async def publish():
        store = SqliteStore(path)
        await store.open()
        keys = [await key_of(store, event(f"evt_{number}")) for number in range(4)]
        await store.published.claim(keys[0], new_instance(), [])
        await store.close()

    asyncio.run(publish())
    finding = found(examined(path), "published events")
    assert finding.text == "3 kept for whoever waits for them, 1 remembered by their ids"
    assert finding.verdict is Verdict.HEALTHY
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE published SET data = 'x' WHERE event_id = 'evt_2'")
        connection.commit()
    finding = found(examined(path), "published events")
    assert "the published event 3 cannot be read: data" in finding.text
    assert finding.verdict is Verdict.NEEDS_ACTION


def test_webhooks_that_are_not_delivered_yet_are_counted(tmp_path):
    path = tmp_path / "orders.db"
    subscription = Subscription(key="all", statuses=frozenset(NOTICED))

    async def cancel():
        store = SqliteStore(path)
        store.outbox.write_for([subscription], lambda: datetime(2026, 1, 1, tzinfo=UTC))
        await store.open()
        instance = new_instance()
        await store.create(instance)
        cancelled = InstanceCancelled(at=instance.created_at)
        await store.append(evolve(instance, cancelled), [cancelled])
        await store.close()

    asyncio.run(cancel())
    finding = found(examined(path), "outbox")
    assert finding.text == "1 outbound webhooks not delivered yet, for 1 receivers"
    assert finding.facts == {"receivers": {"all": 1}}
