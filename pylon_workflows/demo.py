"""`pylon-workflows demo`: the real engine and a real runner in another process, through everything that can happen."""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.records import Record
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.workflow_engine import WorkflowEngine

_PAUSE = "2s"
_WITHIN_S = 60.0
_HERE = Path(__file__).resolve().parent

Say = Callable[[str], None]


def run(kit: str = "python", say: Say = print) -> bool:
    """Run the onboarding example and say what happens, a line at a time; True when it went as it should.

    `kit` is `python`, or `typescript` (in a checkout, after `make typescript`). Raises InvalidInputError for another
    kit or one that is not built.
    """
    command = _runner_command(kit)
    return asyncio.run(_onboard_alice(command, kit, say))


def _runner_command(kit: str) -> list[str]:
    folders = [folder / "examples" / "onboarding" for folder in (_HERE, _HERE.parent)]
    match kit:
        case "python":
            program, name = sys.executable, "runner.py"
        case "typescript":
            program, name = shutil.which("node") or "", "dist/runner.js"
        case _:
            raise InvalidInputError(f"runner: the demo knows python and typescript, not {kit!r}")
    for folder in folders:
        if program and (folder / name).exists():
            return [program, str(folder / name), "--port", "0"]
    raise InvalidInputError("runner: the TypeScript example needs a checkout, Node 20 and `make typescript`")


@contextlib.asynccontextmanager
async def _runner_process(command: list[str]) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        if process.stdout is None:
            raise RuntimeError("the runner's output is not connected")
        line = (await asyncio.wait_for(process.stdout.readline(), _WITHIN_S)).decode()
        if "http://" not in line:
            raise RuntimeError(f"the runner did not start: {line.strip() or 'it said nothing'}")
        yield "http://" + line.split("http://", 1)[1].strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _onboard_alice(command: list[str], kit: str, say: Say) -> bool:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pylon-workflows-demo-") as folder:
        async with _runner_process(command) as url:
            say(f"runner    {kit} onboarding example, a process of its own at {url}")
            engine = WorkflowEngine(runner=url, database=Path(folder) / "workflows.db")
            engine.register(WorkflowDefinition("onboarding", max_retries=3))
            async with engine:
                instance_id = await engine.start("onboarding", {"user": "alice", "flaky": True, "pause": _PAUSE})
                say(f"start     onboarding for alice: {instance_id}")
                await engine.send_event(instance_id, "user_confirmed", {"via": "webhook"}, event_id="evt_1")
                repeated = await engine.send_event(instance_id, "user_confirmed", {"via": "webhook"}, event_id="evt_1")
                say("event     user_confirmed came early, before anything waits for it; kept in the inbox")
                say(f"event     the same delivery again: {'dropped' if repeated.is_duplicate else 'TAKEN TWICE'}")
                instance = await _follow(engine, instance_id, say)
    say(f"output    {instance.output}")
    say(f"{instance.status:<9} in {time.monotonic() - began:.1f} s, {len(instance.steps)} records")
    return instance.status is Status.COMPLETED and repeated.is_duplicate and _had_everything(instance)


async def _follow(engine: WorkflowEngine, instance_id: str, say: Say) -> Instance:
    """Tell each record as it is made, until the instance has finished, or has had much more time than it needs."""
    told = 0
    until = time.monotonic() + _WITHIN_S
    while True:
        instance = await engine.get(instance_id)
        for record in instance.steps[told:]:
            say(_line(record))
            told += 1
        if instance.is_finished or time.monotonic() > until:
            return instance
        with contextlib.suppress(TimeoutError):
            await engine.wait(instance_id, timeout=0.05)


def _line(record: Record) -> str:
    if record.kind == "sleep":
        return f"sleep     for {record.duration_ms} ms"
    if record.kind == "event":
        event = record.name.removeprefix("event:")
        return f"event     {event} taken after {record.duration_ms} ms of waiting: {record.output}"
    if record.status == "failed":
        return f"retry     step {record.name} failed ({record.error}) after {record.duration_ms} ms; it is tried again"
    return f"step      {record.name} -> {record.output} in {record.duration_ms} ms"


def _had_everything(instance: Instance) -> bool:
    kinds = {record.kind for record in instance.steps}
    return kinds == {"step", "sleep", "event"} and any(record.status == "failed" for record in instance.steps)
