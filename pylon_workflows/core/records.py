"""What an instance has done so far, as its runner is told: the records of the present run.

They grow by one entry a transition and are never rewritten. Each version is a value: adding returns a new one and the
old one reads as before. Versions share their storage, so that adding to the newest costs the same after ten thousand
records as after ten. Of steps that came many at a time the records are made when somebody looks at them: a workflow
that ends in one stream never asks.
"""

import json
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, overload

from pylon_workflows.core.construction import quickly_made
from pylon_workflows.core.notes import shown
from pylon_workflows.core.transitions import StepSucceeded
from runner_protocol.messages import RecordStatus

MAX_DEPENDENCIES = 32
"""How many records one says that it came after; of more the last ones."""


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One entry of `completed_steps` (PROTOCOL.md section 1).

    `position` is null for an attempt that is retried or that ended the instance. `kind` is a RecordKind, or that of the
    operation that a step was. `after` is how many positions the code had been handed when it asked for this, null where
    nobody said, and `depends_on` the keys of what it therefore came after. `notes_json` is an object of those of
    `usage`, `vars` and `unset` that were applied with it. Fields named `*_json` are canonical JSON.
    """

    key: str
    name: str
    kind: str = "step"
    status: RecordStatus = "completed"
    position: int | None
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    output_json: bytes = b"null"
    error: str | None = None
    retry_count: int = 0
    final: bool = False
    timed_out: bool = False
    input_json: bytes | None = None
    notes_json: bytes | None = None
    after: int | None = None
    depends_on: tuple[str, ...] = ()

    @property
    def output(self) -> Any:
        """The output as a Python value."""
        return json.loads(self.output_json)

    @property
    def input(self) -> Any:
        """What an operation was given, as a Python value; None for what is none."""
        return None if self.input_json is None else json.loads(self.input_json)

    @property
    def has_taken_key(self) -> bool:
        """Whether the key is used up: only an attempt that is retried leaves it free."""
        return self.status != "failed" or self.final

    @property
    def size(self) -> int:
        """What the record counts towards the limit of a run's history, in bytes."""
        beside = len(self.input_json or b"") + len(self.notes_json or b"")
        return len(self.output_json) + len(self.error or "") + len(self.name) + beside


def step_record(step: StepSucceeded, depends_on: tuple[str, ...]) -> Record:
    """The record of a step that ran."""
    return Record(
        key=step.key,
        name=step.name,
        kind=step.kind,
        position=step.position,
        started_at=step.started_at,
        completed_at=step.completed_at,
        duration_ms=step.duration_ms,
        output_json=step.output_json,
        input_json=step.input_json,
        notes_json=None if step.notes_json is None else shown(step.notes_json),
        after=step.after,
        depends_on=depends_on,
    )


class Records(Sequence[Record]):
    """The records of a run, in the order in which they were applied."""

    __slots__ = ("_ends", "_failures", "_frontiers", "_items", "_length", "_next_suffix", "_positions", "_taken")

    def __init__(self, items: Sequence[Record] = ()) -> None:
        self._items: list[Record | StepSucceeded] = []  # of a step added among many its record, once it was asked for
        self._taken: dict[str, int] = {}
        self._failures: dict[str, list[int]] = {}
        self._next_suffix: dict[str, int] = {}
        self._ends: deque[tuple[int, str]] = deque()  # what nothing depends on yet: positions and keys
        self._frontiers: list[str | tuple[str, ...]] = [()]  # their keys, or the one, after so many positions
        self._length = 0
        self._positions = 0
        for item in items:
            self._store(item)

    def add(self, record: Record) -> "Records":
        """These records and one more."""
        longer = self._successor()
        longer._store(record)
        return longer

    def add_steps(self, steps: Sequence[StepSucceeded]) -> "Records":
        """These records and those of some steps, each of which has the next position.

        Raises LookupError, ValueError for steps that cannot have followed.
        """
        longer = self._successor()
        positions = longer._positions
        for position, step in enumerate(steps, positions):
            if step.position != position:
                raise ValueError(f"the step {step.key!r} is at position {step.position}, after {position} others")
            if step.after is not None and step.after > position:
                raise LookupError(f"the step {step.key!r} comes after more positions than there are")
        longer._store_steps(steps)
        return longer

    def _successor(self) -> "Records":
        """The same ones, to be added to."""
        base = self if len(self._items) == self._length else Records(self[:])
        longer = object.__new__(Records)
        longer._items, longer._taken = base._items, base._taken
        longer._failures, longer._next_suffix = base._failures, base._next_suffix
        longer._ends, longer._frontiers = base._ends, base._frontiers
        longer._length, longer._positions = base._length, base._positions
        return longer

    def is_taken(self, key: str) -> bool:
        """Whether a record with this key is completed, skipped or final."""
        return self._taken.get(key, self._length) < self._length

    def are_free(self, keys: Sequence[str]) -> bool:
        """Whether none of these is taken, and none stands twice."""
        if len(set(keys)) < len(keys):
            return False
        return self._taken.keys().isdisjoint(keys) or not any(map(self.is_taken, keys))

    def free_key(self, name: str) -> str:
        """The first free one of `name`, `name#2`, `name#3`... (PROTOCOL.md section 1, Names and keys)."""
        if not self.is_taken(name):
            return name
        is_newest = len(self._items) == self._length
        number = self._next_suffix.get(name, 2) if is_newest else 2
        while self.is_taken(f"{name}#{number}"):
            number += 1
        if is_newest:
            self._next_suffix[name] = number  # whoever adds to these finds all below taken
        return f"{name}#{number}"

    def failures(self, key: str) -> int:
        """How many attempts of this key have failed."""
        return bisect_left(self._failures.get(key, ()), self._length)

    def last_input(self, key: str) -> bytes | None:
        """The input that was last recorded with a failed attempt of this key, as JSON."""
        places = self._failures.get(key, [])[: self.failures(key)]
        inputs = (self[place].input_json for place in reversed(places))
        return next((input_json for input_json in inputs if input_json is not None), None)

    def frontier(self, after: int | None) -> tuple[str, ...]:
        """What a record depends on that the code asked for when it had been handed so many positions.

        Those are the keys of the records before, at most the last MAX_DEPENDENCIES, on which no other of them depends;
        where nobody said, it is the record at the last position.
        """
        found = self._frontiers[self._positions if after is None else after]
        if isinstance(found, str):
            return (found,)
        return found[-1:] if after is None else found

    def with_key(self, key: str) -> Record | None:
        """The record that has taken this key."""
        index = self._taken.get(key, self._length)
        return self[index] if index < self._length else None

    def _store(self, record: Record) -> None:
        index = self._length
        self._items.append(record)
        self._length += 1
        if record.status == "failed":
            self._failures.setdefault(record.key, []).append(index)
        if record.position is not None:
            self._store_end(record)
        if record.has_taken_key:
            self._taken.setdefault(record.key, index)

    def _store_steps(self, steps: Sequence[StepSucceeded]) -> None:
        """What `_store` would do with each of their records."""
        index, position, ends = self._length, self._positions, self._ends
        note_frontier, take = self._frontiers.append, self._taken.setdefault
        self._items += steps
        for step in steps:
            key, after = step.key, step.after
            take(key, index)
            if after is None:
                if ends:
                    ends.pop()
            else:
                while ends and ends[0][0] < after:
                    ends.popleft()
            ends.append((position, key))
            note_frontier(key if len(ends) == 1 else _last_keys(ends))
            index += 1
            position += 1
        self._length, self._positions = index, position

    def _store_end(self, record: Record) -> None:
        ends = self._ends
        if record.after is None:
            if ends:
                ends.pop()
        else:
            while ends and ends[0][0] < record.after:
                ends.popleft()
        ends.append((self._positions, record.key))
        self._positions += 1
        self._frontiers.append(record.key if len(ends) == 1 else _last_keys(ends))

    def _record(self, index: int) -> Record:
        item = self._items[index]
        if isinstance(item, Record):
            return item
        before = self.frontier(item.position)
        item = step_record(item, before[-1:] if item.after is None else self.frontier(item.after))
        self._items[index] = item
        return item

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self._record(position) for position in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._record(index % self._length)

    def __iter__(self) -> Iterator[Record]:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and self[:] == other[:]

    def __hash__(self) -> int:
        return hash(self._length)

    def __repr__(self) -> str:
        return f"Records({self[:]!r})"


def _last_keys(ends: deque[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(key for _, key in islice(reversed(ends), MAX_DEPENDENCIES))[::-1]
