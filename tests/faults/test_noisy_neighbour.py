"""P20 with the whole engine: a workflow with thousands of instances and slow turns, beside one with a few."""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pylon_workflows import EngineSettings, WorkflowDefinition, WorkflowEngine
from pylon_workflows.ports import Apply, Turn
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Complete, StepComplete
from tests.faults.test_overload import bare_runner

NOISY = 1_500
"""More than may wait in memory with `room`, so that most of them are in the file's backlog."""
SETTINGS = EngineSettings(shutdown_grace_s=0, max_queued=500)
QUIET_TURN_S = 0.02
ALL = 380
"""Three quarters of 512 places are what one workflow may have beside another; a few are just between two turns."""


class UnevenRunner:
    """Turns of the noisy workflow take so long; those of others a fiftieth of a second. Three steps, then the end."""

    def __init__(self, noisy_turn_s: float) -> None:
        self.noisy_turn_s = noisy_turn_s
        self.noisy_at_once = 0

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        is_noisy = turn.instance_id.startswith("noisy")
        self.noisy_at_once += is_noisy
        try:
            await asyncio.sleep(self.noisy_turn_s if is_noisy else QUIET_TURN_S)
        finally:
            self.noisy_at_once -= is_noisy
        position = int(turn.idempotency_key.rpartition(":")[2])
        await apply([Complete(output=position) if position == 3 else StepComplete(step_name="s", output=None)])


@asynccontextmanager
async def an_engine(runner: UnevenRunner, database: Path) -> AsyncIterator[WorkflowEngine]:
    engine = WorkflowEngine(runner=runner, database=database, settings=SETTINGS)
    engine.register(WorkflowDefinition("noisy"))
    engine.register(WorkflowDefinition("quiet"))
    async with engine:
        yield engine


async def started_noisy(engine: WorkflowEngine, count: int, prefix: str = "noisy") -> list[str]:
    ids = [f"{prefix}-{number}" for number in range(count)]
    await asyncio.gather(*(engine.start("noisy", id=instance_id) for instance_id in ids))
    return ids


async def quiet_ms(engine: WorkflowEngine) -> float:
    """How long a quiet instance takes from its start to its end."""
    began = time.perf_counter()
    await engine.wait(await engine.start("quiet"), timeout=60)
    return (time.perf_counter() - began) * 1000


async def median_of_quiet_ms(engine: WorkflowEngine) -> float:
    """That of five, one after the other."""
    return statistics.median([await quiet_ms(engine) for _ in range(5)])


@pytest.mark.slow
async def test_thousands_of_instances_of_one_workflow_do_not_slow_another_by_more_than_twice(tmp_path: Path) -> None:
    runner = UnevenRunner(noisy_turn_s=1.0)
    ratios = []
    async with an_engine(runner, tmp_path / "workflows.db") as engine:
        await median_of_quiet_ms(engine)
        for number in range(5):
            alone = await median_of_quiet_ms(engine)
            ids = await started_noisy(engine, NOISY, f"noisy-{number}")
            await wait_until(lambda: runner.noisy_at_once >= 300, timeout_s=60)
            ratios.append(await median_of_quiet_ms(engine) / alone)
            # The noisy ones are still at it; those that began together end together, so few may be in flight just now.
            await wait_until(lambda: runner.noisy_at_once >= 300, timeout_s=60)
            await asyncio.gather(*(engine.cancel(instance_id) for instance_id in ids))
    sys.stdout.write(f"a quiet instance beside {NOISY} noisy ones / alone: {[round(ratio, 2) for ratio in ratios]}\n")
    assert statistics.median(ratios) <= 2.0, ratios


@pytest.mark.slow
async def test_after_a_restart_the_backlog_of_one_workflow_does_not_delay_another(tmp_path: Path) -> None:
    async with WorkflowEngine(runner=None, database=tmp_path / "workflows.db") as engine:
        for name in ("noisy", "quiet"):
            engine.register(WorkflowDefinition(name))
        await started_noisy(engine, NOISY)
        await engine.start("quiet", id="quiet-1")
    runner = UnevenRunner(noisy_turn_s=3600)
    async with an_engine(runner, tmp_path / "workflows.db") as engine:
        instance = await engine.wait("quiet-1", timeout=20)
        assert instance.output == 3
        await wait_until(lambda: runner.noisy_at_once >= 300, timeout_s=60)


async def later_ms() -> float:
    """How much later than it should a callback of the host comes: what a request of the host's own waits, once."""
    began = time.perf_counter()
    await asyncio.sleep(0.01)
    return (time.perf_counter() - began - 0.01) * 1000


@asynccontextmanager
async def clients_of_the_noisy_workflow(engine: WorkflowEngine, count: int) -> AsyncIterator[None]:
    """So many, each of which starts an instance, waits for its end, and starts the next; they are a second at it."""

    is_over = asyncio.Event()

    async def client() -> None:
        while not is_over.is_set():
            await engine.wait(await engine.start("noisy"))

    async with asyncio.TaskGroup() as clients:
        for _ in range(count):
            clients.create_task(client())
        await asyncio.sleep(1)
        yield
        is_over.set()


@pytest.mark.slow
@pytest.mark.parametrize("windows", [1, pytest.param(7, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
async def test_a_thousand_clients_of_short_turns_slow_another_workflow_no_more_than_twice_what_64_do(
    windows: int, tmp_path: Path
) -> None:
    quiet: dict[int, list[float]] = {64: [], 1000: []}
    lags: dict[int, list[float]] = {64: [], 1000: []}
    with bare_runner() as url:
        settings = EngineSettings(shutdown_grace_s=0)
        engine = WorkflowEngine(runner=f"{url}/steps/5", database=tmp_path / "workflows.db", settings=settings)
        for name in ("noisy", "quiet"):
            engine.register(WorkflowDefinition(name))
        async with engine:
            for _ in range(windows):
                for count in (64, 1000):
                    async with clients_of_the_noisy_workflow(engine, count):
                        for _ in range(3):
                            quiet[count] += [await quiet_ms(engine) for _ in range(3)]
                            lags[count] += [await later_ms() for _ in range(10)]
    # Of one pair of windows the quicker ones are compared: a pause of the machine is in some, a long line in each.
    typical = statistics.median if windows > 1 else lambda times: statistics.quantiles(times, n=4)[0]
    figures = {count: (typical(quiet[count]), typical(lags[count])) for count in quiet}
    for count, (quiet_took_ms, late_ms) in figures.items():
        sys.stdout.write(
            f"beside {count} clients: a quiet instance {quiet_took_ms:.0f} ms, the loop {late_ms:.1f} late\n"
        )
    ratio = figures[1000][0] / figures[64][0]
    assert ratio <= (2 if windows > 1 else 4), figures


@pytest.mark.slow
async def test_slow_turns_by_the_hundred_run_at_once(tmp_path: Path) -> None:
    runner = UnevenRunner(noisy_turn_s=0.7)
    async with an_engine(runner, tmp_path / "workflows.db") as engine:
        began = time.perf_counter()
        await started_noisy(engine, NOISY)
        await wait_until(lambda: runner.noisy_at_once >= ALL)
        sys.stdout.write(f"{ALL} slow turns at once after {time.perf_counter() - began:.2f} s\n")
        await asyncio.sleep(2)
        await wait_until(lambda: runner.noisy_at_once >= ALL)
