"""Notes: what an author puts down beside the records (variables, usage, progress, log lines), for the next action.

Those that the workflow's function makes are counted from 1 in each run. The request says how many are applied: a replay
makes them all again, and only those beyond that number go out. Those of a step's body go with that step's own action.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from runner_protocol.actions import LogLine, Progress, Usage
from runner_protocol.bounds import MAX_LOG_LINES
from runner_protocol.fields import MAX_NAME_LENGTH
from runner_protocol.kit.errors import OutputError
from runner_protocol.kit.json_values import checked_json
from runner_protocol.kit.usage import add_usage
from runner_protocol.strict_json import parse

MAX_VARS_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class SetVars:
    """Variables and their values as JSON."""

    values: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class UnsetVars:
    """Variables that are removed."""

    names: tuple[str, ...]


Note = SetVars | UnsetVars | Usage | Progress | LogLine


@dataclass(slots=True)
class NoteBook:
    """Notes that go out together, each with the moment at which it was made."""

    entries: list[tuple[float, Note]] = field(default_factory=list)

    def add(self, note: Note) -> None:
        """Put down one more; a step's body may do so in any thread."""
        self.entries.append((perf_counter(), note))


def written(books: Iterable[NoteBook]) -> dict[str, Any]:
    """The notes as the fields of an action; of two values of one thing the later one counts."""
    values: dict[str, bytes] = {}
    unset: dict[str, None] = {}
    fields: dict[str, Any] = {}
    logs: list[LogLine] = []
    for _, note in sorted((entry for book in books for entry in book.entries), key=lambda entry: entry[0]):
        match note:
            case SetVars():
                values.update(note.values)
                unset = {name: None for name in unset if name not in note.values}
            case UnsetVars():
                unset.update(dict.fromkeys(note.names))
                values = {name: value for name, value in values.items() if name not in unset}
            case Usage():
                fields["usage"] = add_usage(fields.get("usage", Usage()), note)
            case Progress():
                fields["progress"] = note
            case LogLine():
                logs.append(note)
    if values:
        fields["vars"] = {name: parse(value) for name, value in values.items()}
    if unset:
        fields["unset"] = list(unset)
    if logs:
        fields["logs"] = logs[:MAX_LOG_LINES]
    return fields


class Vars(Mapping[str, Any]):
    """The durable variables, to be read: what comes out is a copy, for only `ctx.set` changes them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return copy.deepcopy(self._values[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Vars({self._values!r})"


class RunNotes:
    """The notes of a run's function; variables change here at once, whether the engine has them already or not."""

    def __init__(self, values: Mapping[str, Any], noted: int) -> None:
        self._vars = dict(values)
        self._sizes: dict[str, int] | None = None
        self._made = 0
        self._sent = noted
        self._unsent = NoteBook()

    @property
    def vars(self) -> Vars:
        """The variables as they are now."""
        return Vars(self._vars)

    def add(self, note: Note) -> None:
        """Put down one more. Raises OutputError when the variables become too large, and then puts down nothing."""
        match note:
            case SetVars():
                self._measure(note)
                self._vars.update((name, parse(value)) for name, value in note.values.items())
            case UnsetVars():
                for name in note.names:
                    self._vars.pop(name, None)
                    self._sizes = None
        self._made += 1
        if self._made > self._sent:
            self._unsent.add(note)

    def take(self, own: NoteBook | None = None) -> dict[str, Any]:
        """The fields that the next action carries: these notes that have not gone out, and those of its own step."""
        if self._made <= self._sent:
            return {} if own is None or not own.entries else written([own])
        books = [self._unsent] if own is None else [self._unsent, own]
        self._unsent, self._sent = NoteBook(), self._made
        return {**written(books), "noted": self._made}

    def _measure(self, note: SetVars) -> None:
        if self._sizes is None:
            self._sizes = {name: _size(name, checked_json(value, name)) for name, value in self._vars.items()}
        sizes = {**self._sizes, **{name: _size(name, value) for name, value in note.values.items()}}
        if sum(sizes.values()) > MAX_VARS_BYTES:
            names = ", ".join(map(repr, note.values))
            raise OutputError(
                f"with {names} the variables take {sum(sizes.values()):,} bytes; an instance has at most "
                f"{MAX_VARS_BYTES:,}: keep the data elsewhere"
            )
        self._sizes = sizes


def set_vars(values: Mapping[str, Any]) -> SetVars:
    """The note that sets these. Raises TypeError, ValueError for a name, OutputError for a value that is none."""
    for name in values:
        check_variable(name)
    return SetVars({name: checked_json(value, f"the variable {name!r}") for name, value in values.items()})


def check_variable(name: object) -> str:
    """Give the name of a variable back. Raises TypeError or ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a variable is a text, not {type(name).__name__}")
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise ValueError(f"the name of a variable has 1 to {MAX_NAME_LENGTH} characters, not {len(name)}")
    checked_json(name, "the name of a variable")
    return name


def _size(name: str, value: bytes) -> int:
    return len(name.encode()) + len(value) + 4
