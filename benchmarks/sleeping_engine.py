"""An engine that starts on a file and says how long that took and what it weighs: the child of `sleepers.py`.

python -m benchmarks.sleeping_engine DATABASE RUNNER_URL LOOP [--tell ID --wake ID]
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.surroundings import new_engine, run_in
from pylon_workflows.core.transitions import EventReceived, SleepStarted, WokeUp
from pylon_workflows.workflow_engine import WorkflowEngine

SETTLES_IN_S = 1.0


async def measure(database: Path, runner: str, tell: str | None, wake: str | None) -> dict[str, Any]:
    """Start, settle, look; then do with two instances what is asked."""
    began = time.perf_counter()
    async with new_engine(runner, database) as engine:
        ready_s = time.perf_counter() - began
        await engine.list(limit=20)
        answered_s = time.perf_counter() - began
        await asyncio.sleep(SETTLES_IN_S)
        found: dict[str, Any] = {"ready_s": ready_s, "answered_s": answered_s, **_memory()}
        if tell is not None:
            found |= await _tell(engine, tell)
        if wake is not None:
            found |= await _wake(engine, wake)
    return found


async def _tell(engine: WorkflowEngine, instance_id: str) -> dict[str, Any]:
    began = time.perf_counter()
    await engine.send_event(instance_id, "user_confirmed", {"ok": True})
    told_s = time.perf_counter() - began
    history = await engine.history(instance_id)
    return {"told_s": told_s, "told": "in its inbox" if isinstance(history[-1], EventReceived) else "LOST"}


async def _wake(engine: WorkflowEngine, instance_id: str) -> dict[str, Any]:
    instance = await engine.wait(instance_id, timeout=30)
    history = await engine.history(instance_id)
    due_at = next(each.due_at for each in history if isinstance(each, SleepStarted))
    woke_at = next(each.at for each in history if isinstance(each, WokeUp))
    return {"late_s": (woke_at - due_at) / timedelta(seconds=1), "woke": instance.status.value}


def _memory() -> dict[str, float]:
    unit = 1 if sys.platform == "darwin" else 1024
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    status = Path("/proc/self/status")
    if not status.exists():
        return {"peak_mb": peak_mb, "memory_mb": peak_mb}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return {"peak_mb": peak_mb, "memory_mb": int(lines["VmRSS"].split()[0]) * 1024 / 1e6}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("database", "runner", "loop"):
        parser.add_argument(name)
    parser.add_argument("--tell")
    parser.add_argument("--wake")
    options = parser.parse_args()
    print(json.dumps(run_in(options.loop, measure(Path(options.database), options.runner, options.tell, options.wake))))
