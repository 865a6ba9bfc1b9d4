"""`kill -9` of a runner in the middle of its streams: only steps whose line had not been committed run again."""

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from pylon_workflows import WorkflowDefinition, WorkflowEngine
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import wait_until
from tests.faults.streaming_runner import STEPS

ROOT = Path(__file__).parents[2]
INSTANCES = 12
KILLS = 4

Step = tuple[str, str]
"""An instance's id and a step's key."""


async def a_runner(port: int) -> tuple[asyncio.subprocess.Process, str]:
    """Start it; port 0 takes any."""
    command = (sys.executable, "-m", "tests.faults.streaming_runner", str(port))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    said = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    return process, said.split()[-1]


def begun(log: Path) -> list[Step]:
    """The step bodies that have begun, in order."""
    if not log.exists():
        return []
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in log.read_text().splitlines()]


def count(runs: Counter[Step], lines: list[Step], known: set[Step]) -> None:
    """Count what has begun since the last time; nothing of it was recorded then."""
    for step in lines[runs.total() :]:
        assert step not in known, "a recorded step ran again"
        runs[step] += 1


async def recorded(engine: WorkflowEngine, ids: list[str]) -> set[Step]:
    return {(instance_id, record.key) for instance_id in ids for record in (await engine.get(instance_id)).steps}


@pytest.mark.slow
async def test_a_runner_killed_in_the_middle_of_its_streams_repeats_no_step_that_was_recorded(tmp_path: Path) -> None:
    chance = random.Random(7)
    log = tmp_path / "log"
    process, url = await a_runner(0)
    settings = EngineSettings(shutdown_grace_s=0)
    engine = WorkflowEngine(runner=url, database=tmp_path / "workflows.db", settings=settings)
    engine.register(WorkflowDefinition("order"))
    runs: Counter[Step] = Counter()
    known: set[Step] = set()
    async with engine:
        try:
            ids = [await engine.start("order", str(log)) for _ in range(INSTANCES)]
            for _ in range(KILLS):
                wanted = runs.total() + chance.randrange(20, 90)
                await wait_until(lambda wanted=wanted: len(begun(log)) >= wanted, timeout_s=30)
                process.kill()
                await process.wait()
                count(runs, begun(log), known)

                async def nobody_is_asked() -> bool:
                    return all([await is_waiting(engine, instance_id) for instance_id in ids])

                await wait_until(nobody_is_asked, timeout_s=30)
                known = await recorded(engine, ids)
                assert known, "nothing was recorded before the kill"
                process, _ = await a_runner(int(url.rsplit(":", 1)[1].split("/")[0]))
            for instance_id in ids:
                assert (await engine.wait(instance_id, timeout=60)).output == STEPS
            count(runs, begun(log), known)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert len(runs) == INSTANCES * (STEPS + 2 * STEPS // 10), "each step ran"
    assert runs.total() > len(runs), "no kill has hit a step"
    assert runs.total() - len(runs) <= KILLS * INSTANCES * 3, "more than what was in flight"


async def is_waiting(engine: WorkflowEngine, instance_id: str) -> bool:
    """Whether the instance has finished, or waits for the runner to come back."""
    instance = await engine.get(instance_id)
    return instance.is_finished or engine.waiting_for_runner(instance) is not None
