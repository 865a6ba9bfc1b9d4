"""The wheel and the npm tarball, as users get them: built, installed into empty folders, and README.md tried there."""

import json
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.run_all import is_node_there
from tests.end_to_end.processes import KIT, ROOT, need_typescript, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NETWORK_S = 300.0


def done(*command: str, folder: Path) -> Any:
    """Run a program that must succeed."""
    finished = run(*command, folder=folder, within_s=NETWORK_S)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, so that this one is complete too."""
    folder = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT), folder=folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment that has the wheel, and nothing else of ours."""
    environment = tmp_path_factory.mktemp("environment")
    done(sys.executable, "-m", "venv", str(environment), folder=environment)
    done(str(environment / "bin" / "pip"), "install", "--quiet", str(wheel), folder=environment)
    return environment / "bin"


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed from a copy, because packing builds anew."""
    need_typescript()
    copy = tmp_path_factory.mktemp("kit") / "typescript"
    shutil.copytree(KIT, copy, ignore=shutil.ignore_patterns("node_modules", "dist", "build"))
    (copy / "node_modules").symlink_to(KIT / "node_modules")
    [packed] = json.loads(done("npm", "pack", "--json", folder=copy).stdout)
    return copy / str(packed["filename"])


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def in_checkout(folder: str, pattern: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(pattern)}


def test_the_wheel_has_all_that_is_promised_and_no_more(wheel: Path) -> None:
    packed = names(wheel)
    wanted = {
        "pylon_workflows/py.typed",
        "runner_protocol/py.typed",
        "runner_protocol/PROTOCOL.md",
        "runner_protocol/schema.json",
        "pylon_workflows/examples/onboarding/runner.py",
        "pylon_workflows/examples/onboarding/workflow.py",
        *in_checkout("runner_protocol/conformance/cases", "*.json"),
        *in_checkout("pylon_workflows/store/migrations", "*.sql"),
        *in_checkout("pylon_workflows", "**/*.py"),
    }
    assert not wanted - packed
    assert not [name for name in packed if "typescript" in name or "__pycache__" in name or name.startswith("tests")]
    assert {name.partition("/")[0].partition("-")[0] for name in packed} == {"pylon_workflows", "runner_protocol"}


def test_the_tarball_has_its_types_and_no_source(tarball: Path, tmp_path: Path) -> None:
    done("npm", "install", "--offline", str(tarball), folder=tmp_path)
    installed = tmp_path / "node_modules" / "@pylon-workflows" / "runner"
    files = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert {"package.json", "README.md", "LICENSE", "dist/index.js", "dist/index.d.ts"} <= files
    assert not [name for name in files if name.startswith(("src", "test", "node_modules"))]
    code = (
        "import { createRunner, workflow } from '@pylon-workflows/runner'; createRunner([workflow('w', async () => 1)])"
    )
    done("node", "--input-type=module", "--eval", code, folder=tmp_path)


def test_the_installed_demo_runs(programs: Path, tmp_path: Path) -> None:
    shown = done(str(programs / "pylon-workflows"), "demo", folder=tmp_path).stdout
    for word in ("step", "retry", "sleep", "event", "completed"):
        assert re.search(rf"^{word} ", shown, re.MULTILINE), shown


def test_the_installed_checker_lists_its_cases(programs: Path, tmp_path: Path) -> None:
    shown = done(str(programs / "python"), "-m", "runner_protocol.conformance", "--list", folder=tmp_path).stdout
    for case in in_checkout("runner_protocol/conformance/cases", "*.json"):
        assert Path(case).stem in shown


def test_the_readmes_first_workflows_run_on_what_was_built(
    programs: Path, wheel: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text is followed by the reader that the documents' own tests have, but with the packages for the checkout."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "unit" / "docs"))
    from document_blocks import blocks_of
    from test_stories import Story

    has_node = is_node_there() or bool(os.environ.get("CI"))
    packages = {"../pylon-workflows": str(wheel)}
    if has_node:
        tarball = request.getfixturevalue("tarball")
        packages = {f"../pylon-workflows/{KIT.relative_to(ROOT)}": str(tarball), **packages}

    class Reader(Story):
        def _here(self, text: str) -> str:
            for in_checkout, package in packages.items():
                text = text.replace(in_checkout, package)
            return str(super()._here(text))

    page = blocks_of("README.md")
    end = next(number for number, block in enumerate(page) if block.words.get("file") == "app.py")
    reader = Reader(tmp_path, programs)
    try:
        for block in page[:end]:
            if has_node or block.words.get("needs") != "node":
                reader.take(block)
    finally:
        reader.close()
    assert reader.compared == 2
    assert not (tmp_path / "node_modules" / "@pylon-workflows" / "runner").is_symlink()
