"""An engine with schedules, for which a minute is a second: `python -m tests.faults.ticking DATABASE BEGAN`.

BEGAN is the time at which the story began, in seconds since 1970. A line of stdout says what this process is, each time
that changes. With `--torn` a tick is two transactions and has no key: what the harness must see.
"""

import asyncio
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pylon_workflows import LocalRunner, WorkflowDefinition, WorkflowEngine
from pylon_workflows.core.instance import Instance
from pylon_workflows.ports import Store
from pylon_workflows.schedule import Schedule, Tick

SPEED = 60
SCHEDULES = {"minutely": ("* * * * *", "once"), "every-third": ("*/3 * * * *", "skip")}


class FastClock:
    def __init__(self, began: float) -> None:
        self._began = began

    def now(self) -> datetime:
        passed = timedelta(seconds=(time.time() - self._began) * SPEED)
        return datetime.fromtimestamp(self._began, UTC) + passed

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0) / SPEED)


class TornTicks:
    """The schedules of a store, whose ticks are two transactions, and whose instances have no keys."""

    def __init__(self, store: Store) -> None:
        self._create = store.create
        self._schedules = store.schedules

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schedules, name)

    async def tick(self, schedule: Schedule, tick: Tick, instance: Instance | None) -> str | None:
        if instance is not None:
            await self._create(replace(instance, origin=replace(instance.origin, idempotency_key=None)))
            await asyncio.sleep(0.05)
        await self._schedules.tick(schedule, tick, None)
        return None if instance is None else instance.id


async def complete(_body: bytes) -> tuple[int, bytes]:
    return 200, b'{"action":"complete"}'


async def main(database: str, began: str, *options: str) -> None:
    engine = WorkflowEngine(runner=LocalRunner(complete), database=database, clock=FastClock(float(began)))
    engine.register(WorkflowDefinition("report"))
    if "--torn" in options:
        store: Any = engine._engine._store
        store.schedules = TornTicks(store)
    async with engine:
        for schedule_id, (cron, missed) in SCHEDULES.items():
            await engine.schedule(cron, "report", id=schedule_id, missed=missed)
        role = ""
        while True:
            if engine.role != role:
                role = engine.role
                sys.stdout.write(f"{role}\n")
                sys.stdout.flush()
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
