"""The hostile-runner table (PROMISES.md harness 4): 20 behaviours, and floods, of five instances each, beside fifty."""

import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import ROOT
from tests.faults.hostile_runner import BEHAVIOURS
from tests.faults.hostile_table import FLOODS, TABLE
from tests.faults.test_engine_beside_hostile_runners import HOSTILE

MAX_GROWTH_MB = 50
MAX_FLOODED_MB = 250
"""A dozen answers of 2 MB are there at a time, one of which is read; the errors of each were more than a gigabyte."""
MAX_RATIO = 2.0
PROGRAM = (sys.executable, "-m", "tests.faults.hostile_table")


def ratio(pairs: Sequence[Any], figure: str) -> float:
    """How much higher it is beside hostile ones: the median of the pairs, for the machine's speed wanders."""
    return statistics.median(pair["beside"][figure] / pair["alone"][figure] for pair in pairs)


def check_fate(name: str, status: str, errors: Sequence[str], history: Sequence[str]) -> None:
    """Nothing but a proper action has changed it."""
    if BEHAVIOURS[name].outcome == "unavailable":
        assert (status, history) == ("pending", ["InstanceStarted"]), name
        return
    is_timed_out = BEHAVIOURS[name].outcome == "timed out"
    assert (status, len(errors)) == ("failed", 2), (name, status, errors)
    assert all(("timed out after 1 s" in error) is is_timed_out for error in errors), (name, errors)
    assert not {"StepSucceeded", "SleepStarted", "WaitStarted", "InstanceCompleted"} & set(history), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pairs", "seconds"), [(1, 2.0), pytest.param(5, 4.0, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_twenty_ways_to_misbehave_are_not_felt_by_fifty_healthy_instances(
    pairs: int, seconds: float, tmp_path: Path
) -> None:
    assert len(set(TABLE)) == 20
    with subprocess.Popen((*PROGRAM, "runner"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        url = runner.stdout.readline().decode().strip()
        engine = subprocess.run(
            (*PROGRAM, "engine", url, str(tmp_path / "workflows.db"), str(pairs), str(seconds)),
            cwd=ROOT, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        asked = json.loads(runner.communicate()[0])
    saw = json.loads(engine.stdout)
    grown_mb, flooded_mb = saw["grown_kb"] / 1024, saw["flooded_kb"] / 1024
    turns, instances = ratio(saw["pairs"], "turn_ms"), ratio(saw["pairs"], "instance_ms")
    sys.stdout.write(
        f"p99 beside hostile ones / alone: {turns:.2f} of a turn, {instances:.2f} of an instance; "
        f"memory grew by {grown_mb:.0f} MB\n{json.dumps(saw['pairs'])}\n"
        f"beside floods of wrong entries: {json.dumps(saw['flooded'])}; memory grew by {flooded_mb:.0f} MB\n"
    )
    assert Counter(name for name, *_ in saw["seen"]) == {
        **dict.fromkeys(TABLE, HOSTILE * pairs),
        **dict.fromkeys(FLOODS, HOSTILE),
    }
    assert min(asked[name] for name in (*TABLE, *FLOODS)) >= 3
    assert asked["describe"] == HOSTILE
    for fate in saw["seen"]:
        check_fate(*fate)
    assert grown_mb < MAX_GROWTH_MB
    assert flooded_mb < MAX_FLOODED_MB
    if pairs >= 5:
        assert max(turns, instances) <= MAX_RATIO, (turns, instances)
