"""From `send_event` to the runner hearing of it, one instance at a time.

The instance waits for event after event; each one is sent when it waits, and the time is that of the call's beginning
until the next turn has arrived at the runner. The event's own commit is in it.
"""

import asyncio
import time
from pathlib import Path

from benchmarks.report import Figure, Report, percentile
from benchmarks.surroundings import (
    INPUT,
    WORKFLOW,
    Options,
    arrivals,
    bare_runner,
    folder_on_disk,
    new_engine,
    run_in,
)
from pylon_workflows.core.instance import Status
from pylon_workflows.workflow_engine import WorkflowEngine

EVENTS_EACH = 20
WANTED_P50_MS = 5.0


def run(options: Options) -> Report:
    """Send events and look when each resumed its instance."""
    with bare_runner(options) as runner, folder_on_disk() as folder:
        resumed, accepted = run_in(options.loop, _measure(runner, folder, options.pick(50, 15, 1)))
    return Report(
        name="events",
        title="from an event to the resumed workflow, one instance at a time",
        loop=options.loop,
        setting={"synchronous": "full", "events": len(resumed)},
        figures=[
            Figure(name="event to resumed step, p50", value=percentile(resumed, 50), unit="ms", at_most=WANTED_P50_MS),
            Figure(name="event to resumed step, p99", value=percentile(resumed, 99), unit="ms"),
            Figure(name="send_event returns (committed), p50", value=percentile(accepted, 50), unit="ms"),
            Figure(name="send_event returns (committed), p99", value=percentile(accepted, 99), unit="ms"),
        ],
    )


async def _measure(runner: str, folder: Path, instances: int) -> tuple[list[float], list[float]]:
    resumed: list[float] = []
    accepted: list[float] = []
    async with new_engine(f"{runner}/wait/{EVENTS_EACH}", folder / "events.db") as engine:
        for _ in range(instances):
            instance_id = await engine.start(WORKFLOW, INPUT)
            sent: list[int] = []
            for position in range(EVENTS_EACH):
                await _waits(engine, instance_id, position)
                sent.append(time.monotonic_ns())
                await engine.send_event(instance_id, "go", {"number": position})
                accepted.append((time.monotonic_ns() - sent[-1]) / 1e6)
            await engine.wait(instance_id)
            arrived = [monotonic for _, monotonic, _ in arrivals(runner)][1:]
            resumed += [(heard - began) / 1e6 for began, heard in zip(sent, arrived, strict=True)]
    return resumed, accepted


async def _waits(engine: WorkflowEngine, instance_id: str, position: int) -> None:
    """Look now and then, so that looking does not get into the way of what is measured."""
    async with asyncio.timeout(30):
        while True:
            await asyncio.sleep(0.01)
            instance = await engine.get(instance_id)
            if instance.status is Status.WAITING_FOR_EVENT and instance.current_step == position:
                return
