"""The bookkeeping of a replay: which key a call gets, which record is handed out next, and whether they still agree.

Pure: no I/O, no clock, no asyncio. The laws (PROTOCOL.md section 8):

1. A key is given when the helper is called: the first free one of `name`, `name#2`, `name#3`... in the order of calls.
2. Records with a position are handed out in recorded order, one at a time, each to the call that has its key.
3. Failures without a position are only counted: the step is tried again.
4. A record whose key nobody has asked for, once every branch waits, means that the code has changed: diverged.
5. Once the function has ended, records that were asked for are ignored; one that nobody asked for is still a change.

Each operation takes constant time; choosing what comes after the last record looks once at every open call.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Generic, Literal, TypeVar

from runner_protocol.fields import MAX_NAME_LENGTH
from runner_protocol.messages import Diverged, StepRecord

CallKind = Literal["step", "sleep", "event"]

THE_END = "the end of the workflow"

_OTHER_KINDS = frozenset({"sleep", "event", "approval", "child", "parallel", "map"})
_FORBIDDEN = re.compile(r"[#\[\]/\ud800-\udfff]")


class Call:
    """One call of a helper, open until its record is handed out; `is_dropped` once the code waits for it no more."""

    def __init__(self, kind: CallKind, name: str | None, key: str) -> None:
        self.kind = kind
        self.name = name
        self.key = key
        self.is_dropped = False


CallT = TypeVar("CallT", bound=Call)


class Replay(Generic[CallT]):
    """The records of one run against the calls that the code makes; `now` is the time at the last one handed out."""

    def __init__(self, records: Sequence[StepRecord], started_at: datetime) -> None:
        self.now = started_at
        self.waiting = 0
        """How many open calls the code still waits for."""
        self._due = [record for record in records if record.position is not None]
        self.handed_out = 0
        self._failures: dict[str, list[StepRecord]] = {}
        for record in records:
            if record.status == "failed" and record.position is None:
                self._failures.setdefault(record.key, []).append(record)
        self._names: Counter[str] = Counter()
        self._open: dict[str, CallT] = {}

    def take_key(self, kind: CallKind, name: str | None) -> str:
        """Give the next free key. Raises TypeError or ValueError for a name that no helper takes."""
        if kind == "sleep" and name is None:
            base = "sleep"
        else:
            shown = check_name(kind, name)
            base = shown if kind == "step" else f"{kind}:{shown}"
        self._names[base] += 1
        count = self._names[base]
        return base if count == 1 else f"{base}#{count}"

    def open(self, call: CallT) -> None:
        """Take note that the code asks for the call's key."""
        self._open[call.key] = call
        self.waiting += 1

    def drop(self, call: CallT) -> None:
        """The code waits for the call no more (its task was cancelled): it is neither run nor handed anything."""
        if not call.is_dropped and self._open.get(call.key) is call:
            call.is_dropped = True
            self.waiting -= 1

    def hand_out(self) -> tuple[CallT, StepRecord] | Diverged | None:
        """Take the next record and the call that it answers; None after the last. Ask only when every branch waits."""
        while self.handed_out < len(self._due):
            record = self._due[self.handed_out]
            call = self._open.get(record.key)
            if call is None:
                return _diverged(record, record.key, next((call.key for call in self.open_calls()), THE_END))
            if not _is_alike(call.kind, record.kind):
                return _diverged(record, f"{record.key} (a {record.kind})", f"{call.key} (a {call.kind})")
            self.handed_out += 1
            self.now = record.completed_at
            del self._open[record.key]
            if not call.is_dropped:
                self.waiting -= 1
                return call, record
        return None

    def check_end(self, how: str = "") -> Diverged | None:
        """The function has ended: say whether a record is left that the code never asked for."""
        for record in self._due[self.handed_out :]:
            if record.key not in self._open:
                return _diverged(record, record.key, THE_END + how)
        return None

    def open_calls(self) -> Iterator[CallT]:
        """The calls that the code waits for, first called first."""
        return (call for call in self._open.values() if not call.is_dropped)

    def choose(self) -> CallT:
        """What comes after the last record: the step called first; only when there is none, the first suspension.

        Ask only while some call is `waiting`.
        """
        steps = (call for call in self.open_calls() if call.kind == "step")
        return next(steps, None) or next(self.open_calls())

    def failures(self, key: str) -> Sequence[StepRecord]:
        """The failed attempts that are tried again, oldest first."""
        return self._failures.get(key, ())


def check_name(kind: str, name: object) -> str:
    """Give the name back, or refuse one that would make an ambiguous key. Raises TypeError or ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"a name ({kind}) is a text, not {type(name).__name__}")
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise ValueError(f"a name ({kind}) has 1 to {MAX_NAME_LENGTH} characters, not {len(name)}")
    if _FORBIDDEN.search(name):
        raise ValueError(f"a name ({kind}) holds none of # [ ] / and no lone surrogate: {name!r}")
    if name.startswith(("event:", "sleep:")):
        raise ValueError(f"a name ({kind}) does not begin with 'event:' or 'sleep:': {name!r}")
    return name


def _is_alike(called: CallKind, recorded: str) -> bool:
    """A step may be recorded as any kind of work (`http`...), but not as what another helper makes."""
    return called == recorded or (called == "step" and recorded not in _OTHER_KINDS)


def _diverged(record: StepRecord, expected: str, got: str) -> Diverged:
    return Diverged(position=record.position or 0, expected=expected, got=got)
