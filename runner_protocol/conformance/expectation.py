"""Compares what came with what a case expects.

An object in an expectation lists the fields that matter; others may be there. Inside `output` everything must be equal.
`null` expects null or nothing. An object with one key that begins with `$` is a matcher (`MATCHERS` below).
Numbers are equal as JSON numbers are: 1 is 1.0, and true is no number.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runner_protocol.durations import DurationError, parse_duration
from runner_protocol.fields import parse_timestamp

_MISSING: Any = object()
_SHOWN = 300
_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where something else was expected."""

    path: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        got = "nothing" if self.got is _MISSING else _shown(self.got)
        return f"{self.path}: expected {_shown(self.expected)}, got {got}"


def differences(expected: Any, got: Any, saved: dict[str, Any], path: str = "$") -> list[Difference]:
    """List where `got` is not what is expected; `saved` keeps what the `$save` matcher takes from turn to turn."""
    return list(_compare(expected, got, path, saved, exactly=False))


def _compare(expected: Any, got: Any, path: str, saved: dict[str, Any], *, exactly: bool) -> Iterator[Difference]:
    if isinstance(expected, dict) and len(expected) == 1 and next(iter(expected)).startswith("$"):
        ((name, argument),) = expected.items()
        if not _MATCHERS[name](argument, got, saved):
            yield Difference(path, expected, got)
    elif expected is None:
        if got is not None and got is not _MISSING:
            yield Difference(path, expected, got)
    elif isinstance(expected, dict) and isinstance(got, dict):
        yield from _compare_objects(expected, got, path, saved, exactly=exactly)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, (wanted, member) in enumerate(zip(expected, got, strict=True)):
            yield from _compare(wanted, member, f"{path}[{index}]", saved, exactly=exactly)
    elif not _equal(expected, got):
        yield Difference(path, expected, got)


def _compare_objects(
    expected: Mapping[str, Any], got: Mapping[str, Any], path: str, saved: dict[str, Any], *, exactly: bool
) -> Iterator[Difference]:
    for key, wanted in expected.items():
        member = got.get(key, _MISSING)
        if exactly and wanted is None and member is _MISSING:
            yield Difference(f"{path}.{key}", wanted, member)
        else:
            yield from _compare(wanted, member, f"{path}.{key}", saved, exactly=exactly or key == "output")
    if exactly and (surplus := [key for key in got if key not in expected]):
        yield Difference(f"{path}.{surplus[0]}", {"$absent": True}, got[surplus[0]])


def _equal(expected: Any, got: Any) -> bool:
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    return bool(expected == got)


def _is_duration(argument: str, got: Any, _: dict[str, Any]) -> bool:
    try:
        return parse_duration(got) == parse_duration(argument)
    except DurationError:
        return False


def _is_time(_: Any, got: Any, __: dict[str, Any]) -> bool:
    try:
        parse_timestamp(got)
    except ValueError:
        return False
    return isinstance(got, str)


def _save(argument: str, got: Any, saved: dict[str, Any]) -> bool:
    saved[argument] = got
    return got is not None and got is not _MISSING


def _is_moment(argument: str, got: Any, _: dict[str, Any]) -> bool:
    try:
        return parse_timestamp(got) == parse_timestamp(argument)
    except ValueError:
        return False


def _none_of(argument: Any, got: Any, saved: dict[str, Any]) -> bool:
    return bool(list(_compare(argument, got, "$", saved, exactly=False)))


_MATCHERS: dict[str, Callable[[Any, Any, dict[str, Any]], bool]] = {
    "$any": lambda _, got, __: got is not None and got is not _MISSING,
    "$absent": lambda _, got, __: got is None or got is _MISSING,
    "$type": lambda kind, got, _: got is not _MISSING and _TYPES[kind](got),
    "$regex": lambda pattern, got, _: isinstance(got, str) and re.search(pattern, got) is not None,
    "$in": lambda choices, got, _: any(_equal(choice, None if got is _MISSING else got) for choice in choices),
    "$between": lambda ends, got, _: _TYPES["number"](got) and ends[0] <= got <= ends[1],
    "$duration": _is_duration,
    "$time": _is_time,
    "$moment": _is_moment,
    "$has": lambda members, got, saved: (
        isinstance(got, list)
        and all(any(not list(_compare(wanted, one, "$", saved, exactly=False)) for one in got) for wanted in members)
    ),
    "$save": _save,
    "$saved": lambda name, got, saved: _equal(saved.get(name), got),
    "$not": _none_of,
}
MATCHERS = frozenset(_MATCHERS)
"""`$any` something, `$absent` null or nothing, `$type`, `$regex` (found in it), `$in` a list, `$between` two numbers,
`$has` members like these among others, `$duration` and `$moment` in any spelling, `$time`, `$save` under a name,
`$saved` it, `$not` something else."""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
