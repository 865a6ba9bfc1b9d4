"""Durations as the wire writes them: `30s` `5m` `24h` `7d` `2w` `500ms` `1.5s` `1h30m`, ISO 8601, seconds.

The rule is PROTOCOL.md section 2: anything else, a negative duration or one beyond 100 years is refused, never zero.
"""

import math
import re
from datetime import timedelta
from fractions import Fraction

MAX_DURATION = timedelta(days=36525)
"""A hundred years."""

_UNIT_US = {"w": 604_800_000_000, "d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"
_BARE = re.compile(_NUMBER)
_PARTS = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit}{'(?!s)' if unit == 'm' else ''})?" for unit in _UNIT_US))
_ISO = re.compile(
    rf"P(?:(?P<w>{_NUMBER})W)?(?:(?P<d>{_NUMBER})D)?"
    rf"(?P<time>T(?:(?P<h>{_NUMBER})H)?(?:(?P<m>{_NUMBER})M)?(?:(?P<s>{_NUMBER})S)?)?"
)


class DurationError(ValueError):
    """The text or number is no duration that the wire knows; the message says which rule it breaks."""


class TooLongDurationError(DurationError):
    """It is longer than 100 years."""


def parse_duration(value: str | float) -> timedelta:
    """Read a duration, rounded to whole microseconds.

    Raises:
        DurationError: for anything PROTOCOL.md section 2 does not list.
    """
    match value:
        case bool():
            raise DurationError(f"a duration is a text such as '24h' or a number of seconds, not {value}")
        case int() | float():
            if not math.isfinite(value):
                raise DurationError(f"a duration must be finite, not {value}")
            return _within_limits(Fraction(value) * 1_000_000, str(value))
        case str():
            return _within_limits(_microseconds(value.strip()), value)
        case _:
            raise DurationError(
                f"a duration is a text such as '24h' or a number of seconds, not {type(value).__name__}"
            )


def format_duration(value: timedelta) -> str:
    """Write a duration in the wire's shortest exact form, such as `1h30m`; `parse_duration` reads it back."""
    left = value // timedelta(microseconds=1)
    if left < 0:
        raise DurationError(f"a duration must not be negative: {value}")
    text = ""
    for unit in ("w", "d", "h", "m", "s"):
        count, left = divmod(left, _UNIT_US[unit])
        text += f"{count}{unit}" if count else ""
    if left:
        text += f"{left // 1000}ms" if left % 1000 == 0 else f"{left / 1000:.3f}ms"
    return text or "0s"


def _microseconds(text: str) -> Fraction:
    if _BARE.fullmatch(text):
        return Fraction(text) * 1_000_000
    for grammar, spelling in ((_PARTS, text), (_ISO, text)):
        found = grammar.fullmatch(spelling)
        groups = found.groupdict() if found else {}
        parts = {unit: Fraction(groups[unit]) for unit in _UNIT_US if groups.get(unit) is not None}
        if parts and groups.get("time") != "T":
            return sum((number * _UNIT_US[unit] for unit, number in parts.items()), Fraction(0))
    raise DurationError(f"{text[:40]!r} is no duration; write 30s, 5m, 24h, 7d, 2w, 500ms, 1h30m, PT5M or seconds")


def _within_limits(microseconds: Fraction, shown: str) -> timedelta:
    if microseconds < 0:
        raise DurationError(f"a duration must not be negative: {shown[:40]!r}")
    if microseconds > MAX_DURATION // timedelta(microseconds=1):
        raise TooLongDurationError(f"a duration must be at most 100 years: {shown[:40]!r}")
    return timedelta(microseconds=round(microseconds))
