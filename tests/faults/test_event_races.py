"""An event that is sent in any gap of its workflow is never lost and never given twice. SEED=n repeats the choices."""

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pylon_workflows.matcher import Matcher
from tests.faults.event_races import run_races


def seed_of_this_run() -> int:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")  # noqa: T201
    return seed


def left_in(database: Path) -> list[tuple[str, int]]:
    """What is kept still, by event, after a race: nothing but the looks that timed out have been left by."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(
            "SELECT event, count(*) FROM published WHERE outcome IS NULL GROUP BY event"
        ).fetchall()


async def race(folder: Path, count: int) -> None:
    database = folder / "races.db"
    await run_races(database, count, seed_of_this_run())
    assert left_in(database) == []


@pytest.mark.slow
async def test_an_event_is_given_once_whenever_it_is_sent(tmp_path: Path) -> None:
    await race(tmp_path, 200)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_an_event_is_given_once_over_ten_thousand_races(tmp_path: Path) -> None:
    await race(tmp_path, 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("half", ["published", "committed"])
async def test_the_races_see_a_matcher_that_looks_from_one_side_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    monkeypatch.setattr(Matcher, half, lambda *_: None)
    monkeypatch.setattr("tests.faults.event_races.PATIENCE_S", 1)
    with pytest.raises(AssertionError, match="TimeoutError"):
        await race(tmp_path, 64)
