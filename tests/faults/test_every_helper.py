"""A workflow that uses every helper of a kit once, while engine and runner are killed in turn at random moments.

Whatever dies when, what comes out is what comes out undisturbed: the output, each key's final status and output, what
it cost; and no step whose result is recorded runs again. KILLS=50 and more are `make test-long`'s.
"""

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from pylon_workflows.core.evolution import begin, evolve
from pylon_workflows.core.transitions import InstanceStarted, MemberSucceeded, StepSucceeded, Transition
from pylon_workflows.store.sqlite import SqliteStore
from tests.conformance.run_all import TYPESCRIPT
from tests.end_to_end.processes import Api, Process, Processes, need_typescript

AT_A_TIME = 6
CLOCK_MS = 5
"""How far the clocks of two processes of one machine may be apart, for what they round."""

Ran = tuple[str, int, str]
"""An instance's id, its run, a step's key."""


class Outcome(NamedTuple):
    """What became of an instance: all that must not depend on who died when."""

    output: Any
    records: dict[tuple[int, str], tuple[str, Any]]
    usage: Any
    vars: Any


class World:
    """An engine and a runner, each of which may die at any time and is started again."""

    def __init__(self, processes: Processes, kit: str, folder: Path) -> None:
        self._processes = processes
        self._kit = kit
        self._log = folder / "steps.log"
        self._port = "0"
        self.runner = self._start_runner()
        self._port = str(urlsplit(self.runner.url()).port)
        self.api = self._start_engine()
        self.kills = 0

    def _start_runner(self) -> Process:
        program = {
            "python": (sys.executable, str(Path(__file__).with_name("every_helper.py"))),
            "typescript": ("node", str(TYPESCRIPT / "dist" / "every_helper.js")),
        }[self._kit]
        runner = self._processes.start("runner", *program, "--port", self._port, "--log", str(self._log))
        runner.url()
        return runner

    def _start_engine(self) -> Api:
        return self._processes.serve(self.runner, "--workflow", "everything:5", "--workflow", "small:5")

    def kill_one(self) -> None:
        """The engine or the runner, in turn."""
        self.kills += 1
        if self.kills % 2:
            self.api.process.kill()
            self.api = self._start_engine()
        else:
            self.runner.kill()
            self.runner = self._start_runner()

    def ran(self) -> list[tuple[Ran, float]]:
        """Each step body that began, and when in milliseconds."""
        lines = map(json.loads, self._log.read_text().splitlines())
        return [((line["id"], line["run"], line["key"]), line["at_ms"]) for line in lines]


@contextmanager
def a_world(kit: str, folder: Path) -> Iterator[World]:
    folder.mkdir()
    with Processes(folder) as processes:
        yield World(processes, kit, folder)


def push(api: Api, instance_id: str, n: int) -> bool:
    """Give an instance what it waits for; whether it has finished."""
    instance = api.get(instance_id)
    assert instance["status"] not in ("failed", "blocked"), instance
    if instance["status"] == "completed":
        return True
    api.event(instance_id, "go", {"n": n}, event_id="go-1")
    if instance["status"] == "awaiting_approval":
        answer = api.http.post(f"/{instance_id}/approvals/approval:gate", json={"decision": "approve", "by": "alice"})
        assert answer.status_code == 200, answer.text
    return False


def drive(world: World, chance: random.Random, *, kills: int) -> list[str]:
    """Start instances and see them through, while something dies every now and then; their ids."""
    started: list[str] = []
    unfinished: dict[str, int] = {}
    next_kill = time.monotonic() + chance.uniform(0.05, 0.6)
    while world.kills < kills or unfinished or len(started) < AT_A_TIME:
        try:
            while len(unfinished) < AT_A_TIME and (len(started) < AT_A_TIME or world.kills < kills):
                n = len(started)
                instance_id = f"all-{n}"
                world.api.start("everything", {"n": n % 4 + 1, "url": world.runner.url()}, id=instance_id)
                started.append(instance_id)
                unfinished[instance_id] = n % 4 + 1
            for instance_id, n in list(unfinished.items()):
                if push(world.api, instance_id, n):
                    del unfinished[instance_id]
                if world.kills < kills and time.monotonic() >= next_kill:
                    world.kill_one()
                    next_kill = time.monotonic() + chance.uniform(0.05, 0.6)
        except httpx.TransportError as error:
            raise AssertionError(f"the engine died of itself: {world.api.process.said()[-2000:]}") from error
    return started


async def histories(database: Path) -> dict[str, list[Transition]]:
    store = SqliteStore(database)
    await store.open()
    try:
        ids: list[str] = []
        while page := await store.list(after=ids[-1] if ids else None):
            ids += [summary.id for summary in page]
        found = await store.histories(ids)
    finally:
        await store.close()
    read = {}
    for instance_id, history in found.items():
        assert not isinstance(history, Exception), history
        read[instance_id] = list(history)
    return read


def outcome(history: list[Transition]) -> Outcome:
    """Fold a history, and remember the records of every run on the way."""
    started = history[0]
    assert isinstance(started, InstanceStarted)
    instance = begin(started)
    records: dict[tuple[int, str], tuple[str, Any]] = {}
    for transition in history[1:]:
        if isinstance(transition, MemberSucceeded) and instance.group is not None:
            key = instance.group.member_key(transition.index)
            records[instance.run, key] = ("completed", json.loads(transition.output_json))
        instance = evolve(instance, transition)
        if instance.steps and instance.steps[-1].position is not None:
            record = instance.steps[-1]
            records[instance.run, record.key] = (record.status, comparable(record.key, record.output))
    return Outcome(instance.output, records, instance.usage, instance.vars)


def comparable(key: str, output: Any) -> Any:
    """An output without what is another's each time: a moment, a number drawn, the headers of an answer."""
    if key == "draw":
        return isinstance(output, float)
    if key == "http":
        return output["status"]
    return {**output, "at": None} if key.startswith("approval:") else output


def recorded(read: dict[str, list[Transition]]) -> dict[Ran, float]:
    """When each step's result was recorded, in milliseconds."""
    found: dict[Ran, float] = {}
    for instance_id, history in read.items():
        started = history[0]
        assert isinstance(started, InstanceStarted)
        instance = begin(started)
        for transition in history[1:]:
            if isinstance(transition, StepSucceeded):
                found[instance_id, instance.run, transition.key] = transition.at.timestamp() * 1000
            elif isinstance(transition, MemberSucceeded) and instance.group is not None:
                key = instance.group.member_key(transition.index)
                found[instance_id, instance.run, key] = transition.at.timestamp() * 1000
            instance = evolve(instance, transition)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kit", ["python", "typescript"])
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(4, marks=pytest.mark.timeout(180)),
        pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
async def test_what_comes_out_does_not_depend_on_who_dies_when(
    kit: str, kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kit == "typescript":
        need_typescript()
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    chance = random.Random(seed)
    with a_world(kit, tmp_path / "undisturbed") as world:
        drive(world, chance, kills=0)
    undisturbed = await histories(tmp_path / "undisturbed" / "workflows.db")
    with a_world(kit, tmp_path / "disturbed") as world:
        ids = drive(world, chance, kills=kills)
        ran = world.ran()
    disturbed = await histories(tmp_path / "disturbed" / "workflows.db")
    recorded_at = recorded(disturbed)
    again = len(ran) - len({step for step, _ in ran}) - len([step for step, _ in ran if step[2] == "flaky"]) // 2
    twice = [step for step, began_ms in ran if began_ms > recorded_at.get(step, began_ms) + CLOCK_MS]
    with capsys.disabled():
        sys.stdout.write(
            f"\nevery helper, {kit} kit, seed {seed}: {kills} kills, {len(ids)} instances, {len(ran)} step bodies run, "
            f"{again} of them again, recorded steps run twice: {len(twice)}\n"
        )
    assert not twice, f"seed {seed}"
    for instance_id in ids:
        as_ever = outcome(undisturbed[f"all-{int(instance_id.removeprefix('all-')) % 4}"])
        assert outcome(disturbed[instance_id]) == as_ever, f"seed {seed}: {instance_id}"
