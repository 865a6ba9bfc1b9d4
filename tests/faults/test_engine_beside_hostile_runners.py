"""P19 with the whole engine: five instances whose runner misbehaves, beside fifty that must not notice.

An engine has one runner URL, so one server answers by the workflow's name: as the behaviour of that name, or properly.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from pylon_workflows import Instance, Status, WorkflowDefinition, WorkflowEngine
from pylon_workflows.core import transitions as facts
from pylon_workflows.ports import Runner
from pylon_workflows.testing import wait_until
from tests.faults.hostile_runner import BEHAVIOURS, DESCRIPTION, Behaviour, Exchange, HostileRunner

HOSTILE, HEALTHY = 5, 50
HEALTHY_STEPS = 3
SHORT, LONG = timedelta(seconds=1), timedelta(seconds=20)
ANSWERING = {name: behaviour for name, behaviour in BEHAVIOURS.items() if behaviour.act is not None}
"""All but the refused connection, which no healthy instance could be beside."""

COMPLETE = b'{"action":"complete","output":"done"}'


@dataclass
class Crowd:
    """One server for all: who asks for `healthy` is answered properly, who asks for a behaviour gets that."""

    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)

    async def act(self, exchange: Exchange) -> None:
        request = json.loads(exchange.body)
        if request["mode"] == "describe":
            self.asked["describe"] += 1
            await exchange.answer(DESCRIPTION)
            return
        name, records = request["workflow_name"], request["completed_steps"]
        self.asked[name] += 1
        behaviour = BEHAVIOURS.get(name)
        if behaviour is None:
            is_done = len(records) == HEALTHY_STEPS
            step = b'{"action":"step_complete","step_name":"s","output":%d}' % len(records)
            await exchange.answer(COMPLETE if is_done else step)
        elif records and records[-1]["status"] == "completed":
            await exchange.answer(COMPLETE)
        else:
            assert behaviour.act is not None
            await behaviour.act(exchange)


@asynccontextmanager
async def crowd() -> AsyncIterator[Crowd]:
    served = Crowd()
    async with HostileRunner(Behaviour(served.act, "answered")) as server:
        served.url = server.url
        yield served


def an_engine(runner: str | Runner, database: Path, names: Sequence[str]) -> WorkflowEngine:
    engine = WorkflowEngine(runner=runner, database=database)
    engine.register(WorkflowDefinition("healthy", max_retries=0, step_timeout=LONG))
    for name in names:
        step_timeout = SHORT if BEHAVIOURS[name].outcome == "timed out" else LONG
        terms = {"max_retries": 1, "step_timeout": step_timeout, "initial_backoff": timedelta(milliseconds=10)}
        engine.register(WorkflowDefinition(name, **terms))
    return engine


async def started(engine: WorkflowEngine, *names: str) -> list[str]:
    """Start an instance of each, all at once."""
    return list(await asyncio.gather(*(engine.start(name) for name in names)))


async def finished(engine: WorkflowEngine, ids: Sequence[str]) -> list[Instance]:
    return list(await asyncio.gather(*(engine.wait(instance_id, timeout=30) for instance_id in ids)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERING)
async def test_what_a_runner_does_to_five_instances_fifty_others_do_not_notice(name: str, tmp_path: Path) -> None:
    behaviour = BEHAVIOURS[name]
    async with crowd() as served, an_engine(served.url, tmp_path / "workflows.db", [name]) as engine:
        half = ["healthy"] * (HEALTHY // 2)
        ids = await started(engine, *half, *[name] * HOSTILE, *half)
        hostile = ids[len(half) : -len(half)]
        healthy = await finished(engine, [instance_id for instance_id in ids if instance_id not in hostile])
        assert {(instance.status, len(instance.steps)) for instance in healthy} == {(Status.COMPLETED, HEALTHY_STEPS)}
        if behaviour.outcome == "unavailable":
            asks = HOSTILE * (1 if behaviour.retry_after_s else 2)
            await wait_until(lambda: served.asked[name] >= asks)
            instances = [await engine.get(instance_id) for instance_id in hostile]
        else:
            instances = await finished(engine, hostile)
        histories = [[type(fact) for fact in await engine.history(instance_id)] for instance_id in hostile]
    for instance, history in zip(instances, histories, strict=True):
        match behaviour.outcome:
            case "unavailable":  # still live, nothing written, no retry used up
                assert (instance.status, history) == (Status.PENDING, [facts.InstanceStarted])
            case "answered":
                assert (instance.status, instance.output, len(instance.steps)) == (Status.COMPLETED, "done", 1)
                assert history[2:] == [facts.StepSucceeded, facts.InstanceCompleted]
            case "malformed" | "timed out":
                errors = [record.error or "" for record in instance.steps]
                assert (instance.status, instance.error, len(errors)) == (Status.FAILED, errors[-1], 2)
                assert all(("timed out after 1 s" in error) is (behaviour.outcome == "timed out") for error in errors)
                assert {record.name for record in instance.steps} == {"unknown"}
                assert not {facts.StepSucceeded, facts.SleepStarted, facts.InstanceCompleted} & set(history)


BIG = ("100 MB", "100 MB without a length", "gzip bomb", "header of 5 MB", "headers without end")

_ENGINE = """
import asyncio, json, resource, sys
from pathlib import Path
from pylon_workflows.testing import wait_until
from tests.faults.test_engine_beside_hostile_runners import BIG, HEALTHY, HOSTILE, an_engine, finished, started

def peak_kb():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak

async def main(url, database):
    async with an_engine(url, Path(database), BIG) as engine:
        await finished(engine, await started(engine, *["healthy"] * HEALTHY))
        before = peak_kb()
        ids = await started(engine, *BIG * HOSTILE, *["healthy"] * HEALTHY)
        await finished(engine, ids[-HEALTHY:])
        await finished(engine, [id for number, id in enumerate(ids[:-HEALTHY]) if number % len(BIG) < 3])  # that fail
        print(peak_kb() - before)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_answers_without_measure_cost_the_engine_a_bounded_amount_of_memory(tmp_path: Path) -> None:
    """The peak of a process that does nothing else: 25 instances are sent 100 MB and more, again and again."""
    async with crowd() as served:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _ENGINE, served.url, str(tmp_path / "workflows.db"),
            stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        printed, _ = await child.communicate()
        assert child.returncode == 0
        assert min(served.asked[name] for name in BIG) >= HOSTILE
    assert int(printed) < 200 * 1024, f"{int(printed)} KB"
