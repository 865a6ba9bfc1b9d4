import asyncio
import json
from pathlib import Path

import pytest
from local_server import LocalServer, Run

from pylon_workflows import WorkflowDefinition, WorkflowEngine
from pylon_workflows.core.transitions import Transition
from runner_protocol.messages import Complete, StepComplete


def an_engine(path: Path) -> WorkflowEngine:
    engine = WorkflowEngine(runner=None, database=path)
    engine.register(WorkflowDefinition("order"))
    return engine


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file with an instance that has finished and one that has not."""

    async def make() -> None:
        async with an_engine(tmp_path / "orders.db") as engine:
            for instance_id in ("done", "open"):
                await engine.start("order", {"n": 1.5}, id=instance_id, idempotency_key=instance_id, tags={"a": "ü"})
                await engine.apply(instance_id, StepComplete(step_name="charge", output=[None, "é"]))
            await engine.apply("done", Complete(output=None))

    asyncio.run(make())
    return tmp_path / "orders.db"


def history(path: Path, instance_id: str) -> list[Transition]:
    async def read() -> list[Transition]:
        async with an_engine(path) as engine:
            return list(await engine.history(instance_id))

    return asyncio.run(read())


@pytest.mark.parametrize(("instance_id", "more"), [("done", ""), ("open", "; an engine on this file will go on")])
def test_an_instance_goes_from_one_file_to_another(
    run: Run, database: Path, tmp_path: Path, instance_id: str, more: str
) -> None:
    document, other = tmp_path / "case.json", tmp_path / "other.db"
    before = database.read_bytes()
    result = run("export", instance_id, str(database), "--to", str(document))
    assert (result.exit_code, f"exported {instance_id}, " in result.output) == (0, True)
    assert database.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.json", "orders.db", "orders.db.lock"]
    result = run("import", str(document), str(other))
    assert (result.exit_code, result.output.startswith(f"imported {instance_id}, ")) == (0, True)
    assert more in result.output
    assert history(other, instance_id) == history(database, instance_id)
    again = run("import", str(document), str(other))
    assert (again.exit_code, again.output) == (0, f"{instance_id} is there already, the same\n")


def test_what_is_in_the_way_is_refused_and_nothing_is_changed(run: Run, database: Path, tmp_path: Path) -> None:
    document = json.loads(run("export", "done", str(database)).stdout)
    path = tmp_path / "case.json"
    document["history"].pop()
    path.write_text(json.dumps(document))
    result = run("import", str(path), str(database))
    assert (result.exit_code, "has another instance of this id; nothing was changed" in result.stderr) == (1, True)
    document["history"][0]["id"] = "new"
    path.write_text(json.dumps(document))
    result = run("import", str(path), str(database))
    assert (result.exit_code, "has done, with its idempotency key" in result.stderr) == (1, True)
    assert len(history(database, "done")) == 4


def test_what_is_no_document_or_no_instance_is_refused(run: Run, database: Path, tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    path.write_text("{}")
    result = run("import", str(path), str(tmp_path / "new.db"))
    assert (result.exit_code, "format: should be" in result.stderr) == (1, True)
    assert not (tmp_path / "new.db").exists()
    for arguments, words in (
        (["import", str(tmp_path / "none.json"), str(database)], "cannot be read"),
        (["export", "nobody", str(database)], "no instance has the id 'nobody'"),
        (["export", "done", str(tmp_path / "none.db")], "is not there"),
        (["export", "done", str(path)], "no SQLite database"),
        (["export", "done", str(database), "--to", str(tmp_path)], "cannot be written"),
    ):
        result = run(*arguments)
        assert (result.exit_code, words in result.stderr) == (1, True), result.output


def test_a_file_that_an_engine_has_open_is_exported_from_and_not_imported_into(
    run: Run, database: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        async with an_engine(database) as engine:
            await engine.apply("open", StepComplete(step_name="mail"))
            exported = await asyncio.to_thread(run, "export", "open", str(database))
            assert [entry["type"] for entry in json.loads(exported.stdout)["history"]][-1] == "step_succeeded"
            path = tmp_path / "case.json"
            path.write_bytes(exported.stdout_bytes)
            refused = await asyncio.to_thread(run, "import", str(path), str(database))
            assert (refused.exit_code, "is in use" in refused.stderr) == (1, True)

    asyncio.run(story())


def test_an_engine_is_asked_over_http_and_standard_input_is_a_document(
    run: Run, server: LocalServer, tmp_path: Path
) -> None:
    server.do(server.engine.wait(server.do(server.engine.start("echo", {"n": 1}, id="a")), 10))
    result = run("export", "a", url=server.url)
    assert json.loads(result.stdout)["history"][-1]["output"] == {"input": {"n": 1}}
    imported = run("import", "-", str(tmp_path / "other.db"), input=result.stdout_bytes)
    assert (imported.exit_code, imported.output) == (0, "imported a, completed\n")
    missing = run("export", "nobody", url=server.url)
    assert (missing.exit_code, "no instance has the id" in missing.stderr) == (1, True)
