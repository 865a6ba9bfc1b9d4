"""Tags: a caller's own words on an instance, by which it is found again."""

import re
from collections.abc import Mapping
from typing import Any

from pylon_workflows.errors import InvalidInputError, TagLimitError

MAX_TAGS = 32
MAX_TAG_VALUE_LENGTH = 256

MAX_TAG_NAME_LENGTH = 64

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def checked_tags(tags: Any) -> Mapping[str, str]:
    """The tags, by name: at most 32, names of 1 to 64 of `A-Z a-z 0-9 _ . -`, values of at most 256 characters.

    Raises:
        TagLimitError: more, or longer ones. InvalidInputError: other characters, or control characters in a value.
    """
    if not isinstance(tags, Mapping):
        raise InvalidInputError(f"tags: must map texts to texts, not {type(tags).__name__}")
    check_count(tags)
    return {name: _checked_value(name, tags[name]) for name in sorted(map(_checked_name, tags))}


def check_count(tags: Mapping[Any, Any]) -> None:
    """Raises TagLimitError: more than 32."""
    if len(tags) > MAX_TAGS:
        raise TagLimitError(f"tags: must be at most {MAX_TAGS}, not {len(tags)}")


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInputError(f"tags: {name!r:.80} is no name of the characters A-Z a-z 0-9 _ . -")
    if len(name) > MAX_TAG_NAME_LENGTH:
        raise TagLimitError(f"tags: a name has at most {MAX_TAG_NAME_LENGTH} characters: {name[:80]!r}")
    return name


def _checked_value(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"tags.{name}: must be a text, not {type(value).__name__}")
    if len(value) > MAX_TAG_VALUE_LENGTH:
        raise TagLimitError(f"tags.{name}: must have at most {MAX_TAG_VALUE_LENGTH} characters, not {len(value)}")
    if _CONTROL.search(value):
        raise InvalidInputError(f"tags.{name}: must have no control characters")
    return value
