"""Workflows of many sorts, by random schedules of cuts, restarts, late answers and events: nothing depends on them.

Each workflow of the corpus is played undisturbed, and then disturbed, against the real engine: with the Python kit in
this process and with the TypeScript kit, over a MemoryStore and over a file. What comes out is equal, keys are unique,
the snapshot is what the history folds into, no recorded step runs again, no late answer counts, and nothing is stuck.
A seed repeats what chance decides; `SEED=` sets that of the random one.
"""

import asyncio
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pylon_workflows.errors import RunnerUnavailableError
from pylon_workflows.ports import Apply, Runner, Turn
from runner_protocol.kit.notes import RunNotes
from runner_protocol.kit.replay import Replay
from tests.conformance.run_all import TYPESCRIPT
from tests.end_to_end.processes import Processes, need_typescript
from tests.faults.file_contents import read_file
from tests.faults.schedules import world as schedules
from tests.faults.schedules.corpus import CORPUS, Played
from tests.faults.schedules.disturbances import DisturbedRunner
from tests.faults.schedules.world import (
    Bodies,
    MakesEngines,
    Outcome,
    World,
    differing,
    in_file,
    in_memory,
    python_kit,
    typescript_kit,
)

RANDOM_SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(2**32)))
SEEDS = (1, 2, RANDOM_SEED)
streams = pytest.mark.parametrize("stream", [True, False], ids=["streams", "turns"])
one_step_a_turn = partial(python_kit, stream=False)
kits = pytest.mark.parametrize("kit", [python_kit, one_step_a_turn], ids=["streams", "turns"])
by_name = pytest.mark.parametrize("played", CORPUS, ids=lambda played: played.name)


Kit = Callable[[Bodies], AbstractAsyncContextManager[Runner]]


async def play(
    played: Played, make: MakesEngines, seed: int | None, kit: Kit = python_kit
) -> tuple[dict[str, Outcome], World, DisturbedRunner]:
    chance = None if seed is None else random.Random(f"{played.name}:{seed}")
    bodies = Bodies(chance)
    async with kit(bodies) as inner:
        runner = DisturbedRunner(inner, chance)
        bodies.is_recorded = runner.recorded.__contains__
        world = World(played, make, runner, chance)
        outcomes = await world.play()
    assert bodies.ran_again == []
    return outcomes, world, runner


async def undisturbed(played: Played, kit: Kit = python_kit) -> dict[str, Outcome]:
    outcomes, _, _ = await play(played, in_memory(), None, kit)
    assert outcomes["root"].status == "completed"
    return outcomes


async def disturbed(played: Played, make: Callable[[], MakesEngines], seeds: Iterable[int], kit: Kit) -> None:
    """Play by the schedules of these seeds, and find no difference."""
    expected = await undisturbed(played, kit)
    for seed in seeds:
        sys.stdout.write(f"{played.name}: SEED={seed}\n")
        outcomes, _, _ = await play(played, make(), seed, kit)
        assert differing(expected, outcomes) == "", f"SEED={seed}"


@pytest.mark.slow
@by_name
@kits
async def test_no_schedule_changes_what_comes_out(played: Played, kit: Kit) -> None:
    await disturbed(played, in_memory, SEEDS, kit)


@by_name
async def test_one_step_a_turn_comes_to_the_same_as_streams(played: Played) -> None:
    assert differing(await undisturbed(played), await undisturbed(played, one_step_a_turn)) == ""


async def disturbed_in_files(played: Played, folder: Path, seeds: Iterable[int]) -> None:
    """Play over a file each, and find no difference, and nothing in the file that does not fit together."""
    for seed in seeds:
        path = folder / f"{seed}.db"
        await disturbed(played, partial(in_file, path), [seed], python_kit)
        found = await asyncio.to_thread(read_file, path)
        assert (found.torn, found.damage, len(found.instances) > 0) == ([], [], True), f"SEED={seed}"


@pytest.mark.slow
@by_name
async def test_no_schedule_changes_what_comes_out_of_a_file(played: Played, tmp_path: Path) -> None:
    await disturbed_in_files(played, tmp_path, [RANDOM_SEED])


@pytest.mark.long
@pytest.mark.timeout(3600)
@by_name
@kits
async def test_none_of_a_hundred_schedules_changes_what_comes_out(played: Played, kit: Kit) -> None:
    await disturbed(played, in_memory, range(RANDOM_SEED, RANDOM_SEED + 100), kit)


@pytest.mark.long
@pytest.mark.timeout(3600)
@by_name
async def test_none_of_a_hundred_schedules_changes_what_comes_out_of_a_file(played: Played, tmp_path: Path) -> None:
    await disturbed_in_files(played, tmp_path, range(RANDOM_SEED, RANDOM_SEED + 100))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, str]]:
    """The URLs of the TypeScript kit's runners: one that streams and one that does not."""
    need_typescript()
    program = str(TYPESCRIPT / "dist" / "corpus.js")
    with Processes(tmp_path_factory.mktemp("corpus")) as processes:
        streaming = processes.start("streams", "node", program)
        yield {True: streaming.url(), False: processes.start("turns", "node", program, "--no-stream").url()}


@pytest.mark.slow
@by_name
@streams
async def test_no_schedule_changes_what_the_typescript_kit_comes_to(
    node: dict[bool, str], played: Played, stream: bool
) -> None:
    await disturbed(played, in_memory, [RANDOM_SEED], lambda _: typescript_kit(node[stream]))


@pytest.mark.long
@pytest.mark.timeout(3600)
@by_name
@streams
async def test_none_of_a_hundred_schedules_changes_what_the_typescript_kit_comes_to(
    node: dict[bool, str], played: Played, stream: bool
) -> None:
    seeds = range(RANDOM_SEED, RANDOM_SEED + 100)
    await disturbed(played, in_memory, seeds, lambda _: typescript_kit(node[stream]))


def forget_what_is_noted(patch: pytest.MonkeyPatch) -> None:
    make = RunNotes.__init__
    patch.setattr(RunNotes, "__init__", lambda self, values, noted: make(self, values, 0))


def hand_out_the_last_first(patch: pytest.MonkeyPatch) -> None:
    make = Replay.__init__

    def backward(self: Any, records: Any, started_at: Any) -> None:
        make(self, records, started_at)
        self._due.reverse()

    patch.setattr(Replay, "__init__", backward)


def lose_the_last_record(patch: pytest.MonkeyPatch) -> None:
    make = Replay.__init__

    def forgetful(self: Any, records: Any, started_at: Any) -> None:
        make(self, records[:-1] if len(records) > 2 and records[-1].kind == "step" else records, started_at)

    patch.setattr(Replay, "__init__", forgetful)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "breakage"),
    [
        ("variables", forget_what_is_noted),
        ("groups", hand_out_the_last_first),
        ("siblings", lose_the_last_record),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_the_schedules_see_a_breakage_of_the_kit(
    name: str, breakage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    [played] = [played for played in CORPUS if played.name == name]
    expected = await undisturbed(played)
    breakage(monkeypatch)
    assert await first_difference(played, expected, range(6))


async def first_difference(played: Played, expected: dict[str, Outcome], seeds: Iterable[int]) -> str:
    for seed in seeds:
        try:
            outcomes, _, _ = await play(played, in_memory(), seed)
        except (AssertionError, TimeoutError) as error:
            return repr(error)
        if difference := differing(expected, outcomes):
            return difference
    return ""


class NeverThere:
    """A runner."""

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        raise RunnerUnavailableError("the runner is away")


class OnlyRestarts(random.Random):
    """Chance that brings nothing else."""

    def random(self) -> float:
        return 0.21


async def test_a_play_that_is_stuck_says_where_also_in_the_middle_of_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "WITHIN_S", 0.05)
    world = World(CORPUS[0], in_memory(), DisturbedRunner(NeverThere(), None), OnlyRestarts())
    with pytest.raises(TimeoutError, match=r"stuck: \['root: pending"):
        await world.play()
