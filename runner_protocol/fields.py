"""The types of the messages' fields: what a name, a key, a time and a duration look like on the wire."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from runner_protocol.durations import DurationError, format_duration, parse_duration

MAX_NAME_LENGTH = 128
MAX_KEY_LENGTH = 512
"""A key is a name with a prefix or a counter added (`sleep:<name>`, `<name>#1000`), so it may be longer than one."""

_PLAIN_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?")
"""Not `1e-05` or `-0.0`, as Python writes some floats: those would not be read back as durations."""
_TWO = tuple(f"{number:02d}" for number in range(60))
_THREE = tuple(f"{number:03d}" for number in range(1000))
"""Digits ready to be put together: a request has five times or more, and this halves their price."""
_is_rfc3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)").fullmatch


def parse_timestamp(value: object) -> datetime:
    """Read an RFC 3339 time (with an offset) as a UTC datetime; raises ValueError for anything else."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and len(value) == 24 and value[4:22:3] == "--T::." and value[-1] == "Z":
        try:
            return datetime.fromisoformat(value)  # as kits write them, at half the price
        except ValueError:
            pass  # for what follows to say so
    if not isinstance(value, str) or not _is_rfc3339(value):
        raise ValueError("should be an RFC 3339 time such as 2026-12-01T09:00:00.000Z")
    if value[-1] == "Z":
        return datetime.fromisoformat(value)
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("should be a time between the years 1 and 9999, in UTC too") from None


def format_timestamp(value: datetime) -> str:
    """Write a UTC datetime as the wire does: RFC 3339, milliseconds, `Z`."""
    date = f"{value.year:04d}-{_TWO[value.month]}-{_TWO[value.day]}"
    time = f"{_TWO[value.hour]}:{_TWO[value.minute]}:{_TWO[value.second]}.{_THREE[value.microsecond // 1000]}"
    return f"{date}T{time}Z"


def _read_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, (str, int, float)):
        raise DurationError("should be a duration: a text such as '24h' or a number of seconds")
    return parse_duration(value)


def duration_text(value: object) -> str:
    """A duration in a form that `parse_duration` reads: a text as it is. Raises DurationError."""
    length = _read_duration(value)
    is_plain = isinstance(value, str) or (isinstance(value, (int, float)) and _PLAIN_NUMBER.fullmatch(str(value)))
    return str(value).strip() if is_plain else format_duration(length)


Timestamp = Annotated[
    datetime,
    BeforeValidator(parse_timestamp),
    PlainSerializer(format_timestamp),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}]}),
]
DurationText = Annotated[
    str,
    BeforeValidator(duration_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}]}),
]
"""A duration kept as it was written, because people read it in the name of a sleep; `parse_duration` reads it."""
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY_LENGTH)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
InstanceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
Cost = Annotated[str, Field(pattern=r"^[0-9]{1,15}(\.[0-9]{1,18})?$")]
"""Dollars as a decimal text: `"0.0123"`."""
