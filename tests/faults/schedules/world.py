"""Plays a workflow of the corpus against the real engine, undisturbed or by a random schedule."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, Protocol

from pylon_workflows import WorkflowDefinition, WorkflowEngine
from pylon_workflows.core.evolution import replay
from pylon_workflows.core.instance import ApprovalWait, Instance, Status
from pylon_workflows.core.records import Record
from pylon_workflows.errors import ApprovalConflictError, InstanceFinishedError
from pylon_workflows.ports import Runner
from pylon_workflows.runner.http import HttpRunner
from pylon_workflows.runner.local import LocalRunner
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import FakeClock, MemoryStore
from runner_protocol import current_step
from tests.faults.schedules.corpus import NAMES, Played, create_runner
from tests.faults.schedules.disturbances import DisturbedRunner, Ran

WITHIN_S = 60.0
RETRIES = 1_000
STEPS_OF_TIME = (0.5, 10.0, 600.0, 3600.0, 7200.0)
ROOT_ID = "root"


class Outcome(NamedTuple):
    """What became of one instance: all that must not depend on the schedule."""

    status: str
    output: Any
    error: str | None
    run: int
    usage: str
    variables: dict[str, Any]
    records: list[tuple[str, str, str]]


class MakesEngines(Protocol):
    """Opens an engine on what the one before has left."""

    def __call__(self, runner: Runner, clock: FakeClock) -> WorkflowEngine: ...


def in_memory() -> MakesEngines:
    """Engines on one MemoryStore."""
    store = MemoryStore()
    settings = EngineSettings(shutdown_grace_s=0)
    return lambda runner, clock: WorkflowEngine(runner=runner, store=store, clock=clock, settings=settings)


def in_file(path: Path) -> MakesEngines:
    """Engines on one file."""
    settings = EngineSettings(shutdown_grace_s=0)
    return lambda runner, clock: WorkflowEngine(runner=runner, database=path, clock=clock, settings=settings)


@asynccontextmanager
async def python_kit(bodies: "Bodies", *, stream: bool = True) -> AsyncIterator[Runner]:
    """The corpus in the Python kit, in this process."""
    async with LocalRunner(create_runner(bodies.pause, stream=stream)) as runner:
        yield runner


@asynccontextmanager
async def typescript_kit(url: str) -> AsyncIterator[Runner]:
    """The corpus in the TypeScript kit, in a process of its own."""
    async with HttpRunner(url) as runner:
        yield runner


class Bodies:
    """What the bodies of steps do: they let others run for a while, and are told whether they should run at all."""

    def __init__(self, chance: random.Random | None) -> None:
        self._chance = chance
        self.ran: Counter[Ran] = Counter()
        self.is_recorded: Callable[[Ran], bool] = lambda _: False
        self.ran_again: list[Ran] = []

    async def pause(self) -> None:
        """Called by each body as it begins."""
        step = current_step()
        ran = (step.workflow_id, step.run, step.key)
        self.ran[ran] += 1
        if self.is_recorded(ran):
            self.ran_again.append(ran)
        for _ in range(0 if self._chance is None else self._chance.randrange(12)):
            await asyncio.sleep(0)


class World:
    """One play."""

    def __init__(
        self, played: Played, make: MakesEngines, runner: DisturbedRunner, chance: random.Random | None
    ) -> None:
        self._played = played
        self._make = make
        self._runner = runner
        self._chance = chance
        self.clock = FakeClock()
        self.restarts = 0

    async def play(self) -> dict[str, Outcome]:
        """Start it, let everything happen, and give the outcomes by id. Raises TimeoutError when it is stuck."""
        self.engine = await self._opened()
        try:
            await self.engine.start(self._played.name, self._played.input, id=ROOT_ID)
            events = list(enumerate(self._played.events))
            if self._chance is not None:
                self._chance.shuffle(events)
            until = monotonic() + WITHIN_S
            while not await self._is_over():
                if monotonic() > until:  # looked at between happenings: a restart cut short leaves no engine to ask
                    raise TimeoutError(f"stuck: {[await self._shown(one.id) for one in await self._all()]}")
                await self._happen(events)
            await self._check_replay()
            return {one.id: _outcome(one) for one in await self._all()}
        finally:
            await self.engine.__aexit__(None, None, None)

    async def _opened(self) -> WorkflowEngine:
        engine = self._make(self._runner, self.clock)
        for name in NAMES:
            engine.register(WorkflowDefinition(name, max_retries=RETRIES))
        return await engine.__aenter__()

    async def _happen(self, events: list[tuple[int, tuple[str, Any]]]) -> None:
        """One thing after the other in an undisturbed play; else whatever chance brings."""
        chance = self._chance
        if chance is None:
            while events:
                await self._send(events.pop(0))
            await self._approve()
            self.clock.advance(STEPS_OF_TIME[2])
            await asyncio.sleep(0.0005)
            return
        luck = chance.random()
        if events and luck < 0.1:
            await self._send(events[-1])
            if chance.random() < 0.7:
                events.pop()  # else it is sent again: its id is known
        elif luck < 0.2:
            await self._approve()
        elif luck < 0.23:
            await self._restart()
        elif luck < 0.5:
            self.clock.advance(chance.choice(STEPS_OF_TIME))
        else:
            await asyncio.sleep(chance.choice((0, 0, 0, 0, 0, 0.001)))

    async def _send(self, event: tuple[int, tuple[str, Any]]) -> None:
        number, (name, data) = event
        try:
            await self.engine.send_event(ROOT_ID, name, data, event_id=f"event-{number}")
        except InstanceFinishedError:
            return

    async def _approve(self) -> None:
        instance = await self.engine.get(ROOT_ID)
        if isinstance(instance.wait, ApprovalWait):
            assert instance.wait.key in self._played.gates
            try:
                await self.engine.approve(ROOT_ID, instance.wait.key, by="alice")
            except ApprovalConflictError:
                return

    async def _restart(self) -> None:
        await self.engine.__aexit__(None, None, None)
        self.restarts += 1
        self.engine = await self._opened()
        await self._check_replay()

    async def _check_replay(self) -> None:
        for one in await self._all():
            history = await self.engine.history(one.id)
            if len(history) == one.revision:  # else it went on in between
                assert replay(history) == one, one.id

    async def _is_over(self) -> bool:
        found = await self._all()
        for one in found:
            assert one.status != Status.BLOCKED, await self._shown(one.id)
        return all(one.is_finished for one in found)

    async def _all(self) -> list[Instance]:
        """All instances as `get` tells them: a list may be ahead by what is being committed."""
        return [await self.engine.get(one.id) for one in await self.engine.list()]

    async def _shown(self, instance_id: str) -> str:
        instance = await self.engine.get(instance_id)
        due = f"{instance.status} {instance.waiting_for} due {instance.due_at} at {self.clock.now()}"
        return f"{instance_id}: {due} {instance.blocked_reason}"


def _outcome(instance: Instance) -> Outcome:
    taken = [record for record in instance.records if record.has_taken_key]
    keys = Counter(record.key for record in taken)
    assert max(keys.values(), default=1) == 1, keys
    positions = [record.position for record in instance.records if record.position is not None]
    assert positions == list(range(len(positions)))
    return Outcome(
        status=str(instance.status),
        output=instance.output,
        error=instance.error,
        run=instance.run,
        usage=instance.usage.json.decode(),
        variables=dict(instance.vars),
        records=sorted(map(_shape, taken)),
    )


def _shape(record: Record) -> tuple[str, str, str]:
    return record.key, record.kind, record.status


def differing(expected: dict[str, Outcome], got: dict[str, Outcome]) -> str:
    """Where two plays differ, as text; empty where they do not."""
    lines = [f"only in one: {set(expected) ^ set(got)}"] if set(expected) != set(got) else []
    for instance_id in expected.keys() & got.keys():
        one, other = expected[instance_id], got[instance_id]
        for name in Outcome._fields:
            first, second = getattr(one, name), getattr(other, name)
            if json.dumps(first, sort_keys=True) != json.dumps(second, sort_keys=True):
                lines.append(f"{instance_id}.{name}: {first!r} became {second!r}")
    return "\n".join(lines)
