"""Races of one event with the workflow that waits for it, on a real file and with the real clock.

The workflow of each race does a step, waits for the event `paid`, waits again without a time limit if that timed out,
looks once more whether there is another one, and completes with what it was given. The event is sent in one of GAPS, to
the instance's id or under its correlation key, a few rounds of the event loop earlier or later, and up to three times
with one event id. Under a key somebody else may wait too: then a second event is sent at last, and each gets one.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pylon_workflows import PublishedStart, Status, UnknownInstanceError, WorkflowDefinition, WorkflowEngine
from pylon_workflows.core.transitions import EventReceived, EventTaken
from pylon_workflows.ports import Apply, Turn
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Action, Complete, StepComplete, TurnRequest, WaitEvent, parse_request

Gap = Literal[
    "before the start",
    "by its own start",
    "before the wait",
    "during the turn",
    "at the commit",
    "while it waits",
    "at the timeout",
    "after the timeout",
]
GAPS: tuple[Gap, ...] = get_args(Gap)
TIMEOUT_S = 0.03
AT_A_TIME = 20
PATIENCE_S = 20.0


@dataclass
class Race:
    number: int
    gap: Gap
    is_by_key: bool
    copies: int
    rounds: int
    is_event_first: bool
    has_rival: bool
    offset_s: float
    receipts: list[bool] = field(default_factory=list)
    sending: asyncio.Task[None] | None = None
    was_sent: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> str:
        return f"race-{self.number}"

    @property
    def key(self) -> str:
        return f"order:{self.number}"

    @property
    def start(self) -> PublishedStart | None:
        is_by_start = self.gap == "by its own start"
        return PublishedStart("race", {"key": self.key}, id=self.id) if is_by_start else None

    @property
    def has_timeout(self) -> bool:
        return self.gap in ("at the timeout", "after the timeout")

    def __str__(self) -> str:
        how = "by key" if self.is_by_key else "by id"
        return f"{self.id}: {self.gap}, {how}, {self.copies} copies, {self.rounds} rounds, first={self.is_event_first}"


def random_race(number: int, chance: random.Random) -> Race:
    gap = GAPS[number % len(GAPS)]
    is_by_key = gap == "by its own start" or (number // len(GAPS)) % 2 == 0
    return Race(
        number=number,
        gap=gap,
        is_by_key=is_by_key,
        copies=chance.choice((1, 1, 2, 3)),
        rounds=chance.randrange(8),
        is_event_first=chance.random() < 0.5,
        has_rival=is_by_key and chance.random() < 0.3,
        offset_s=chance.uniform(-0.004, 0.004),
    )


class World:
    """An engine over a file, its runner, and the races."""

    def __init__(self, database: Any) -> None:
        self.engine = WorkflowEngine(
            runner=Racing(self), database=database, settings=EngineSettings(shutdown_grace_s=0, has_discovery=False)
        )
        for name in ("race", "rival"):
            self.engine.register(WorkflowDefinition(name))
        self.races: dict[str, Race] = {}

    async def run(self, race: Race) -> None:
        """Run a race to its end and see that its event was given once."""
        self.races[race.id] = race
        if race.has_rival:
            await self.engine.start("rival", {"key": race.key}, id=f"rival-{race.number}")
        if race.gap == "by its own start":
            await self.engine.publish("created", correlation=race.key, start=race.start)
            await yields(race.rounds)
            self.send(race)
        elif race.gap == "before the start":
            if race.is_event_first:
                self.send(race)
                await yields(race.rounds)
            await self.engine.start("race", {"key": race.key}, id=race.id)
            self.send(race)
        else:
            await self.engine.start("race", {"key": race.key}, id=race.id)
        await asyncio.wait_for(race.was_sent.wait(), PATIENCE_S)
        assert race.sending is not None
        await race.sending
        assert race.receipts.count(False) == 1, f"{race}: {race.receipts}"
        ends = [asyncio.create_task(self._outcome(race.id))]
        if race.has_rival:
            ends.append(asyncio.create_task(self._outcome(f"rival-{race.number}")))
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)  # it has looked for another and found none
            await self.engine.publish("paid", "second", correlation=race.key)
        found = await asyncio.gather(*ends)
        given = [output for outputs in found for output in outputs if output is not None]
        wanted = [race.id, "second"] if race.has_rival else [race.id]
        assert sorted(given) == sorted(wanted), f"{race}: {found}"
        assert all(len(outputs) - outputs.count(None) == 1 and outputs[-1] is None for outputs in found), (
            f"{race}: {found}"
        )
        history = await self.engine.history(race.id)
        assert [type(each) for each in history].count(EventReceived) == 1, f"{race}"
        assert [type(each) for each in history].count(EventTaken) == 1, f"{race}"
        del self.races[race.id]

    async def _outcome(self, id: str) -> list[Any]:
        await wait_until(lambda: self._is_there(id), timeout_s=PATIENCE_S)
        instance = await self.engine.wait(id, timeout=PATIENCE_S)
        assert instance.status is Status.COMPLETED, f"{id}: {instance.status} {instance.error}"
        return list(instance.output)

    async def _is_there(self, id: str) -> bool:
        try:
            await self.engine.get(id)
        except UnknownInstanceError:
            return False
        return True

    def send(self, race: Race) -> None:
        if race.sending is None:
            race.sending = asyncio.create_task(self._send(race))
            race.was_sent.set()

    async def _send(self, race: Race) -> None:
        await asyncio.gather(*(self._send_copy(race) for _ in range(race.copies)))

    async def _send_copy(self, race: Race) -> None:
        if race.is_by_key:
            receipt = await self.engine.publish(
                "paid", race.id, correlation=race.key, event_id="paid", source=race.id, start=race.start
            )
            race.receipts.append(receipt.is_duplicate)
            return
        while True:
            try:
                sent = await self.engine.send_event(race.id, "paid", race.id, event_id="paid")
            except UnknownInstanceError:
                await asyncio.sleep(0.001)
            else:
                race.receipts.append(sent.is_duplicate)
                return


class Racing:
    """The runner: the workflow of a race, which sends the race's event when its gap has come."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        request = parse_request(turn.body)
        race = self._world.races.get(request.workflow_id)
        action = answer(request, race)
        if race is None:
            await apply([action])
            return
        is_first_wait = len(request.completed_steps) == 1
        if race.gap == "before the wait" and not request.completed_steps:
            self._world.send(race)
            await yields(race.rounds * 3)
        if race.gap == "during the turn" and is_first_wait:
            self._world.send(race)
            await yields(race.rounds)
            if race.is_event_first and race.sending is not None:
                await race.sending
        if race.gap == "at the commit" and is_first_wait and race.is_event_first:
            self._world.send(race)
            await yields(race.rounds)
        applying = asyncio.ensure_future(apply([action]))
        if is_first_wait:
            await yields(race.rounds)
            if race.gap == "at the commit":
                self._world.send(race)
        await applying
        if is_first_wait:
            loop = asyncio.get_running_loop()
            match race.gap:
                case "while it waits":
                    loop.call_later(race.rounds / 1000, self._world.send, race)
                case "at the timeout":
                    loop.call_later(TIMEOUT_S + race.offset_s, self._world.send, race)
                case "after the timeout":
                    loop.call_later(TIMEOUT_S * 2 + abs(race.offset_s), self._world.send, race)


def answer(request: TurnRequest, race: Race | None) -> Action:
    records = request.completed_steps
    outputs = [record.output for record in records if record.kind == "event"]
    if not records:
        return StepComplete(step_name="begin")
    if outputs and outputs[-1] is None and any(outputs):
        return Complete(output=outputs)
    if any(outputs):
        return _wait(request, "0s")
    has_timeout = race is not None and race.has_timeout and not outputs
    return _wait(request, f"{TIMEOUT_S}s" if has_timeout else None)


def _wait(request: TurnRequest, length: str | None) -> WaitEvent:
    return WaitEvent(event="paid", correlation=request.input["key"], timeout=length)


async def yields(rounds: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def run_races(database: Any, count: int, seed: int) -> None:
    """So many races, some of them at a time."""
    chance = random.Random(seed)
    races = [random_race(number, chance) for number in range(count)]
    world = World(database)
    places = asyncio.Semaphore(AT_A_TIME)

    async def run(race: Race) -> None:
        async with places:
            await world.run(race)

    async with world.engine:
        outcomes = await asyncio.gather(*map(run, races), return_exceptions=True)
        failed = [f"{race}: {outcome!r}" for race, outcome in zip(races, outcomes, strict=True) if outcome is not None]
        assert failed == [], f"SEED={seed}: {len(failed)} of {count}: {failed[:3]}"
        await wait_until(lambda: not world.engine._engine.is_matching)
