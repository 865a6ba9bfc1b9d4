"""Deliberately wrong runners: the reference runner with one rule broken each, and the cases that then fail.

A class that breaks a `Turn` or a `Front` says beside it, with `@fails`, exactly which cases find it out.
"""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from ..front import SECRET, Front
from ..reference import Turn

Wrong = type[Front] | type[Turn]
WrongT = TypeVar("WrongT", type[Front], type[Turn])


def fails(*cases: str) -> Callable[[WrongT], WrongT]:
    """Write beside a wrong runner the cases that it fails, all of them."""

    def mark(wrong: WrongT) -> WrongT:
        wrong.fails = frozenset(cases)
        return wrong

    return mark


def wrong_runners(module: ModuleType) -> list[Wrong]:
    """List the wrong runners that a module defines, in its order."""
    classes = [member for member in vars(module).values() if inspect.isclass(member) and "fails" in vars(member)]
    return [member for member in classes if issubclass(member, (Front, Turn)) and member.__module__ == module.__name__]


def make_front(wrong: Wrong) -> Front:
    """Make a runner of a wrong `Front`, or of the right one with wrong turns; it has a secret."""
    front = wrong() if issubclass(wrong, Front) else Front()
    if not issubclass(wrong, Front):
        front.turn = wrong
    front.secret = SECRET
    return front
