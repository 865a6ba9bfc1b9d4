"""JSON that is lossless or refused: what comes in is equal to what is stored and sent on.

No library is safe alone: the standard one takes NaN, duplicate keys and lone surrogates, others turn large integers
into floats. So each door of the engine and of the kits reads with `parse` and writes with `encode` (PROMISES.md P31).
"""

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from pydantic_core import PydanticSerializationError, to_json

MAX_DEPTH = 64
"""How deep arrays and objects may nest, counted from the value (an envelope around it does not count)."""

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1

_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_OPENING = ord("[")


class JsonError(ValueError):
    """The text is not JSON, or the value cannot be written as JSON without loss; the message says why."""


class NotJsonError(JsonError):
    """The text is not JSON at all, such as the page of a proxy or an answer that was cut off."""


def parse(body: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Read one JSON value.

    Raises:
        NotJsonError: not UTF-8, not JSON syntax.
        JsonError: JSON that would not come back equal: a byte order mark, NaN or infinity, a number beyond 64 bits or
            the range of a double, a duplicate key, a lone surrogate, or deeper than `max_depth`.
    """
    data = body.encode() if isinstance(body, str) else body
    if data.count(b"[") + data.count(b"{") > max_depth:
        check_depth(data, max_depth)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NotJsonError(f"the text is not UTF-8 (byte {error.start})") from None
    try:
        value, end = _DECODER.raw_decode(text) if text.startswith(("{", "[")) else (None, -1)
        if end != len(text):
            value = _DECODER.decode(text)  # white space stands around it, or something that is an error
    except json.JSONDecodeError as error:
        raise NotJsonError(f"not JSON: {error.msg} (character {error.pos})") from None
    except RecursionError:
        raise JsonError(f"nested deeper than {max_depth}") from None
    if "\\u" in text and _SURROGATE.search(text):
        _encode_scalars(value)
    return value


def encode(value: Any, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Write a value as compact UTF-8 JSON, its keys in their order.

    Raises:
        JsonError: the value holds something that JSON would lose or change: NaN, infinity, an integer beyond 64 bits, a
            key that is no string, a lone surrogate, a type that JSON does not have, a cycle, or it is too deep.
    """
    kind = type(value)
    if kind is dict or kind is list or kind is tuple:
        _check(value, "$", max_depth)
    elif kind is not str and value is not None:
        _check_scalar(value, "$")
    return _encode_scalars(value)


def encode_parsed(value: Any) -> bytes:
    """Write a value that `parse` has read; nothing is checked again."""
    return to_json(value)


def same_value(first: bytes, second: bytes) -> bool:
    """Whether two texts are equal as JSON values: key order does not count, 1 and 1.0 are one number, true is not 1."""
    return first == second or _comparable(json.loads(first)) == _comparable(json.loads(second))


def check_depth(data: bytes, max_depth: int) -> None:
    """Refuse a text nested deeper than `max_depth`, before a parser recurses into it."""
    # By whole-text operations, because every request with more than a few records comes here: what stands outside of
    # strings, its brackets only, peeled level by level. Looking at each bracket takes ten times as long.
    outside = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    brackets = left = b"".join(outside).translate(_AS_SQUARE, _NO_BRACKET)
    for _ in range(max_depth):
        if not left:
            return
        left = left.replace(b"[]", b"")
    depth = 0  # too deep, or not balanced, which is for the parser to say
    for mark in brackets if left else b"":
        depth += 1 if mark == _OPENING else -1
        if depth > max_depth:
            raise JsonError(f"nested deeper than {max_depth}")


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _encode_scalars(value: Any) -> bytes:
    try:
        return encode_parsed(value)
    except PydanticSerializationError:
        raise JsonError("a string holds a lone surrogate, which is no Unicode character") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise JsonError(f"the key {repeated[:100]!r} stands twice in one object")
    return members


def _integer(text: str) -> int:
    if len(text) <= 18:
        return int(text)
    if len(text) > 20 or not MIN_INTEGER <= (number := int(text)) <= MAX_INTEGER:
        raise JsonError(f"the integer {text[:30]} does not fit 64 bits")
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonError(f"the number {text[:30]} is beyond the range of a double")
    return number


def _constant(text: str) -> NoReturn:
    raise JsonError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _check(value: Any, path: str, depth_left: int) -> None:
    if depth_left == 0:
        raise JsonError(f"{path[:100]}: nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key, member in value.items():
            if type(key) is not str:
                raise JsonError(f"{path}: the key {key!r} is not a string")
            _check_member(member, f"{path}.{key}", depth_left)
    else:
        for index, member in enumerate(value):
            _check_member(member, f"{path}[{index}]", depth_left)


def _check_member(member: Any, path: str, depth_left: int) -> None:
    if isinstance(member, (dict, list, tuple)):
        _check(member, path, depth_left - 1)
    else:
        _check_scalar(member, path)


def _check_scalar(value: Any, path: str) -> None:
    if isinstance(value, (str, bool)) or value is None:
        return
    if isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise JsonError(f"{path}: the integer {str(value)[:30]} does not fit 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise JsonError(f"{path}: {value} is not JSON")
    else:
        raise JsonError(f"{path}: {type(value).__name__} is no JSON type")


def _comparable(value: Any) -> Any:
    """Tag booleans, so that Python's `True == 1` does not make them numbers."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, dict):
        return {key: _comparable(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_comparable(member) for member in value]
    return value
