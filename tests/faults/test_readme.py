"""README.md names tests and breakages; what it names is there, and what is there it names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.breakages import BREAKAGES
from tests.faults.mutants import MUTANTS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TEXT = (HERE / "README.md").read_text()
PLANTED = TEXT.partition("## Breakages planted")[2]
NAMED = sorted(set(re.findall(r"`(test_\w+)(?:\[[^\]`]*\])?`", TEXT)))
FILES = sorted(set(re.findall(r"`((?:tests/)?[\w/]*\w+\.(?:py|c))`", TEXT)))


def named_in(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


TESTS = {name for file in (ROOT / "tests").rglob("*.py") for name in named_in(file)}


def rows() -> Iterator[list[str]]:
    for line in PLANTED.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] not in ("breakage", "promise"):
            yield cells


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_is_named_exists(name: str) -> None:
    assert name in TESTS


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_is_named_exists(name: str) -> None:
    assert (ROOT / name).exists() or (HERE / name).exists() or list((ROOT / "tests").rglob(name))


@pytest.mark.parametrize("cells", list(rows()), ids=lambda cells: "-".join(cells)[:60])
def test_every_breakage_has_a_test_that_catches_it(cells: list[str]) -> None:
    assert re.search(r"`(test_\w+|tests/[\w/]+\.py)(\.py)?[\[`:]|the same", cells[-1]), cells


def test_every_breakage_that_is_planted_anew_is_in_the_table() -> None:
    for name in BREAKAGES:
        assert f"(`{name}`)" in PLANTED
    table = list(rows())
    for mutant in MUTANTS:
        (cells,) = [cells for cells in table if cells[:2] == [mutant.promise, mutant.name]]
        file, _, test = mutant.test.partition("::")
        assert Path(file).name in cells[2]
        assert test.rpartition("::")[2] in cells[2]


def test_the_breakages_that_were_asked_for_are_in_the_table() -> None:
    broken = " ".join(" ".join(cells) for cells in rows())
    for asked in (
        "drop the fence",
        "answer before the commit",
        "acknowledge an event before it is stored",
        "forget the epoch",
    ):
        assert asked in broken
