"""The lines of a streamed answer, read together (PROTOCOL.md section 2)."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, overload

from runner_protocol.actions import MAX_COUNT, Action, StepComplete
from runner_protocol.fields import MAX_KEY_LENGTH, MAX_NAME_LENGTH, parse_timestamp
from runner_protocol.messages import ANSWER_DEPTH, MalformedMessageError, parse_action, read_action
from runner_protocol.strict_json import encode_parsed, parse, parse_objects


class PlainStep(NamedTuple):
    """A `step_complete` as kits write most of them, with these fields and no others; `output_json` is canonical JSON.

    A StepComplete is five objects for the garbage collector to look at, while it waits for its commit, and this is one.
    """

    key: str
    step_name: str
    after: int
    started_at: datetime
    completed_at: datetime
    duration_ms: float
    output_json: bytes

    @property
    def action(self) -> StepComplete:
        """The same as a message."""
        return StepComplete(
            action="step_complete",
            key=self.key,
            step_name=self.step_name,
            after=self.after,
            started_at=self.started_at,
            completed_at=self.completed_at,
            duration_ms=self.duration_ms,
            output=parse(self.output_json),
        )


_WITHOUT_OUTPUT = frozenset({"action", *PlainStep._fields[:-1]})
_FIELDS = _WITHOUT_OUTPUT | {"output"}

Entry = Action | PlainStep


class ActionLines(Sequence[Action]):
    """The actions of some lines. `entries` are the same without the messages of plain steps, which are made when they
    are asked for.
    """

    __slots__ = ("entries",)

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Action: ...
    @overload
    def __getitem__(self, index: slice) -> list[Action]: ...
    def __getitem__(self, index: int | slice) -> Action | list[Action]:
        if isinstance(index, slice):
            return [as_action(entry) for entry in self.entries[index]]
        return as_action(self.entries[index])

    def __iter__(self) -> Iterator[Action]:
        return map(as_action, self.entries)


def as_action(entry: Entry) -> Action:
    """The message."""
    return entry.action if isinstance(entry, PlainStep) else entry


def parse_actions(bodies: Sequence[bytes]) -> tuple[ActionLines, MalformedMessageError | None]:
    """Read the lines of an answer: their actions up to one that is none, and what is wrong with that.

    It is what `parse_action` makes of each, at half the price.
    """
    entries: list[Entry] = []
    values = parse_objects(bodies, max_depth=ANSWER_DEPTH)
    try:
        if values is None:
            for body in bodies:
                entries.append(parse_action(body))  # noqa: PERF401  those before an error are kept
        else:
            for value, body in zip(values, bodies, strict=True):
                entries.append(_plain_step(value) or read_action(value, body))
    except MalformedMessageError as error:
        return ActionLines(entries), error
    return ActionLines(entries), None


def _plain_step(value: dict[str, Any]) -> PlainStep | None:
    """The plain step that an object is, of which nothing more is to be said; null for anything else."""
    if value.keys() not in (_FIELDS, _WITHOUT_OUTPUT) or value["action"] != "step_complete":
        return None
    key, name, after, duration_ms = value["key"], value["step_name"], value["after"], value["duration_ms"]
    is_named = type(key) is str and 1 <= len(key) <= MAX_KEY_LENGTH
    is_named = is_named and type(name) is str and 1 <= len(name) <= MAX_NAME_LENGTH
    is_placed = type(after) is int and 0 <= after <= MAX_COUNT
    is_timed = (type(duration_ms) is float or type(duration_ms) is int) and duration_ms >= 0
    if not (is_named and is_placed and is_timed):
        return None
    try:
        started_at, completed_at = parse_timestamp(value["started_at"]), parse_timestamp(value["completed_at"])
    except ValueError:
        return None
    return PlainStep(key, name, after, started_at, completed_at, duration_ms, encode_parsed(value.get("output")))
