"""The lists and objects of the messages: how many entries they may have, and what a wrong one costs.

pydantic makes an error for each wrong entry: 4 MiB of them took seconds and gigabytes to be refused. So what is wrong
with the first one is told, and the others are not looked at.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from runner_protocol.fields import MAX_NAME_LENGTH, Name

MAX_VARS = 50_000
"""How many variables an action may set, and remove: more than there is room for."""
MAX_MATCHED = 1_000
MAX_PATH_LENGTH = 512
MAX_LOG_LINES = 100
MAX_WORKFLOWS = 10_000

T = TypeVar("T")


def _first_wrong_key(max_length: int) -> Callable[[object], object]:
    """An object as it is, but of wrong keys only the first: `fail_fast` of objects is younger than pydantic 2.9."""

    def judged(given: object) -> object:
        if isinstance(given, dict):
            for key in given:
                if type(key) is not str or not 0 < len(key) <= max_length:
                    return {key: None}
        return given

    return judged


def kept_lines(lines: object) -> object:
    """The log lines that are kept; the rest is cut off before it is read."""
    return lines[:MAX_LOG_LINES] if isinstance(lines, list) else lines


ListOf = Annotated[list[T], Field(fail_fast=True)]
Path = Annotated[str, Field(min_length=1, max_length=MAX_PATH_LENGTH)]
Vars = Annotated[dict[Name, Any], Field(max_length=MAX_VARS), BeforeValidator(_first_wrong_key(MAX_NAME_LENGTH))]
VarNames = Annotated[ListOf[Name], Field(max_length=MAX_VARS)]
Match = Annotated[dict[Path, Any], Field(max_length=MAX_MATCHED), BeforeValidator(_first_wrong_key(MAX_PATH_LENGTH))]
