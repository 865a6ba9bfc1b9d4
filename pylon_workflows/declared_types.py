"""What a program gives, held against the type that is declared for it: refused where it is given, by its name."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from math import isnan
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pylon_workflows.errors import InvalidInputError

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number of seconds",
    str: "a text",
    timedelta: "a timedelta",
    Mapping: "a mapping",
    os.PathLike: "a path",
    Callable: "a function",
    NoneType: "None",
}
_SHOWN = (bool, int, float, str, timedelta, NoneType)


def check_fields(given: Any) -> None:
    """Raises InvalidInputError: a field of this dataclass holds what its declaration does not allow."""
    for field, declared in _declared(given.__class__).items():
        check_type(getattr(given, field), declared, field)


def check_type(value: object, declared: Any, field: str) -> None:
    """Raises InvalidInputError: a value of another type; the message names the field.

    A bool is no number, nor is NaN, and a whole number will do as any number. Of what might hold a secret only the
    type is shown.
    """
    if not _fits(value, declared):
        kinds = _alternatives(declared)
        is_plain = all((get_origin(kind) or kind) in (*_WORDS, Literal) for kind in kinds)
        shown = repr(value)[:60] if is_plain and isinstance(value, _SHOWN) else type(value).__name__
        raise InvalidInputError(f"{field}: must be {' or '.join(map(_word, kinds))}, not {shown}")


def check_names(given: Mapping[str, object], declared: Any, what: str) -> None:
    """Raises TypeError, as any call does: an argument that the `TypedDict` does not name; it says which there are."""
    names = declared.__annotations__
    if unknown := given.keys() - names:
        raise TypeError(f"{what} has no argument {min(unknown)!r}; there are {', '.join(names)}")


def check_has(value: object, method: str, field: str, wanted: str) -> None:
    """Raises InvalidInputError: this is no object with that method, or it is its class. `wanted` is said."""
    if isinstance(value, type) or not callable(getattr(value, method, None)):
        shown = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise InvalidInputError(f"{field}: must be {wanted}, not {shown}")


@cache
def _declared(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _alternatives(declared: Any) -> tuple[Any, ...]:
    return get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,)


def _fits(value: object, declared: Any) -> bool:
    kinds = _alternatives(declared)
    if len(kinds) > 1:
        return any(_fits(value, kind) for kind in kinds)
    if get_origin(declared) is Literal:
        return value in get_args(declared)
    if declared in (int, float) and isinstance(value, bool):
        return False
    if declared is float:
        return isinstance(value, int) or (isinstance(value, float) and not isnan(value))
    return isinstance(value, get_origin(declared) or declared)


def _word(declared: Any) -> str:
    if get_origin(declared) is Literal:
        return f"one of {', '.join(get_args(declared))}"
    kind = get_origin(declared) or declared
    return _WORDS.get(kind) or f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
