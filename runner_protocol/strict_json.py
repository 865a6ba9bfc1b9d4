"""JSON that is lossless or refused: what comes in is equal to what is stored and sent on.

No library is safe alone: the standard one takes NaN, duplicate keys and lone surrogates, others turn large integers
into floats. So each door of the engine and of the kits reads with `parse` and writes with `encode` (PROMISES.md P31).
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from pydantic_core import PydanticSerializationError, from_json, to_json

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


class TooDeepJsonError(JsonError):
    """Arrays and objects nest deeper than they may."""


def parse(body: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Read one JSON value.

    Raises:
        NotJsonError: not UTF-8, not JSON syntax.
        JsonError: JSON that would not come back equal: a byte order mark, NaN or infinity, a number beyond 64 bits or
            the range of a double, a duplicate key, a lone surrogate. TooDeepJsonError: deeper than `max_depth`.
    """
    try:
        data = body.encode() if isinstance(body, str) else body
    except UnicodeEncodeError as error:
        raise NotJsonError(f"the text is not UTF-8 (character {error.start})") from None
    check_depth(data, max_depth)
    value = _parse_canonical(data)
    if value is not _NOT_CANONICAL:
        return value
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
    except _RefusedTokenError as error:
        raise JsonError(f"{error.reason} (character {_position(text, error.token)})") from None
    except RecursionError:
        raise TooDeepJsonError(f"nested deeper than {max_depth}") from None
    if "\\u" in text and _SURROGATE.search(text):
        _check_surrogates(text)
    return value


def parse_objects(bodies: Sequence[bytes], *, max_depth: int = MAX_DEPTH) -> list[Any] | None:
    """Read several objects at half the price; null unless all stand as `encode` writes them, and none is too deep."""
    joined = b"[%b]" % b",".join(bodies)
    if _brackets(joined) > max_depth + len(bodies) and max(map(_brackets, bodies)) > max_depth:
        return None
    try:
        values = [from_json(body, allow_inf_nan=False) for body in bodies]
    except (ValueError, RecursionError):
        return None
    # Each is a whole value, so where one ends is where its text ends: all are equal when all together are.
    is_canonical = to_json(values) == joined and _NINETEEN_DIGITS not in joined.translate(_AS_DIGITS)
    return values if is_canonical and set(map(type, values)) == {dict} else None


def encode(value: Any, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Write a value as compact UTF-8 JSON, its keys in their order.

    A tuple is an array, as JSON has no other list, and is read back as a list; so are named tuples.

    Raises:
        JsonError: the value holds something that JSON would lose or change: NaN, infinity, an integer beyond 64 bits, a
            key that is no string, a lone surrogate, a type that JSON does not have, a cycle, or it is too deep.
    """
    if not _is_lossless((value,), max_depth):  # or of a type that only the slower way knows
        _check_member(value, "$", max_depth)
    try:
        return to_json(value)
    except PydanticSerializationError:
        path = _surrogate_path(value)
        where = "" if path == "$" else f"{path}: "
        raise JsonError(f"{where}a string holds a lone surrogate, which is no character") from None


def encode_parsed(value: Any) -> bytes:
    """Write a value that `parse` has read; nothing is checked again."""
    return to_json(value)


def same_value(first: bytes, second: bytes) -> bool:
    """Whether two texts are equal as JSON values: key order does not count, 1 and 1.0 are one number, true is not 1."""
    return first == second or _comparable(json.loads(first)) == _comparable(json.loads(second))


def check_depth(data: bytes, max_depth: int) -> None:
    """Refuse a text nested deeper than `max_depth`, before a parser recurses into it. Raises TooDeepJsonError."""
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
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
            raise TooDeepJsonError(f"nested deeper than {max_depth}")


def _brackets(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")


def _parse_canonical(data: bytes) -> Any:
    """Read JSON that stands as `encode` writes it, as that of kits does, at half the price.

    Whatever a quick parser loses or lets pass does not come back equal byte for byte: white space, a repeated key, NaN,
    a number beyond a double, a surrogate. Only an integer beyond 64 bits does, and it has 19 digits.
    """
    try:
        value = from_json(data, allow_inf_nan=False)
        if to_json(value) == data and _NINETEEN_DIGITS not in data.translate(_AS_DIGITS):
            return value
    except (ValueError, RecursionError):
        pass  # for the slow parser to say what is wrong
    return _NOT_CANONICAL


_NOT_CANONICAL = object()
_AS_DIGITS = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else ord(" ") for byte in range(256))
_NINETEEN_DIGITS = b"0" * 19

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""A pair of surrogates, a lone one (the group), or any other escape."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|([^\s",:\[\]{}]+)', re.DOTALL)
_SCALARS = frozenset({str, bool, type(None)})


class _RefusedTokenError(Exception):
    """A number or a word of the text is refused; the hooks of the decoder are not told where it stands."""

    def __init__(self, token: str, reason: str) -> None:
        super().__init__(reason)
        self.token = token
        self.reason = reason


def _position(text: str, token: str) -> int:
    found = (match.start(1) for match in _TOKEN.finditer(text) if match.group(1) == token)
    return next(found, 0)


def _check_surrogates(text: str) -> None:
    for escape in _ESCAPE.finditer(text):
        if escape.group(1):
            raise JsonError(f"a string holds a lone surrogate, which is no character (character {escape.start()})")


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
        raise _RefusedTokenError(text, f"the integer {text[:30]} does not fit 64 bits")
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _RefusedTokenError(text, f"the number {text[:30]} is beyond the range of a double")
    return number


def _constant(text: str) -> NoReturn:
    raise _RefusedTokenError(text, f"{text} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _is_lossless(values: Iterable[Any], depth_left: int) -> bool:
    """Whether JSON keeps all of them as they are, for the plain types; `_check_member` says what it does not keep."""
    for value in values:
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind is int:
            if not MIN_INTEGER <= value <= MAX_INTEGER:
                return False
        elif kind is float:
            if not math.isfinite(value):
                return False
        elif depth_left == 0:
            return False
        elif kind is dict:
            if any(type(key) is not str for key in value) or not _is_lossless(value.values(), depth_left - 1):
                return False
        elif not (kind is list or kind is tuple) or not _is_lossless(value, depth_left - 1):
            return False
    return True


def _check_member(value: Any, path: str, depth_left: int) -> None:
    if not isinstance(value, (dict, list, tuple)):
        _check_scalar(value, path)
        return
    if depth_left == 0:
        raise TooDeepJsonError(f"{path[:100]}: nested deeper than {MAX_DEPTH}")
    for inner, member in _members(value, path):
        _check_member(member, inner, depth_left - 1)


def _members(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The members of an array or object, each with its path. Raises JsonError for a key that is no text."""
    if not isinstance(value, dict):
        yield from ((f"{path}[{index}]", member) for index, member in enumerate(value))
        return
    for key, member in value.items():
        if type(key) is not str:
            raise JsonError(f"{path}: the key {key!r} is not a string")
        yield f"{path}.{key}", member


def _surrogate_path(value: Any, path: str = "$") -> str:
    """Where a text stands that is no Unicode, in a value that is known to hold one: the object, where it is a key."""
    if isinstance(value, (dict, list, tuple)):
        for inner, member in _members(value, path):
            if not _is_unicode(inner):
                return path
            if found := _surrogate_path(member, inner):
                return found
    return path if isinstance(value, str) and not _is_unicode(value) else ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
