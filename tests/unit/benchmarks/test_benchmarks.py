"""Each benchmark, at its smallest: it runs, and its JSON has what a reader of it needs."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.report import Figure, percentile

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_benchmark_prints_a_table_and_writes_whole_json(name: str, loop: str, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", name, "--tiny", "--loop", loop, "--json", str(written)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert f"{name} ({loop})" in run.stdout

    found = json.loads(written.read_text())
    assert {"cores", "python", "sqlite", "file_system"} <= found["machine"].keys()
    (report,) = found["reports"]
    assert report["name"] == name
    assert report["loop"] == loop
    assert report["title"]
    assert report["figures"]
    names = [figure["name"] for figure in report["figures"]]
    assert len(set(names)) == len(names)
    for figure in report["figures"]:
        assert math.isfinite(figure["value"]), figure
        has_bound = figure["at_most"] is not None or figure["at_least"] is not None
        assert (figure["is_met"] is not None) == has_bound, figure


def test_what_does_not_depend_on_the_machine_is_as_wanted_even_at_the_smallest_size(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    assert main(["history_length", "sleepers", "timers", "--tiny", "--json", str(written)]) == 0
    figures = {
        figure["name"]: figure for report in json.loads(written.read_text())["reports"] for figure in report["figures"]
    }
    assert figures["history rows a transition"]["value"] == 1
    assert figures["instance updates a commit of one answer"]["value"] == 7 / 5, "one each, and one more a new status"
    assert figures["early, same engine"]["value"] == 0
    assert figures["early, started anew"]["value"] == 0
    assert figures["an event to one of them, committed"]["note"] == "in its inbox"
    assert figures["one of them woke and went on, late"]["note"] == "completed"


def test_an_unknown_benchmark_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["speed"])


def test_a_figure_says_whether_it_is_as_wanted() -> None:
    assert Figure(name="a", value=0.4, unit="", at_least=0.35).is_met
    assert Figure(name="a", value=0.3, unit="", at_least=0.35).is_met is False
    assert Figure(name="a", value=1, unit="", at_least=1, at_most=1).is_met
    assert Figure(name="a", value=1, unit="").is_met is None


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 50) == 3.0
    assert percentile([5.0], 99) == 5.0
