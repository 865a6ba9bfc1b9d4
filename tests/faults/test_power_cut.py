"""A power cut at any moment: with `synchronous="full"` nothing acknowledged is lost, with "normal" a suffix may be (P1,
P2); in neither is anything torn or corrupt (P4).

The load runs, recorded; then the disk is rebuilt as it may be after a cut at many points of the recording, and what
it holds is opened, read and written with the real store. SEED=n repeats a run's choices; the recording is made anew.
"""

import os
import random
import sys
import time
from pathlib import Path

import pytest

from tests.faults.acknowledgements import lost
from tests.faults.power_cut.images import BEGINNING, Tally, check_images, cuts
from tests.faults.power_cut.recording import SYNC, record

IMAGES_A_RECORDING = 100
LOAD = ("--users", "8", "--starts", "2", "--sessions", "2", "--checkpoint-pages", "60")


@pytest.mark.slow
def test_a_power_cut_while_the_file_is_made_leaves_one_that_can_be_used(
    recorder: Path, tmp_path: Path, memory: Path
) -> None:
    recording = record(recorder, tmp_path / "made", *LOAD)
    tally = Tally(keep_in=tmp_path)
    for seed in range(6):
        check_images(recording, list(range(BEGINNING)), seed, memory, tally)
    assert not tally.faults, tally.faults[:20]
    assert tally.with_loss == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("synchronous", "seed", "images"),
    [
        pytest.param("full", 1, 150, id="full-seed-1"),
        pytest.param("full", None, 150, id="full-random-seed"),
        pytest.param("normal", None, 150, id="normal-random-seed"),
        pytest.param(
            "full", None, 20_000, id="full-20000-images", marks=[pytest.mark.long, pytest.mark.timeout(4 * 3600)]
        ),
        pytest.param(
            "normal", None, 2_000, id="normal-2000-images", marks=[pytest.mark.long, pytest.mark.timeout(3600)]
        ),
    ],
)
def test_a_power_cut_loses_nothing_acknowledged_with_full_and_at_most_an_end_with_normal(
    recorder: Path,
    tmp_path: Path,
    memory: Path,
    capsys: pytest.CaptureFixture[str],
    synchronous: str,
    seed: int | None,
    images: int,
) -> None:
    first_seed = seed if seed is not None else int(os.environ.get("SEED") or random.randrange(10**6))
    began = time.monotonic()
    tally = Tally(keep_in=tmp_path)
    while tally.images < images:
        number = first_seed + tally.images // IMAGES_A_RECORDING
        recording = record(recorder, tmp_path / str(number), *LOAD, "--seed", str(number), "--synchronous", synchronous)
        assert recording.returncode == 0, recording.errors
        assert recording.count(SYNC, "-wal") > 0
        assert not lost(recording.acknowledged(), recording.contents.instances)
        some = min(IMAGES_A_RECORDING, images - tally.images)
        check_images(recording, cuts(recording, some, random.Random(number)), number, memory, tally)
    with capsys.disabled():
        sys.stdout.write(
            f"\npower cut, synchronous={synchronous}, seed {first_seed}: {tally.images} images, "
            f"{tally.acknowledged / tally.images:.0f} acknowledgements each, {tally.checkpoints} checkpoints recorded, "
            f"{tally.with_loss} images with a loss, {len(tally.faults)} torn or corrupt; "
            f"{time.monotonic() - began:.1f} s\n"
        )
    assert not tally.faults, tally.faults[:20]
    assert tally.acknowledged > 50 * tally.images, "the cuts hit no work"
    if synchronous == "full":
        assert tally.with_loss == 0
    else:
        assert tally.with_loss > 0, "the harness sees no loss where there must be some"


@pytest.mark.slow
@pytest.mark.parametrize(
    "breakage",
    ["never_sync", "acknowledge_an_event_before_it_is_stored"],
    ids=["no-sync", "early-answer"],
)
def test_the_harness_of_power_cuts_sees_a_breakage(recorder: Path, tmp_path: Path, memory: Path, breakage: str) -> None:
    tally = Tally(keep_in=tmp_path)
    recording = record(recorder, tmp_path / "broken", *LOAD, "--breakage", breakage)
    check_images(recording, cuts(recording, IMAGES_A_RECORDING, random.Random(1)), 1, memory, tally)
    assert tally.with_loss > 0
    assert (breakage == "never_sync") == bool(tally.faults), "without syncs the file is damaged, and only then"
