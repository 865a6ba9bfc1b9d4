"""The load, recorded: every deed on the database's files, and every acknowledgement, in one sequence.

The recorder is C, because it has to stand between SQLite and the system; it is built when the tests run.
"""

import errno
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.acknowledgements import Acknowledgement, Words, acknowledgements, heard
from tests.faults.file_contents import FileContents, read_copy

ROOT = Path(__file__).parents[3]
SOURCE = Path(__file__).with_name("recorder.c")
RECORDED_S = 60
_HEAD = struct.Struct("<BBIQ")

# The kinds of notes, as recorder.c writes them.
WRITE, TRUNCATE, SYNC, CREATE, UNLINK, DIRECTORY_SYNC = "w", "t", "s", "c", "u", "d"
SPEECH, FAILED, FAILED_SYNC = "a", "e", "f"


class Note(NamedTuple):
    """One deed. `file` is what its name has behind the database's; `offset` is a write's, or the size truncated to."""

    kind: str
    file: str
    offset: int
    data: bytes


def read_notes(log: bytes) -> Iterator[Note]:
    """The notes of a recorder's log, in order."""
    position = 0
    while position < len(log):
        kind, name_length, data_length, offset = _HEAD.unpack_from(log, position)
        name_at = position + _HEAD.size
        data_at = name_at + name_length
        position = data_at + data_length
        yield Note(chr(kind), log[name_at:data_at].decode(), offset, log[data_at:position])


class Fault(NamedTuple):
    """From the `first` on, `count` deeds of a kind fail with an error.

    The first write may be half done (`is_partial`), or the process may be killed right there (`is_last`).
    """

    kind: str
    first: int
    count: int
    error: int
    is_partial: bool = False
    is_last: bool = False

    def __str__(self) -> str:
        kind = {WRITE: "write", SYNC: "sync", TRUNCATE: "truncation"}[self.kind]
        half = ", half done" if self.is_partial else ", and a kill" if self.is_last else ""
        return f"{errno.errorcode[self.error]} at {kind} {self.first}, {self.count} times{half}"


@dataclass(frozen=True)
class Recording:
    """What one program did, told and left."""

    notes: list[Note]
    returncode: int
    errors: str
    contents: FileContents

    @cached_property
    def heard(self) -> list[tuple[int, Words]]:
        """All that the program said, each with the number of its note."""
        return [
            (number, words)
            for number, note in enumerate(self.notes)
            if note.kind == SPEECH
            for words in heard(note.data.splitlines(keepends=True))
        ]

    def acknowledged(self, before: int | None = None) -> list[Acknowledgement]:
        """What was acknowledged before a note, or at all."""
        limit = len(self.notes) if before is None else before
        return acknowledgements(words for number, words in self.heard if number < limit)

    def followed_by(self, later: "Recording") -> "Recording":
        """Both as one: what two programs did, one after the other, with the same file."""
        return replace(later, notes=self.notes + later.notes)

    def count(self, kind: str, file: str | None = None) -> int:
        """How many notes of a kind there are, of one file or of all."""
        return sum(note.kind == kind and (file is None or note.file == file) for note in self.notes)


def build_recorder(folder: Path) -> Path:
    """Compile the recorder; skips the test where that cannot be, and fails it where CI is set."""
    if sys.platform != "linux":
        pytest.skip("the recorder is preloaded as Linux does it")
    compiler = shutil.which("cc")
    if compiler is None:
        message = "the recorder of power cuts is built with a C compiler, and there is no cc on the PATH"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    library = folder / "recorder.so"
    flags = ("-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-pthread")
    built = subprocess.run(
        (compiler, *flags, "-o", str(library), str(SOURCE), "-ldl"), capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return library


def record(recorder: Path, folder: Path, *options: str, fault: Fault | None = None) -> Recording:
    """Run the load on the file in `folder`, a new one or what an earlier recording has left, to its end."""
    folder.mkdir(parents=True, exist_ok=True)
    database, log = folder / "workflows.db", folder / "notes"
    environment = {
        **os.environ,
        "LD_PRELOAD": str(recorder),
        "RECORDER_DATABASE": str(database),
        "RECORDER_LOG": str(log),
        "RECORDER_SPEECH": "1",
    }
    if fault is not None:
        how = 2 if fault.is_last else int(fault.is_partial)
        environment["RECORDER_FAIL"] = f"{fault.kind} {fault.first} {fault.count} {fault.error} {how}"
    program = subprocess.run(
        [sys.executable, "-m", "tests.faults.load", str(database), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=RECORDED_S,
        check=False,
    )
    return Recording(
        notes=list(read_notes(log.read_bytes())),
        returncode=program.returncode,
        errors=program.stderr,
        contents=read_copy(database, folder),
    )
