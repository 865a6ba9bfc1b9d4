"""Whether an event is the one that is waited for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

MISSING = object()
"""What stands for a value that is not there."""


def matches(match: Mapping[str, Any], data_json: bytes) -> bool:
    """Whether the data has, at each dotted path, the value that `match` gives.

    A path leads through objects by their members' names and through arrays by numbers, from 0. Values are equal as JSON
    values are: 1 and 1.0 are one number, true is not 1, the order of an object's members does not count.
    """
    return _matches(match, json.loads(data_json))


def may_match(several: Sequence[bytes | None], data_json: bytes) -> Sequence[bool]:
    """Of each `match` as it stands in a store, whether the data may match it: False where it certainly does not.

    What is not known (None) or damaged is left to whoever reads all of the instance.
    """
    data = json.loads(data_json) if any(several) else None  # it may be large, and they are many
    return [match_json is None or _may_match(match_json, data) for match_json in several]


def _may_match(match_json: bytes, data: Any) -> bool:
    try:
        return _matches(json.loads(match_json), data)
    except (ValueError, TypeError, AttributeError):
        return True


def _matches(match: Mapping[str, Any], data: Any) -> bool:
    return all(_is_same(_at(data, path), value) for path, value in match.items())


def mismatches(match: Mapping[str, Any], data_json: bytes) -> Sequence[tuple[str, Any, Any]]:
    """Where the data is not what `match` wants: the path, what is wanted, and what is there; MISSING where nothing is.

    There are none exactly when it `matches`.
    """
    data = json.loads(data_json)
    found = ((path, value, _at(data, path)) for path, value in match.items())
    return [(path, value, there) for path, value, there in found if not _is_same(there, value)]


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part, MISSING)
        elif isinstance(value, list) and part.isascii() and part.isdigit() and len(part) <= 9:
            value = value[int(part)] if int(part) < len(value) else MISSING
        else:
            return MISSING
    return value


def _is_same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        is_alike = isinstance(found, dict) and found.keys() == wanted.keys()
        return is_alike and all(_is_same(found[name], value) for name, value in wanted.items())
    if isinstance(wanted, list):
        is_alike = isinstance(found, list) and len(found) == len(wanted)
        return is_alike and all(map(_is_same, found, wanted))
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)
