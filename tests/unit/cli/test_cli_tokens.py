"""`token` as it is typed: on a file that no engine has, and on one whose engine runs."""

import asyncio
import json
import sqlite3
import threading
from contextlib import closing

import pytest
from click.testing import CliRunner

from pylon_workflows.cli import main
from pylon_workflows.store.migrations import APPLICATION_ID, migrations
from pylon_workflows.tokens import presented
from pylon_workflows.workflow_engine import WorkflowEngine


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


@pytest.fixture
def run(path):
    def run(*arguments):
        return CliRunner().invoke(main, ["token", *arguments, "--db", str(path)])

    return run


class Running:
    """An engine on the file, in a thread and an event loop of its own, as far from the command as one can be here."""

    def __init__(self, path):
        self._path = path
        self._is_up, self.known = threading.Event(), []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self):
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        async with WorkflowEngine(runner=None, database=self._path) as engine:
            self._is_up.set()
            await self._stop.wait()
            self.known = list(await engine.tokens())

    def __enter__(self):
        self._thread.start()
        assert self._is_up.wait(20)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)


def test_the_first_one_is_made_before_a_server_runs(run, path):
    made = run("create", "--scope", "start", "--scope", "event", "--expires", "90d", "--note", "shop")
    assert made.exit_code == 0, made.output
    assert presented(made.stdout.strip()) is not None
    token_id = made.stdout.split("_")[1]
    assert made.stderr.startswith(f"the token {token_id} has the scopes start event until 2")
    assert f"for the engine of {path}." in made.stderr
    assert "not shown again" in made.stderr
    listed = run("list")
    assert listed.exit_code == 0
    title, row = listed.output.splitlines()
    assert title.split() == ["ID", "SCOPES", "CREATED", "EXPIRES", "NOTE"]
    assert row.split()[:3] == [token_id, "start", "event"]
    assert row.endswith("shop")
    assert made.stdout.strip().rpartition("_")[2] not in listed.output


def test_scripts_get_json(run):
    made = json.loads(run("create", "--scope", "admin", "--json").stdout)
    assert made.keys() == {"token", "id", "scopes", "created_at", "expires_at", "note"}
    assert json.loads(run("list", "--json").stdout) == [{k: v for k, v in made.items() if k != "token"}]
    assert (made["scopes"], made["expires_at"]) == (["admin"], None)


@pytest.mark.parametrize("by", ["id", "token"])
def test_a_revoked_one_is_gone(run, by):
    text = run("create", "--scope", "read").stdout.strip()
    token_id = text.split("_")[1]
    done = run("revoke", token_id if by == "id" else text)
    assert (done.exit_code, done.output) == (0, f"revoked {token_id}\n")
    again = run("revoke", token_id)
    assert (again.exit_code, again.stderr) == (1, f"Error: no token has the id '{token_id}'\n")
    assert json.loads(run("list", "--json").stdout) == []


def test_while_an_engine_runs_it_is_told_and_knows_at_once(run, path):
    with Running(path) as running:
        one, other = [run("create", "--scope", "read").stdout.strip().split("_")[1] for _ in range(2)]
        assert run("revoke", one).exit_code == 0
        assert run("revoke", one).exit_code == 1
        assert [each["id"] for each in json.loads(run("list", "--json").stdout)] == [other]
    assert [token.id for token in running.known] == [other]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create"], "--scope"),
        (["create", "--scope", "write"], "write"),
        (["create", "--scope", "read", "--expires", "soon"], "soon"),
        (["create", "--scope", "read", "--expires", "-1d"], "-1d"),
    ],
)
def test_wrong_usage_exits_2_and_makes_no_file(run, path, arguments, said):
    result = run(*arguments)
    assert (result.exit_code, path.exists()) == (2, False)
    assert said in result.stderr


@pytest.mark.parametrize("arguments", [["--expires", "0"], ["--note", "x" * 201], ["--note", "a\nb"]])
def test_what_makes_no_sense_exits_1_and_makes_no_file(run, path, arguments):
    result = run("create", "--scope", "read", *arguments)
    assert (result.exit_code, path.exists(), result.stderr.count("\n")) == (1, False, 1)


def test_a_file_that_is_not_there_has_no_tokens_to_list_or_revoke(run, path):
    for arguments in (["list"], ["revoke", "a" * 12]):
        result = run(*arguments)
        assert (result.exit_code, path.exists()) == (1, False)
        assert "is not there: check the name" in result.stderr


def test_a_file_of_a_release_that_knew_no_tokens_has_none(run, path):
    scripts = migrations()
    before = next(n for n, script in enumerate(scripts) if "CREATE TABLE tokens" in script)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("\n".join(scripts[:before]))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {before}")
        connection.commit()
    assert json.loads(run("list", "--json").stdout) == []
    assert run("create", "--scope", "read").exit_code == 0


def test_a_damaged_row_is_told(run, path):
    text = run("create", "--scope", "read").stdout.strip()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE tokens SET scopes = 'x'")
        connection.commit()
    listed = run("list")
    assert "cannot be read: its scopes is damaged: revoke it" in listed.output
    assert run("revoke", text).exit_code == 0
