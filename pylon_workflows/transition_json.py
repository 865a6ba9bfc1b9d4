"""A transition as people and programs read it, and back: in the HTTP API's histories and in exported instances.

An object of `revision`, `type` (the class in snake case) and the fields, under their names. Times are RFC 3339, exact
to the microsecond; durations are seconds, under a name that ends in `_s`; a field `*_json` is the JSON it holds, under
its name without that end, and is left out where there is none. Reading is strict: what was not written so is refused.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, get_args, get_type_hints

from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import Transition
from runner_protocol.durations import MAX_DURATION
from runner_protocol.fields import format_timestamp, parse_timestamp
from runner_protocol.strict_json import encode_parsed

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class HistoryFormatError(ValueError):
    """The JSON is no transition as it is written here; the message names the field."""


def transition_json(revision: int, transition: Transition) -> bytes:
    """The transition that led to this revision."""
    kind = TYPES[type(transition)].encode()
    return b'{"revision":%d,"type":"%b",%b}' % (revision, kind, _members(transition))


def transition_from(value: Any) -> tuple[int, Transition]:
    """A revision and its transition, of JSON that was parsed. Raises HistoryFormatError."""
    if not isinstance(value, dict):
        raise HistoryFormatError("should be an object")
    kind = _KINDS.get(str(value.get("type")))
    if kind is None:
        raise HistoryFormatError(f"type: {value.get('type')!r:.60} is no transition")
    revision = _count(value.get("revision"), "revision")
    transition: Transition = _read_object(kind, value, "", ("revision", "type"))
    return revision, transition


def exact_time(value: datetime) -> str:
    """A time in UTC, RFC 3339: with milliseconds, or with microseconds where it has some."""
    if value.microsecond % 1000 == 0:
        return format_timestamp(value)
    return f"{format_timestamp(value)[:-1]}{value.microsecond % 1000:03d}Z"


def _members(value: Any) -> bytes:
    members = []
    for field in fields(value):
        held = getattr(value, field.name)
        if held is not None or not field.name.endswith("_json"):
            members.append(b'"%b":%b' % (_name(field.name, held).encode(), _written(held)))
    return b",".join(members)


def _name(field: str, held: Any) -> str:
    return f"{field}_s" if isinstance(held, timedelta) else field.removesuffix("_json")


def _written(held: Any) -> bytes:
    match held:
        case bytes():
            return held
        case datetime():
            return f'"{exact_time(held)}"'.encode()
        case timedelta():
            seconds = held / timedelta(seconds=1)
            return encode_parsed(int(seconds) if seconds.is_integer() else seconds)
        case RetryPolicy():
            return b"{%b}" % _members(held)
        case _:
            return encode_parsed(held)


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field is found in the JSON, and read."""

    name: str
    key: str
    read: Callable[[Any, str], Any]
    is_optional: bool
    is_required: bool


def _read_object(kind: type[Any], value: Mapping[str, Any], place: str, others: tuple[str, ...]) -> Any:
    shape = _FIELDS[kind]
    if unknown := value.keys() - {field.key for field in shape} - set(others):
        raise HistoryFormatError(f"{place}{min(unknown):.60}: is no field of {TYPES.get(kind, 'it')}")
    read: dict[str, Any] = {}
    for field in shape:
        held = value.get(field.key, MISSING)
        if held is MISSING:
            if field.is_required:
                raise HistoryFormatError(f"{place}{field.key}: is missing")
        elif held is None and field.is_optional and not field.name.endswith("_json"):
            read[field.name] = None
        else:
            read[field.name] = field.read(held, f"{place}{field.key}")
    return kind(**{field.name: None for field in shape if field.name.endswith("_json") and field.is_optional} | read)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise HistoryFormatError(f"{name}: should be a text")
    return value


def _count(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise HistoryFormatError(f"{name}: should be a whole number from 0")
    return value


def _flag(value: Any, name: str) -> bool:
    if type(value) is not bool:
        raise HistoryFormatError(f"{name}: should be true or false")
    return value


def _time(value: Any, name: str) -> datetime:
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise HistoryFormatError(f"{name}: {error}") from None


def _duration(value: Any, name: str) -> timedelta:
    if type(value) not in (int, float) or not 0 <= value <= MAX_DURATION / timedelta(seconds=1):
        raise HistoryFormatError(f"{name}: should be seconds, at most 100 years")
    return timedelta(microseconds=round(Fraction(value) * 1_000_000))


def _policy(value: Any, name: str) -> RetryPolicy:
    if not isinstance(value, dict):
        raise HistoryFormatError(f"{name}: should be an object")
    policy: RetryPolicy = _read_object(RetryPolicy, value, f"{name}.", ())
    return policy


def _json(value: Any, _name: str) -> bytes:
    return encode_parsed(value)


_READERS: Mapping[type[Any], Callable[[Any, str], Any]] = {
    str: _text,
    bool: _flag,
    int: _count,
    datetime: _time,
    timedelta: _duration,
    RetryPolicy: _policy,
    bytes: _json,
}


def _fields_of(kind: type[Any]) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    found = []
    for field in fields(kind):
        types = get_args(hints[field.name]) or (hints[field.name],)
        (held,) = (each for each in types if each is not type(None))
        is_optional = type(None) in types
        key = f"{field.name}_s" if held is timedelta else field.name.removesuffix("_json")
        has_default = field.default is not MISSING and kind is not RetryPolicy
        is_required = not has_default and not (is_optional and held is bytes)
        found.append(_Field(field.name, key, _READERS[held], is_optional, is_required))
    return tuple(found)


TYPES = {kind: _CAPITAL.sub("_", kind.__name__).lower() for kind in get_args(Transition)}
"""The `type` of each class."""
_KINDS = {name: kind for kind, name in TYPES.items()}
_FIELDS = {kind: _fields_of(kind) for kind in (*TYPES, RetryPolicy)}
