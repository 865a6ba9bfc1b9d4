"""Images of the disk as a power cut may have left it, opened and compared."""

import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.acknowledgements import lost
from tests.faults.file_contents import read_file
from tests.faults.power_cut.disk import Disk
from tests.faults.power_cut.recording import SPEECH, SYNC, Recording

BEGINNING = 40
"""So many notes in which the file is made."""


@dataclass
class Tally:
    """What the images of one kind have shown; `keep_in` is where those are left that have shown a fault or a loss."""

    keep_in: Path

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


def check_images(recording: Recording, moments: list[int], seed: int, folder: Path, tally: Tally) -> None:
    """Rebuild, open and compare the images of a recording at these moments."""
    chance = random.Random(seed)
    disk, done = Disk(), 0
    whole = recording.contents.order
    tally.checkpoints += recording.count(SYNC, "")
    for cut in moments:
        for note in recording.notes[done:cut]:
            disk.do(note)
        done = cut
        database = folder / f"{tally.images}.db"
        image = disk.after_cut(chance)
        _write(image, database)
        said = recording.acknowledged(before=cut)
        known = tally.with_loss, len(tally.faults)
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
        if known != (tally.with_loss, len(tally.faults)):
            _write(image, tally.keep_in / f"seed-{seed}-cut-{cut}.db")
        tally.images += 1
        tally.acknowledged += len(said)
        for file in folder.iterdir():
            file.unlink()


def _write(image: dict[str, bytes], database: Path) -> None:
    for name, content in image.items():
        Path(f"{database}{name}").write_bytes(content)
