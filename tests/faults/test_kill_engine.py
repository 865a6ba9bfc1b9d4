"""`kill -9` of a process with a real engine under load, at random moments, again and again on one file (P1, P4, P6).

SEED=n repeats the choices of a run; what the load was doing at the moment of a kill is the machine's.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pylon_workflows.core.instance import FINISHED
from tests.faults.acknowledgements import Acknowledgement, Words, acknowledgements, heard, lost
from tests.faults.file_contents import Attempt, read_copy

ROOT = Path(__file__).parents[2]
KILLS_A_FILE = 10
MOST_LINES = 700
FINISH_S = 60
KILLS_UNTIL_SEEN = 40


def came_of(given: dict[str, Any], instance_id: str) -> list[Any]:
    """The output of an instance of `load.py`, however often its process was killed."""
    text = given["text"]
    match given["kind"]:
        case "steps":
            middle: list[Any] = [text] * 3
        case "waits" | "early" | "published":
            middle = [{"to": instance_id}]
        case "flaky":
            middle = [2]
        case "deadline":
            middle = [None]
        case "groups":
            middle = [list("abcdefgh"), {"odd": 2, "even": text}]
        case "family":
            middle = [came_of({"kind": "groups", "text": "child"}, "")]
        case "gates":
            middle = [True]
        case _:
            middle = []
    return [text, *middle, text]


@dataclass
class Story:
    """What has been heard and seen over the life of one file."""

    folder: Path
    seed: int
    options: tuple[str, ...] = ()
    kills: int = 0
    said: list[Acknowledgement] = field(default_factory=list)
    recorded: set[Attempt] = field(default_factory=set)
    log_length: int = 0
    hit_a_step: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.chance = random.Random(self.seed)
        self.database = self.folder / "workflows.db"
        self.steps = self.folder / "steps.log"
        self.round = 0

    def kill_once(self) -> None:
        """Let the load go on with the file until a random moment, kill it, and compare."""
        words = self._heard_until_killed()
        self.said += acknowledgements(words)
        self.compare(is_over=False)

    def finish(self) -> None:
        """Let everything that was begun come to its end, and compare."""
        program = self._load("--finish")
        try:
            output, _ = program.communicate(timeout=FINISH_S)
        except subprocess.TimeoutExpired:
            program.kill()
            output, _ = program.communicate()
            raise AssertionError(f"seed {self.seed}: some instance does not finish (P8)") from None
        assert program.returncode == 0
        self.said += acknowledgements(heard(output.splitlines(keepends=True)))
        self.compare(is_over=True)

    def compare(self, *, is_over: bool) -> None:
        """Hold the file against all that was ever heard."""
        contents = read_copy(self.database, self.folder)
        seed = f"seed {self.seed}, kill {self.kills}"
        assert not contents.damage, f"{seed}: damage"
        assert not contents.torn, f"{seed}: torn"
        assert not lost(self.said, contents.instances), f"{seed}: acknowledged and lost"
        began = self._new_steps()
        assert not self.recorded.intersection(began), f"{seed}: a recorded step ran again"
        twice = [step for step, count in Counter(began).items() if count > 1]
        assert not twice, f"{seed}: these ran twice with no kill in between"
        self.recorded = contents.recorded
        self.hit_a_step += bool(set(began) - self.recorded)
        open_ones = [each for each in contents.instances.values() if each.status not in FINISHED]
        if is_over:
            assert not open_ones, seed
            for each in contents.instances.values():
                expected = "cancelled" if each.id.startswith(("cancelled", "nagged")) else "completed"
                assert each.status == expected, f"{seed}: {each.id} is {each.status}: {each.error}"
                assert expected == "cancelled" or each.output == came_of(each.input, each.id), f"{seed}: {each.id}"
            told = {each.instance_id for each in self.said if each.kind == "announced"}
            assert contents.instances.keys() == told | contents.unannounced, f"{seed}: an end was never announced"

    def _new_steps(self) -> list[Attempt]:
        """The attempts that began since this was last asked."""
        lines = self.steps.read_text().splitlines() if self.steps.exists() else []
        new, self.log_length = lines[self.log_length :], len(lines)
        return [(instance_id, key, int(number)) for instance_id, key, number in map(str.split, new)]

    def _load(self, *options: str) -> subprocess.Popen[str]:
        self.round += 1
        words = (
            "--round",
            str(self.round),
            "--seed",
            str(self.seed),
            "--steps",
            str(self.steps),
            *self.options,
            *options,
        )
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.load", str(self.database), *words],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def _heard_until_killed(self) -> list[Words]:
        """What one round of the load says: killed while it opens, while it works, or while it closes the file.

        Half of those that work are killed as soon as an acknowledgement to a caller has been read.
        """
        moment = self.chance.choices(("opening", "opened", "closing"), (2, 7, 1))[0]
        more = self.chance.randint(1, MOST_LINES) if moment == "opened" else 0
        pause_s = self.chance.uniform(0, {"opening": 0.03, "opened": 0.003, "closing": 0.02}[moment])
        lines: list[str] = []
        with self._load(*(("--starts", "2") if moment == "closing" else ())) as program:
            assert program.stdout is not None
            for line in program.stdout:
                lines.append(line)
                if line == f'["{moment}"]\n':
                    break
            for _, line in zip(range(more), program.stdout, strict=False):
                lines.append(line)
            if moment == "opened" and self.chance.random() < 0.5:
                wanted = self.chance.choice(("event", "start", "cancel"))
                while lines[-1] and not lines[-1].startswith(f'["{wanted}"'):
                    lines.append(program.stdout.readline())
            else:
                time.sleep(pause_s)  # no condition: the moment is to be any
            program.kill()
            lines += program.stdout.readlines()
        assert program.returncode == -9 or (moment == "closing" and program.returncode == 0)
        assert f'["{moment}"]\n' in lines, "the load ended by itself"
        self.kills += program.returncode == -9
        return heard(lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "files", "synchronous"),
    [
        pytest.param(1, 1, "full", id="seed-1"),
        pytest.param(None, 1, "full", id="random-seed"),
        pytest.param(None, 1, "normal", id="normal-random-seed"),
        pytest.param(
            None, 500 // KILLS_A_FILE, "full", id="500-kills", marks=[pytest.mark.long, pytest.mark.timeout(7200)]
        ),
    ],
)
def test_no_kill_loses_or_tears_or_repeats_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, seed: int | None, files: int, synchronous: str
) -> None:
    """P2 too: a crash of the process loses nothing with "normal" either."""
    first_seed = seed if seed is not None else int(os.environ.get("SEED") or random.randrange(10**6))
    began = time.monotonic()
    stories = []
    for number in range(files):
        story = Story(tmp_path / str(number), first_seed + number, options=("--synchronous", synchronous))
        while story.kills < KILLS_A_FILE:
            story.kill_once()
        story.finish()
        stories.append(story)
    kills = sum(story.kills for story in stories)
    hit_a_step = sum(story.hit_a_step for story in stories)
    said = sum(len(story.said) for story in stories)
    with capsys.disabled():
        sys.stdout.write(
            f"\nkill -9 of the engine, synchronous={synchronous}, seed {first_seed}: {kills} kills, "
            f"{hit_a_step} of them hit a step under way, "
            f"{said} acknowledgements, lost 0, torn 0, "
            f"{sum(len(story.recorded) for story in stories)} steps recorded, run again 0; "
            f"{time.monotonic() - began:.1f} s\n"
        )
    assert hit_a_step >= kills // 10, "the kills hit no work"
    assert said >= 20 * kills, "no work was done"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breakage", "words"),
    [
        ("answer_before_the_commit", "acknowledged and lost"),
        ("acknowledge_an_event_before_it_is_stored", "acknowledged and lost"),
        ("commit_half_a_change", "torn"),
    ],
)
def test_the_harness_of_kills_sees_a_breakage(tmp_path: Path, breakage: str, words: str) -> None:
    story = Story(tmp_path / "broken", seed=1, options=("--breakage", breakage))
    with pytest.raises(AssertionError, match=words):
        while story.kills < KILLS_UNTIL_SEEN:
            story.kill_once()
