"""The bookkeeping of a replay: which key a call gets, which record is handed out next, and whether they still agree.

Pure: no I/O, no clock, no asyncio. The laws (PROTOCOL.md section 8):

1. A key is given when the helper is called: the first free one of `name`, `name#2`, `name#3`... in the order of calls.
2. Records with a position are handed out in recorded order, one at a time, each to the call that has its key.
3. Failures without a position are only counted: the step is tried again.
4. A record whose key nobody has asked for, once every branch waits, means that the code has changed: diverged.
5. Once the function has ended, records that were asked for are ignored; one that nobody asked for is still a change.
6. What this turn itself records is handed out after the last record, by the same rules.

Each operation takes constant time; choosing a suspension looks once at every open call.
"""

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Generic, Literal, TypeVar

from runner_protocol.fields import MAX_NAME_LENGTH
from runner_protocol.messages import Diverged, StepRecord

CallKind = Literal["step", "skip", "sleep", "event", "approval", "child", "parallel", "map", "continue_as_new"]
_WORK = frozenset({"step", "skip"})
"""What is done in the turn itself; whatever else is asked for ends it."""

THE_END = "the end of the workflow"

_OTHER_KINDS = frozenset({"sleep", "event", "approval", "child", "parallel", "map"})
_PREFIXED = frozenset({"sleep", "event", "approval", "child"})
_FORBIDDEN = re.compile(r"[#\[\]/\ud800-\udfff]")


class Call:
    """One call of a helper, open until its record is handed out; `is_dropped` once the code waits for it no more."""

    def __init__(self, kind: CallKind, name: str | None, key: str) -> None:
        self.kind = kind
        self.name = name
        self.key = key
        self.after = 0
        """How many positions had been handed out when it was made."""
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
        self._unstarted: deque[CallT] = deque()
        self._kinds: dict[str, str] | None = None

    def take_key(self, kind: CallKind, name: str | None) -> str:
        """Give the next free key. Raises TypeError or ValueError for a name that no helper takes."""
        base = _base(kind, name)
        self._names[base] += 1
        return _numbered(base, self._names[base])

    def next_key(self, kind: CallKind, name: str | None) -> str:
        """The key that the next such call will get. Raises like `take_key`."""
        base = _base(kind, name)
        return _numbered(base, self._names[base] + 1)

    def is_recorded(self, kind: CallKind, key: str) -> bool:
        """Whether a record with a position has this key, and is of this kind."""
        if self._kinds is None:
            self._kinds = {record.key: record.kind for record in self._due}
        return self._kinds.get(key) == kind

    def open(self, call: CallT) -> None:
        """Take note that the code asks for the call's key."""
        call.after = self.handed_out
        self._open[call.key] = call
        self.waiting += 1
        if call.kind in _WORK:
            self._unstarted.append(call)

    def drop(self, call: CallT) -> bool:
        """The code waits for the call no more (its task was cancelled): it is neither run nor handed anything.

        False when it did not wait for it any more.
        """
        if call.is_dropped or self._open.get(call.key) is not call:
            return False
        call.is_dropped = True
        self.waiting -= 1
        return True

    def hand_out(self) -> tuple[CallT, StepRecord] | Diverged | None:
        """Take the next record and the call that it answers; None after the last. Ask only when every branch waits."""
        while self.handed_out < len(self._due):
            record = self._due[self.handed_out]
            call = self._open.get(record.key)
            if call is None:
                return _diverged(record, record.key, next((call.key for call in self.open_calls()), THE_END))
            if not _is_alike(call.kind, record):
                kind = "skip" if record.status == "skipped" else record.kind
                return _diverged(record, f"{record.key} (a {kind})", f"{call.key} (a {call.kind})")
            if self._close(call, None if record.status == "skipped" else record.completed_at):
                return call, record
        return None

    def hand_out_live(self, call: CallT, completed_at: datetime | None) -> bool:
        """Take what this turn has recorded for the call; false when the code waits for it no more.

        A skipped step has no time: the engine gives it one, which this turn does not see, so no later one may.
        """
        return self._close(call, completed_at)

    def _close(self, call: CallT, completed_at: datetime | None) -> bool:
        self.handed_out += 1
        self.now = completed_at or self.now
        del self._open[call.key]
        if not call.is_dropped:
            self.waiting -= 1
        return not call.is_dropped

    def check_end(self, how: str = "") -> Diverged | None:
        """The function has ended: say whether a record is left that the code never asked for."""
        for record in self._due[self.handed_out :]:
            if record.key not in self._open:
                return _diverged(record, record.key, THE_END + how)
        return None

    def open_calls(self) -> Iterator[CallT]:
        """The calls that the code waits for, first called first."""
        return (call for call in self._open.values() if not call.is_dropped)

    def next_step(self) -> CallT | None:
        """The step called first of those that the code waits for and that were not given here before."""
        while self._unstarted:
            call = self._unstarted.popleft()
            if not call.is_dropped and self._open.get(call.key) is call:
                return call
        return None

    def suspension(self) -> CallT:
        """What the code waits for once it waits for no step: the end of the run, else what was called first.

        Ask only while some call is `waiting`.
        """
        return self.continuation() or next(self.open_calls())

    def continuation(self) -> CallT | None:
        """The call that ends the run, if the code has made one."""
        return self._open.get(_base("continue_as_new", None))

    def find(self, key: str) -> CallT | None:
        """The open call with this key."""
        return self._open.get(key)

    def failures(self, key: str) -> Sequence[StepRecord]:
        """The failed attempts that are tried again, oldest first."""
        return self._failures.get(key, ())


def _base(kind: CallKind, name: str | None) -> str:
    if name is None and kind in ("sleep", "continue_as_new"):
        return kind if kind == "sleep" else f"#{kind}"  # which is no name, and no record's key
    shown = check_name(kind, name)
    return f"{kind}:{shown}" if kind in _PREFIXED else shown


def _numbered(base: str, count: int) -> str:
    return base if count == 1 else f"{base}#{count}"


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


def _is_alike(called: CallKind, record: StepRecord) -> bool:
    """A step may be recorded as any kind of work (`http`...), but not as what another helper makes, nor as skipped."""
    if called == "skip" or record.status == "skipped":
        return called == "skip" and record.status == "skipped"
    return called == record.kind or (called == "step" and record.kind not in _OTHER_KINDS)


def _diverged(record: StepRecord, expected: str, got: str) -> Diverged:
    return Diverged(position=record.position or 0, expected=expected, got=got)
