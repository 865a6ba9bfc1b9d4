"""No published event is lost or given twice, whoever is killed when: two processes publish on one file.

SEED=n repeats the choices of a run; where a kill meets an event is the machine's.
"""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from pylon_workflows.core.transitions import EventReceived
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.testing import wait_until
from tests.faults.publishing import orders_engine

ROOT = Path(__file__).parents[2]
WITHIN_S = 60


class Story:
    """The life of one file, on which two processes publish, one of which owns it."""

    def __init__(self, folder: Path, seed: int, *options: str) -> None:
        self.database = folder / "orders.db"
        self.acknowledged: list[str] = []
        self._chance = random.Random(seed)
        self._options = options
        self._living: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []
        self._stack = ExitStack()
        self._names = iter(f"p{number}" for number in range(10**6))

    def __enter__(self) -> "Story":
        for _ in range(2):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stack.close()

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.faults.publishing", str(self.database), next(self._names)]
        program = subprocess.Popen([*command, *self._options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._stack.enter_context(program)
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        reader = threading.Thread(target=self._read, args=(program.stdout,))
        reader.start()
        self._living.append(program)
        self._readers.append(reader)

    def _read(self, lines: object) -> None:
        for line in lines:  # type: ignore[attr-defined]
            if line.endswith("\n"):
                self.acknowledged.append(line.strip())

    def kill_once(self) -> None:
        """Kill the elder, which owns the file, while orders come in; the other takes over, and a new one comes."""
        known = len(self.acknowledged)
        ends_at = time.monotonic() + WITHIN_S
        while len(self.acknowledged) < known + 30:
            assert time.monotonic() < ends_at, "no order came in any more"
            time.sleep(0.005)
        time.sleep(self._chance.uniform(0, 0.05))
        program = self._living.pop(0)
        program.kill()
        program.wait()
        self._start()

    def stop(self) -> None:
        for program in self._living:
            program.kill()
            program.wait()
        self._living = []
        for reader in self._readers:
            reader.join()


def seed_of_this_run() -> int:
    return int(os.environ.get("SEED") or random.randrange(10**6))


async def faults_after(database: Path, acknowledged: list[str]) -> list[str]:
    """What is wrong once an engine has gone on with the file: nothing is left to be done but what is kept."""
    engine = orders_engine(str(database))
    async with engine:
        await wait_until(lambda: not engine._engine.is_matching, timeout_s=WITHIN_S)
        await wait_until(lambda: engine._engine._dispatcher.is_idle, timeout_s=WITHIN_S)
    store = SqliteStore(database)
    await store.open()
    try:
        histories = await store.histories(acknowledged)
        counts = {
            each: sum(isinstance(past, EventReceived) for past in histories.get(each, ())) for each in acknowledged
        }
        summaries = {each: await store.summary(each) for each in acknowledged}
    finally:
        await store.close()
    lost = [f"{each} was lost" for each, found in summaries.items() if found is None or found.status != "completed"]
    doubled = [f"{each} was given {count} times" for each, count in counts.items() if count > 1]
    return lost + doubled


async def play(folder: Path, kills: int, *options: str) -> list[str]:
    seed = seed_of_this_run()
    print(f"SEED={seed}")  # noqa: T201
    with Story(folder, seed, *options) as story:
        for _ in range(kills):
            await asyncio.to_thread(story.kill_once)
    assert len(story.acknowledged) >= 30 * kills
    return await faults_after(story.database, story.acknowledged)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_published_event_is_given_once_whoever_is_killed_when(tmp_path: Path) -> None:
    assert await play(tmp_path, 6) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_published_event_is_given_once_over_hundreds_of_kills(tmp_path: Path) -> None:
    assert await play(tmp_path, 300) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_harness_of_published_events_sees_a_claim_that_is_two_transactions(tmp_path: Path) -> None:
    assert await play(tmp_path, 3, "--torn") != []
