"""A power cut at any moment: with `synchronous="full"` nothing acknowledged is lost, with "normal" a suffix may be (P1,
P2); in neither is anything torn or corrupt (P4).

The load runs, recorded; then the disk is rebuilt as it may be after a cut at many points of the recording, and what
it holds is opened, read and written with the real store. SEED=n repeats a run's choices; the recording is made anew.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.acknowledgements import lost
from tests.faults.file_contents import read_file
from tests.faults.power_cut.disk import Disk
from tests.faults.power_cut.recording import SPEECH, SYNC, Recording, build_recorder, record

IMAGES_A_RECORDING = 100
LOAD = ("--users", "8", "--starts", "2", "--sessions", "2", "--checkpoint-pages", "60")
BEGINNING = 60
"""So many notes in which the file is made."""


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder for images: their files need not be on a disk, and are many."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


@dataclass
class Tally:
    """What the images of one kind have shown."""

    images: int = 0
    with_loss: int = 0
    acknowledged: int = 0
    checkpoints: int = 0
    faults: list[str] = field(default_factory=list)


def cuts(recording: Recording, count: int, chance: random.Random) -> list[int]:
    """Moments to cut at, in order: each means that so many notes had been made.

    Half of them are anywhere; the others right after an acknowledgement, in a checkpoint, or while the file is made.
    """
    notes = recording.notes
    places = (
        range(len(notes) + 1),
        [number + 1 for number, note in enumerate(notes) if note.kind == SPEECH],
        [number + 1 for number, note in enumerate(notes) if note.kind != SPEECH and note.file != "-wal"],
        range(BEGINNING),
    )
    return sorted(chance.choice(chance.choices(places, (8, 4, 3, 1))[0]) for _ in range(count))


def check_images(recording: Recording, images: int, seed: int, folder: Path, tally: Tally) -> None:
    """Rebuild, open and compare so many images of a recording."""
    chance = random.Random(seed)
    disk, done = Disk(), 0
    whole = recording.contents.order
    tally.checkpoints += recording.count(SYNC, "")
    for cut in cuts(recording, images, chance):
        for note in recording.notes[done:cut]:
            disk.do(note)
        done = cut
        database = folder / f"{tally.images}.db"
        for name, content in disk.after_cut(chance).items():
            Path(f"{database}{name}").write_bytes(content)
        said = recording.acknowledged(before=cut)
        where = f"seed {seed}, cut at {cut} of {len(recording.notes)}"
        try:
            contents = read_file(database, and_write=True)
        except Exception as error:
            tally.faults.append(f"{where}: cannot be opened: {error!r}")
        else:
            tally.with_loss += bool(lost(said, contents.instances))
            tally.faults += [f"{where}: {fault}" for fault in contents.torn + contents.damage]
            if contents.order != whole[: len(contents.order)]:
                tally.faults.append(f"{where}: what is left is no beginning of what was done")
        tally.images += 1
        tally.acknowledged += len(said)
        for file in folder.iterdir():
            file.unlink()


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
    tally = Tally()
    while tally.images < images:
        number = first_seed + tally.images // IMAGES_A_RECORDING
        recording = record(recorder, tmp_path / str(number), *LOAD, "--seed", str(number), "--synchronous", synchronous)
        assert recording.returncode == 0, recording.errors
        assert recording.count(SYNC, "-wal") > 0
        assert not lost(recording.acknowledged(), recording.contents.instances)
        some = min(IMAGES_A_RECORDING, images - tally.images)
        check_images(recording, some, number, memory, tally)
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
