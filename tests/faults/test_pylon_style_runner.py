"""A runner that nobody changed for this engine: pylon's users keep theirs."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from pylon_workflows import Instance, WorkflowDefinition, WorkflowEngine
from tests.end_to_end.processes import Process, Processes, need_node

pytestmark = pytest.mark.slow

RUNNER = Path(__file__).with_name("pylon_style_runner.mjs")
KEYS = ["charge", "page", "page#2", "page#3", "sleep", "event:paid", "ship"]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    need_node()
    with Processes(tmp_path) as started:
        yield started


def start_runner(processes: Processes, *, idle_ms: int) -> Process:
    return processes.start("pylon_style_runner", "node", str(RUNNER), "--idle-ms", str(idle_ms))


def engine_for(runner: Process, folder: Path, *, max_retries: int = 1) -> WorkflowEngine:
    engine = WorkflowEngine(runner=runner.url(), database=folder / "workflows.db")
    terms = {"max_retries": max_retries, "initial_backoff": timedelta(milliseconds=20)}
    for name in ("order", "broken", "unheard-of"):
        engine.register(WorkflowDefinition(name, **terms))
    return engine


async def order(engine: WorkflowEngine, *, pause: str, flaky: bool = False) -> Instance:
    order_id = await engine.start("order", {"pause": pause, "flaky": flaky})
    await engine.send_event(order_id, "paid", {"by": "alice"})
    return await engine.wait(order_id, timeout=60)


async def test_steps_a_loop_a_retry_a_sleep_and_an_event_are_driven_to_the_end(
    processes: Processes, tmp_path: Path
) -> None:
    async with engine_for(start_runner(processes, idle_ms=10_000), tmp_path) as engine:
        done = await order(engine, pause="50ms", flaky=True)
    assert done.output == {
        "receipt": f"receipt of {done.id}",
        "pages": [1, 2, 3],
        "paid": {"by": "alice"},
        "shipped": {"to": "alice"},
    }
    assert [record.key for record in done.steps] == ["charge", *KEYS]
    assert [(record.status, record.error) for record in done.steps[:2]] == [
        ("failed", "card reader is asleep"),
        ("completed", None),
    ]


async def test_its_500_with_a_fail_body_is_an_answer_that_counts(processes: Processes, tmp_path: Path) -> None:
    async with engine_for(start_runner(processes, idle_ms=10_000), tmp_path, max_retries=2) as engine:
        broken = await engine.wait(await engine.start("broken"), timeout=30)
        unknown = await engine.wait(await engine.start("unheard-of"), timeout=30)
    assert (broken.status, broken.error) == ("failed", "out of order")
    assert [record.name for record in broken.steps] == ["unknown"] * 3
    assert (unknown.status, unknown.error) == ("failed", "Unknown workflow: unheard-of")


def test_it_answers_post_only(processes: Processes) -> None:
    runner = start_runner(processes, idle_ms=10_000)
    assert httpx.get(runner.url(), trust_env=False).status_code == 405


@pytest.mark.parametrize(("idle_ms", "pause"), [(300, "900ms"), (10_000, "11s")])
async def test_a_connection_that_it_closed_while_idle_costs_nothing(
    processes: Processes, tmp_path: Path, idle_ms: int, pause: str
) -> None:
    runner = start_runner(processes, idle_ms=idle_ms)
    async with engine_for(runner, tmp_path, max_retries=0) as engine:
        done = await order(engine, pause=pause)
    assert (done.status, [record.key for record in done.steps]) == ("completed", KEYS)
    lines = runner.said().splitlines()
    asleep, resumed = lines.index("turn sleep"), lines.index("turn wait_event")
    between = lines[asleep + 1 : resumed]
    # The engine lets go of a connection after 4 s by itself: one that may idle longer never sees the runner do it.
    assert set(between) == ({"closed an idle connection"} if idle_ms < 4000 else set())


async def test_a_turn_sent_into_a_connection_that_is_being_closed_uses_up_no_retry(
    processes: Processes, tmp_path: Path
) -> None:
    """Each sleep is as long as the runner's patience, so that the next turn and the end of the connection cross."""
    runner = start_runner(processes, idle_ms=100)
    async with engine_for(runner, tmp_path, max_retries=0) as engine:
        pauses = [f"{milliseconds}ms" for milliseconds in range(90, 110)] * 5
        done = await asyncio.gather(*(order(engine, pause=pause) for pause in pauses))
    assert {instance.status for instance in done} == {"completed"}
    assert {tuple(record.key for record in instance.steps) for instance in done} == {tuple(KEYS)}
    assert "closed an idle connection" in runner.said()
