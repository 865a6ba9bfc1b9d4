"""The commands that work on a file, on one that is encrypted: with the codec, without it, and with a wrong one."""

import asyncio
import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from local_server import Run

from examples.encryption.fernet_codec import FernetCodec
from pylon_workflows import WorkflowDefinition, WorkflowEngine

NAME = "examples.encryption.fernet_codec:codec"
KEY = Fernet.generate_key()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORDERS_KEYS", KEY.decode())
    path = tmp_path / "orders.db"

    async def make() -> None:
        engine = WorkflowEngine(runner=None, database=path, codec=FernetCodec([KEY]))
        engine.register(WorkflowDefinition("order"))
        async with engine:
            await engine.start("order", {"card": "canary"}, id="one")
            await engine.schedule("0 0 1 1 *", "order", {"card": "canary"}, id="yearly")

    asyncio.run(make())
    return path


@pytest.fixture
def wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_KEYS", Fernet.generate_key().decode())


def test_an_instance_is_exported_in_clear_and_imported_encrypted(run: Run, database: Path, tmp_path: Path) -> None:
    document, other = tmp_path / "one.json", tmp_path / "other.db"
    without = run("export", "one", str(database))
    assert (without.exit_code, "the database is encrypted: give the codec" in without.output) == (1, True)
    assert run("export", "one", str(database), "--codec", NAME, "--to", str(document)).exit_code == 0
    assert b"canary" in document.read_bytes()
    assert run("import", str(document), str(other), "--codec", NAME).exit_code == 0
    assert b"canary" not in other.read_bytes()
    again = run("import", str(document), str(other), "--codec", NAME)
    assert again.output == "one is there already, the same\n"
    refused = run("import", str(document), str(other))
    assert (refused.exit_code, "the database is encrypted" in refused.output) == (1, True)


@pytest.mark.usefixtures("wrong_key")
def test_with_another_key_nothing_is_exported(run: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_KEYS", Fernet.generate_key().decode())
    result = run("export", "one", str(database), "--codec", NAME)
    assert (result.exit_code, "encrypted with another key than the codec has" in result.output) == (1, True)


def findings(run: Run, *arguments: str) -> tuple[int, dict[str, tuple[bool, str]]]:
    result = run("doctor", *arguments, "--json")
    told = json.loads(result.output)["findings"]
    return result.exit_code, {each["about"]: (each["needs_action"], each["text"]) for each in told}


def test_doctor_says_what_it_could_look_at(run: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = findings(run, str(database))
    assert (code, "schedules" in told) == (0, False)
    assert told["encryption"] == (False, "encrypted: histories and inputs of schedules were not looked at")
    code, told = findings(run, str(database), "--verify")
    assert (code, told["histories"]) == (1, (True, "not looked at: they are encrypted"))
    code, told = findings(run, str(database), "--verify", "--codec", NAME)
    assert (code, told["schedules"][1], told["encryption"][1]) == (0, "1", "encrypted; this codec opens it")
    assert told["histories"] == (False, "1 instances are what their histories add up to")
    monkeypatch.setenv("ORDERS_KEYS", Fernet.generate_key().decode())
    code, told = findings(run, str(database), "--codec", NAME)
    assert (code, told["encryption"][0]) == (1, True)


def test_a_backup_is_encrypted_as_the_file_is_and_needs_no_codec(run: Run, database: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    assert run("backup", str(database), str(backup)).exit_code == 0
    assert b"canary" not in backup.read_bytes()
    assert run("export", "one", str(backup), "--codec", NAME).exit_code == 0
    restored = tmp_path / "restored.db"
    assert run("restore", str(backup), str(restored)).exit_code == 0
    assert run("export", "one", str(restored), "--codec", NAME).exit_code == 0


def test_tokens_are_made_and_revoked_with_the_codec(run: Run, database: Path) -> None:
    refused = run("token", "create", "--db", str(database), "--scope", "read")
    assert (refused.exit_code, "the database is encrypted" in refused.output) == (1, True)
    made = run("token", "create", "--db", str(database), "--scope", "read", "--codec", NAME, "--json")
    assert made.exit_code == 0
    assert run("token", "list", "--db", str(database)).exit_code == 0
    token_id = json.loads(made.output)["id"]
    assert run("token", "revoke", token_id, "--db", str(database), "--codec", NAME).exit_code == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nothing", "should be like package.module:name"),
        ("no_such_module:codec", "cannot be had: ModuleNotFoundError"),
        ("json:nothing", "cannot be had: AttributeError"),
        ("examples.encryption.fernet_codec:FernetCodec", "cannot be had: TypeError"),
        ("collections:OrderedDict", "is no codec: it has no encode and decode"),
    ],
)
def test_a_name_that_is_no_codec_is_refused(run: Run, database: Path, name: str, why: str) -> None:
    result = run("doctor", str(database), "--codec", name)
    assert (result.exit_code, why in result.output.replace("\n", " ")) == (2, True), result.output
