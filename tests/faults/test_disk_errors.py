"""A write or a sync of the disk fails, at any place, and the program goes on: nothing acknowledged is lost, what was
refused is not there or there once, and the file opens (P24, P25); also when the power goes after that.
"""

import errno
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.acknowledgements import lost
from tests.faults.file_contents import FileContents, read_copy
from tests.faults.power_cut.images import Tally, check_images, cuts
from tests.faults.power_cut.recording import (
    FAILED,
    FAILED_SYNC,
    ROOT,
    SYNC,
    TRUNCATE,
    WRITE,
    Fault,
    Recording,
    record,
)

LOAD = ("--users", "4", "--starts", "2", "--sessions", "2", "--checkpoint-pages", "60")
WRITES_THAT_A_FULL_DISK_REFUSES = 6
IMAGES_A_FAULT = 10


def faults_of(recording: Recording) -> dict[str, list[Fault]]:
    """Every place at which a program that does as recorded can be hit, by the kind of the fault."""
    writes, syncs, truncations = (range(1, recording.count(kind) + 1) for kind in (WRITE, SYNC, TRUNCATE))
    full = WRITES_THAT_A_FULL_DISK_REFUSES
    return {
        "disk full": [Fault(WRITE, first, full, errno.ENOSPC, is_partial=first % 2 == 0) for first in writes],
        "write fails": [Fault(WRITE, first, 1, errno.EIO, is_partial=first % 2 == 0) for first in writes],
        "sync fails": [Fault(SYNC, first, 1, errno.EIO) for first in syncs],
        "truncation fails": [Fault(TRUNCATE, first, 1, errno.EIO) for first in truncations],
    }


class Hits:
    """What became of programs that were hit."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.troubles: list[str] = []

    def add(self, fault: Fault, recording: Recording) -> None:
        """How a program that was hit came out of it."""
        said = [words for _, words in recording.heard]
        hits = [number for number, note in enumerate(recording.notes) if note.kind in (FAILED, FAILED_SYNC)]
        kinds = Counter(words[0] for words in said)
        self.counts["hit"] += bool(hits)
        self.counts["refused"] += bool(kinds["full"] + kinds["refused"])
        if recording.returncode == 0:
            self.counts["went on"] += any(number > hits[-1] for number, _ in recording.heard) if hits else 0
        elif kinds["opening"] > kinds["opened"] and "pylon_workflows.errors." in recording.errors:
            self.counts["did not open"] += 1
        else:
            self.troubles.append(f"{fault}: the program ended: {recording.errors[-2000:]}")

    def compare(self, fault: Fault, recording: Recording, contents: FileContents) -> None:
        """Hold a file against what the program said that was hit."""
        said = [words for _, words in recording.heard]
        troubles = [f"lost {each}" for each in lost(recording.acknowledged(), contents.instances)]
        troubles += contents.torn + contents.damage
        started = {words[1] for words in said if words[0] == "start"}
        given_up = {words[1] for words in said if words[0] == "full" and words[2] == "_start"}
        troubles += [f"{each} was refused and is there" for each in (given_up - started) & contents.instances.keys()]
        for _, instance_id, event_id in [words for words in said if words[0] == "full" and words[2].startswith("nag ")]:
            instance = contents.instances.get(instance_id)
            if instance is not None and event_id in instance.event_ids:
                troubles.append(f"{event_id} was refused and is there")
        self.troubles += [f"{fault}: {trouble}" for trouble in troubles]


def goes_on(folder: Path) -> FileContents:
    """What the file holds after the program was started again, without a fault, and has finished what was begun."""
    program = subprocess.run(
        [sys.executable, "-m", "tests.faults.load", str(folder / "workflows.db"), "--finish"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    return read_copy(folder / "workflows.db", folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults_a_kind",
    [
        pytest.param(3, id="a-few"),
        pytest.param(10**6, id="every-one", marks=[pytest.mark.long, pytest.mark.timeout(3 * 3600)]),
    ],
)
def test_no_failing_write_or_sync_loses_or_doubles_anything(
    recorder: Path, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str], faults_a_kind: int
) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    chance = random.Random(seed)
    began = time.monotonic()
    kinds = faults_of(record(recorder, tmp_path / "whole", *LOAD, "--seed", str(seed)))
    hits, tally = Hits(), Tally(keep_in=tmp_path)
    chosen = [fault for kind in kinds.values() for fault in chance.sample(kind, min(faults_a_kind, len(kind)))]
    for number, fault in enumerate(chosen):
        folder = tmp_path / str(number)
        recording = record(recorder, folder, *LOAD, "--seed", str(seed), fault=fault)
        hits.add(fault, recording)
        hits.compare(fault, recording, recording.contents)
        if recording.returncode != 0:
            hits.compare(fault, recording, goes_on(folder))
        check_images(recording, cuts(recording, IMAGES_A_FAULT, chance), seed, memory, tally)
    with capsys.disabled():
        sys.stdout.write(
            f"\nfailing disk, seed {seed}: {len(chosen)} faults, {dict(hits.counts)}, {tally.images} power cuts after "
            f"or before them, {tally.with_loss} with a loss, {len(hits.troubles) + len(tally.faults)} troubles; "
            f"{time.monotonic() - began:.1f} s\n"
        )
    assert not hits.troubles, hits.troubles[:20]
    assert not tally.faults, tally.faults[:20]
    assert tally.with_loss == 0
    assert hits.counts["hit"] >= len(chosen) * 2 // 3
    assert hits.counts["went on"] >= len(chosen) // 3
    if len(chosen) > 100:  # of a few, all may have hit a checkpoint, or the opening
        assert hits.counts["refused"] > len(chosen) // 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "deaths",
    [pytest.param(4, id="a-few"), pytest.param(200, id="200", marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
def test_what_is_acknowledged_after_a_sync_failed_and_the_program_died_survives_a_power_cut(
    recorder: Path, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str], deaths: int
) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    chance = random.Random(seed)
    began = time.monotonic()
    tally = Tally(keep_in=tmp_path)
    for number in range(deaths):
        folder = tmp_path / str(number)
        fault = Fault(SYNC, chance.randint(4, 40), 1, errno.EIO, is_last=True)
        first = record(recorder, folder, *LOAD, "--seed", str(seed + number), fault=fault)
        assert first.returncode == -9, first.errors
        later = record(recorder, folder, *LOAD, "--seed", str(seed + number), "--round", "1")
        assert later.returncode == 0, later.errors
        both = first.followed_by(later)
        moments = sorted(chance.sample(range(len(first.notes), len(both.notes)), 3 * IMAGES_A_FAULT))
        check_images(both, moments, seed, memory, tally)
    with capsys.disabled():
        sys.stdout.write(
            f"\nkilled at a failing sync, seed {seed}: {deaths} deaths, {tally.images} power cuts after the next "
            f"start: {tally.with_loss} with a loss, {len(tally.faults)} torn or corrupt; "
            f"{time.monotonic() - began:.1f} s\n"
        )
    assert not tally.faults, tally.faults[:20]
    assert tally.with_loss == 0
