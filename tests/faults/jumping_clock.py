"""An engine whose time of day a test sets: `python -m tests.faults.jumping_clock DATABASE OFFSET`.

The file OFFSET holds by how many seconds the wall clock is ahead. Each line of stdin is `NAME ID`, what to start;
each line of stdout is JSON: `{"ran" or "finished": ID, "at": seconds}`, on the machine's monotonic clock.
"""

import asyncio
import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pylon_workflows import LocalRunner, WorkflowDefinition, WorkflowEngine
from pylon_workflows.clock import SystemClock
from pylon_workflows.core.instance import Instance
from pylon_workflows.testing import wait_for_status
from runner_protocol import Context, Runner, workflow


class JumpingClock(SystemClock):
    def __init__(self, offset: Path) -> None:
        self._offset = offset

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=float(self._offset.read_text() or 0))


def tell(what: str, instance_id: str) -> None:
    sys.stdout.write(json.dumps({what: instance_id, "at": time.monotonic()}) + "\n")
    sys.stdout.flush()


@workflow("sleeper")
async def sleeper(ctx: Context, input: Any) -> None:
    await ctx.sleep("1h")
    await ctx.step("after", lambda: tell("ran", ctx.workflow_id))


@workflow("quick")
async def quick(ctx: Context, input: Any) -> None:
    await ctx.step("now", lambda: tell("ran", ctx.workflow_id))


async def main(database: str, offset: str) -> None:
    runner = LocalRunner(Runner([sleeper, quick]))
    engine = WorkflowEngine(runner=runner, database=database, clock=JumpingClock(Path(offset)))
    for name in ("sleeper", "quick"):
        engine.register(WorkflowDefinition(name))

    @engine.on_finished
    def finished(instance: Instance) -> None:
        tell("finished", instance.id)

    async with engine:
        tell("opened", "")
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, instance_id = line.split()
            await engine.start(name, id=instance_id)
            if name == "sleeper":
                await wait_for_status(engine, instance_id, "sleeping")
            tell("started", instance_id)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
