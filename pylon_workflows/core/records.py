"""What an instance has done so far, as its runner is told: the records of the present run, and the ids of its events.

Both grow by one entry a transition and are never rewritten. Each version is a value: adding returns a new one and the
old one reads as before. Versions share their storage, so that adding to the newest costs the same after ten thousand
records as after ten.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, overload

from runner_protocol.messages import RecordKind, RecordStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One entry of `completed_steps` (PROTOCOL.md section 1).

    `position` is null for an attempt that is retried or that ended the instance. `output_json` is canonical JSON.
    """

    key: str
    name: str
    kind: RecordKind = "step"
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

    @property
    def output(self) -> Any:
        """The output as a Python value."""
        return json.loads(self.output_json)

    @property
    def has_taken_key(self) -> bool:
        """Whether the key is used up: only an attempt that is retried leaves it free."""
        return self.status != "failed" or self.final

    @property
    def size(self) -> int:
        """What the record counts towards the limit of a run's history, in bytes."""
        return len(self.output_json) + len(self.error or "") + len(self.name)


class Records(Sequence[Record]):
    """The records of a run, in the order in which they were applied."""

    __slots__ = ("_failures", "_items", "_length", "_next_suffix", "_taken")

    def __init__(self, items: Sequence[Record] = ()) -> None:
        self._items: list[Record] = []
        self._taken: dict[str, int] = {}
        self._failures: dict[str, list[int]] = {}
        self._next_suffix: dict[str, int] = {}
        self._length = 0
        for item in items:
            self._store(item)

    def add(self, record: Record) -> "Records":
        """These records and one more."""
        base = self if len(self._items) == self._length else Records(self._items[: self._length])
        longer = object.__new__(Records)
        longer._items, longer._taken = base._items, base._taken
        longer._failures, longer._next_suffix = base._failures, base._next_suffix
        longer._length = base._length
        longer._store(record)
        return longer

    def is_taken(self, key: str) -> bool:
        """Whether a record with this key is completed, skipped or final."""
        return self._taken.get(key, self._length) < self._length

    def free_key(self, name: str) -> str:
        """The first free one of `name`, `name#2`, `name#3`... (PROTOCOL.md section 1, Names and keys)."""
        if not self.is_taken(name):
            return name
        is_newest = len(self._items) == self._length
        number = self._next_suffix.get(name, 2) if is_newest else 2
        while self.is_taken(f"{name}#{number}"):
            number += 1
        return f"{name}#{number}"

    def failures(self, key: str) -> int:
        """How many attempts of this key have failed."""
        return sum(index < self._length for index in self._failures.get(key, ()))

    def _store(self, record: Record) -> None:
        index = self._length
        self._items.append(record)
        self._length += 1
        if record.status == "failed":
            self._failures.setdefault(record.key, []).append(index)
        if record.has_taken_key:
            self._taken.setdefault(record.key, index)
            name, _, suffix = record.key.rpartition("#")
            if suffix == str(self._next_suffix.get(name, 2)):
                self._next_suffix[name] = int(suffix) + 1

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self._items[position] for position in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._items[index % self._length]

    def __iter__(self) -> Iterator[Record]:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and self[:] == other[:]

    def __hash__(self) -> int:
        return hash(self._length)

    def __repr__(self) -> str:
        return f"Records({self[:]!r})"


class EventIds:
    """The ids of all events that an instance has accepted, for as long as it lives."""

    __slots__ = ("_count", "_ordinals")

    def __init__(self) -> None:
        self._ordinals: dict[str, int] = {}
        self._count = 0

    def add(self, event_id: str) -> "EventIds":
        """These ids and one more, which must be new."""
        is_newest = len(self._ordinals) == self._count
        longer = EventIds()
        longer._ordinals = self._ordinals if is_newest else {known: ordinal for ordinal, known in enumerate(self)}
        longer._ordinals[event_id] = self._count
        longer._count = self._count + 1
        return longer

    def __contains__(self, event_id: str) -> bool:
        return self._ordinals.get(event_id, self._count) < self._count

    def __iter__(self) -> Iterator[str]:
        return (known for known, ordinal in self._ordinals.items() if ordinal < self._count)

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EventIds) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self._count)

    def __repr__(self) -> str:
        return f"EventIds({list(self)!r})"
