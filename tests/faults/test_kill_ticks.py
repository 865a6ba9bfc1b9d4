"""Exactly one start a tick, whoever is killed when: two processes on one file, one of which owns it and starts.

SEED=n repeats the choices of a run; where a kill meets a tick is the machine's.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.faults.ticking import SCHEDULES

ROOT = Path(__file__).parents[2]
WITHIN_S = 60


class Story:
    """The life of one file, which two processes serve."""

    def __init__(self, folder: Path, seed: int, *options: str) -> None:
        self.database = folder / "workflows.db"
        self.chance = random.Random(seed)
        self._options = options
        self._began = str(time.time())
        self._living: list[subprocess.Popen[str]] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Story":
        for _ in range(2):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._living:
            program.kill()
        self._stack.close()

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.faults.ticking", str(self.database), self._began, *self._options]
        program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._stack.enter_context(program)
        assert program.stdout.readline() in ("owner\n", "standby\n")
        self._living.append(program)

    def kill_once(self) -> None:
        """Kill the elder of the two, which owns the file, while it works; the other takes over, and a new one comes."""
        ticks = len(self.ticks())
        self.until(lambda: len(self.ticks()) > ticks)
        time.sleep(self.chance.uniform(0, 0.1))
        program = self._living.pop(0)
        program.kill()
        program.wait()
        self._start()

    def until(self, condition) -> None:
        ends_at = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < ends_at, "no tick was started any more"
            time.sleep(0.01)

    def ticks(self) -> list[tuple[str, str]]:
        """The schedule and the tick of each instance that there is."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            started = connection.execute("SELECT body FROM history WHERE revision = 1")
            tags = [json.loads(json.loads(body)["tags_json"]) for (body,) in started]
            return [(each["schedule"], each["scheduled_for"]) for each in tags]

    def doubled(self) -> list[tuple[str, str]]:
        return [tick for tick, count in Counter(self.ticks()).items() if count > 1]


def seed_of_this_run() -> int:
    return int(os.environ.get("SEED") or random.randrange(10**6))


def play(folder: Path, kills: int) -> None:
    seed = seed_of_this_run()
    print(f"SEED={seed}")  # noqa: T201
    with Story(folder, seed) as story:
        for _ in range(kills):
            story.kill_once()
            assert story.doubled() == []
        started = Counter(schedule for schedule, _ in story.ticks())
    assert set(started) == set(SCHEDULES)
    assert started["minutely"] >= kills


@pytest.mark.slow
def test_a_tick_is_started_once_whoever_is_killed_when(tmp_path: Path) -> None:
    play(tmp_path, kills=8)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_tick_is_started_once_over_hundreds_of_kills(tmp_path: Path) -> None:
    play(tmp_path, kills=300)


@pytest.mark.slow
def test_the_harness_of_ticks_sees_one_that_is_two_transactions(tmp_path: Path) -> None:
    with Story(tmp_path, seed_of_this_run(), "--torn") as story:
        for _ in range(40):
            story.kill_once()
            if story.doubled():
                return
    raise AssertionError("no kill was seen to double a tick")
