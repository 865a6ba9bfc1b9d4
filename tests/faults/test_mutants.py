"""Each breakage of `mutants.py`, planted in a copy of the tree, is caught by the test that it names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("pylon_workflows", "runner_protocol", "tests", "pyproject.toml", "README.md", "CHANGELOG.md")
LEFT_OUT = shutil.ignore_patterns("node_modules", "dist", "typescript", "__pycache__", ".hypothesis")
FAST = "not slow and not long"
TESTS_FAILED, MUST_END_WITHIN_S = 1, 110


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of everything that the named tests need."""
    copy = tmp_path_factory.mktemp("tree")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def run_test(tree: Path, test: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "pytest", "-q", "-x", "--hypothesis-profile", "as_found", "-m", FAST, test)
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command,
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=MUST_END_WITHIN_S,
        check=False,
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_is_to_be_broken_stands_once_in_its_file(mutant: Mutant) -> None:
    sound = (ROOT / "pylon_workflows" / mutant.file).read_text()
    assert sound.count(mutant.text) == 1, f"{mutant.file} holds this {sound.count(mutant.text)} times:\n{mutant.text}"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_without_a_breakage_the_tests_pass(tree: Path) -> None:
    for test in sorted({mutant.test for mutant in MUTANTS}):
        done = run_test(tree, test)
        assert done.returncode == 0, f"{test}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_breakage_is_caught_by_the_test_that_it_names(tree: Path, mutant: Mutant) -> None:
    path = tree / "pylon_workflows" / mutant.file
    sound = path.read_text()
    path.write_text(sound.replace(mutant.text, mutant.replacement))
    try:
        done = run_test(tree, mutant.test)
    finally:
        path.write_text(sound)
    assert done.returncode == TESTS_FAILED, f"not caught: exit status {done.returncode}\n{done.stdout[-2000:]}"
    assert "SyntaxError" not in done.stdout
    assert "ImportError" not in done.stdout


def test_the_readme_lists_each_breakage_by_a_name_of_its_own_with_the_test_that_catches_it() -> None:
    readme = Path(__file__).with_name("README.md").read_text()
    for mutant in MUTANTS:
        (row,) = (line for line in readme.splitlines() if f"| {mutant.name} |" in line)
        assert mutant.test.split("::")[-1] in row
