"""A disk that honours fsync, and nothing beyond: what it may hold after the power has gone.

What was written to a file before its last sync is there. Of the later writes and truncations any may be there, whole or
in sectors, in whatever order. A name that was made or removed since the last sync of the directory may be as it was
before. A sync that has failed has written nothing, and the next one does not make up for it (the pages count as clean:
https://lwn.net/Articles/752063/).
"""

import random
from dataclasses import dataclass, field

from tests.faults.power_cut.recording import TRUNCATE, WRITE, Note

WAYS = ("nothing", "everything", "a beginning", "some writes", "some sectors of 512", "some sectors of 4096")
"""How much of what was not synced has reached the disk."""


@dataclass(eq=False)
class File:
    """What is safe of a file, and what was done to it since."""

    safe: bytearray = field(default_factory=bytearray)
    since: list[Note] = field(default_factory=list)

    def sync(self) -> None:
        for note in self.since:
            _do(self.safe, note)
        self.since.clear()

    def after_cut(self, way: str, chance: random.Random) -> bytes:
        """What the disk may hold of it."""
        content = bytearray(self.safe)
        likelihood = chance.random()
        match way:
            case "nothing":
                kept: list[Note] = []
            case "everything":
                kept = self.since
            case "a beginning":
                kept = self.since[: chance.randint(0, len(self.since))]
            case "some writes":
                kept = [note for note in self.since if chance.random() < likelihood]
            case _:
                size = int(way.rpartition(" ")[2])
                pieces = [piece for note in self.since for piece in _sectors(note, size)]
                kept = [piece for piece in pieces if chance.random() < likelihood]
        rubbish = chance.random() < 0.5
        for note in kept:
            if rubbish and note.kind == WRITE and note.offset > len(content):
                content += chance.randbytes(note.offset - len(content))  # the file has grown over what lay there
            _do(content, note)
        return bytes(content)


class Disk:
    """Feed it the notes in order; `after_cut` may be asked at any moment, and again."""

    def __init__(self) -> None:
        self._names: dict[str, File] = {}
        self._safe_names: dict[str, File] = {}
        self._renamed: list[tuple[str, File | None]] = []

    def do(self, note: Note) -> None:
        """Do what the note says was done."""
        match note.kind:
            case "w" | "t":
                self._names[note.file].since.append(note)
            case "s":
                self._names[note.file].sync()
            case "f":
                self._names[note.file].since.clear()
            case "c":
                self._names[note.file] = File()
                self._renamed.append((note.file, self._names[note.file]))
            case "u":
                del self._names[note.file]
                self._renamed.append((note.file, None))
            case "d":
                self._safe_names = dict(self._names)
                self._renamed.clear()
            case "a" | "e":
                pass
            case kind:
                raise AssertionError(f"the recorder has noted {kind!r} of {note.file!r}, which this disk does not know")

    def after_cut(self, chance: random.Random) -> dict[str, bytes]:
        """Each file that may be there, by its name behind the database's, with what it may hold."""
        names = dict(self._safe_names)
        for name in {name for name, _ in self._renamed}:
            changes = [file for changed, file in self._renamed if changed == name]
            if done := chance.randint(0, len(changes)):
                names.pop(name, None)
                if (last := changes[done - 1]) is not None:
                    names[name] = last
        way = chance.choice(WAYS)
        return {name: file.after_cut(way, chance) for name, file in names.items()}


def _do(content: bytearray, note: Note) -> None:
    if note.kind == TRUNCATE:
        del content[note.offset :]
        content += bytes(note.offset - len(content))
        return
    content += bytes(max(0, note.offset - len(content)))
    content[note.offset : note.offset + len(note.data)] = note.data


def _sectors(note: Note, size: int) -> list[Note]:
    if note.kind != WRITE:
        return [note]
    pieces = []
    start, end = note.offset, note.offset + len(note.data)
    while start < end:
        stop = min(end, (start // size + 1) * size)
        pieces.append(note._replace(offset=start, data=note.data[start - note.offset : stop - note.offset]))
        start = stop
    return pieces
