"""The runner without a kit in a third language: built, held to the protocol, and driven."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylon_workflows import WorkflowDefinition, WorkflowEngine
from runner_protocol.conformance.cases import choose_cases, load_cases
from runner_protocol.conformance.checker import check
from runner_protocol.conformance.exchange import HttpExchange
from tests.end_to_end.processes import ROOT, Processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        if os.environ.get("CI") == "1":
            pytest.fail("there is no Go on the PATH, which CI must have")
        pytest.skip("there is no Go on the PATH")
    folder = tmp_path_factory.mktemp("go")
    built = folder / "runner"
    environment = {**os.environ, "GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    source = ROOT / "examples" / "go_runner"
    for command in (("go", "vet", "."), ("go", "build", "-o", str(built), ".")):
        subprocess.run(command, cwd=source, env=environment, check=True, timeout=240)
    return built


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


@pytest.mark.parametrize("streams", ["true", "false"])
def test_it_passes_the_conformance_cases_for_runners_without_a_kit(
    program: Path, processes: Processes, streams: str
) -> None:
    url = processes.start("go", str(program), "-port", "0", f"-stream={streams}").url()
    outcomes = list(check(choose_cases(load_cases(), [], "plain"), HttpExchange(url, timeout_s=10)))
    assert [outcome.case.name for outcome in outcomes if not outcome.has_passed] == []
    assert len(outcomes) > 10


@pytest.mark.parametrize("streams", ["true", "false"])
async def test_an_engine_drives_it_to_the_end(
    program: Path, processes: Processes, tmp_path: Path, streams: str
) -> None:
    url = processes.start("go", str(program), "-port", "0", f"-stream={streams}").url()
    engine = WorkflowEngine(runner=url, database=tmp_path / "workflows.db")
    engine.register(WorkflowDefinition("plain"))
    async with engine:
        instance_id = await engine.start("plain", {"n": 20})
        await engine.send_event(instance_id, "go", {"n": 2})
        instance = await engine.wait(instance_id, timeout=30)
    assert instance.output == {"total": 42}
    assert [record.key for record in instance.steps] == ["double", "sleep", "event:go", "add"]
