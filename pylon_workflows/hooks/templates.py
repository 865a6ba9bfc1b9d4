"""Texts with gaps, filled from a delivery: where its id, its event and its target stand.

`order:{data.order_id}`         a field of the body, by its path; a number in the path counts in a list, from 0
`{header:x-github-delivery}`    a header (`sent_headers.py`)
`{url:id}`                      what follows the source in the URL: `/hooks/<source>/<id>`
`{event.type|command}`          the first of several that is there
`{{` and `}}`                   a brace

What fills a gap is a text that is not empty, or an integer. A field whose name has a dot, a colon or a bar is beyond
reach.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks.sent_headers import header_text
from pylon_workflows.hooks.signatures.verifier import RawHeaders

_WORD = re.compile(r"\{\{|\}\}|\{(?P<gap>[^{}]*)\}|(?P<brace>[{}])|[^{}]+")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`~0-9A-Za-z-]{1,100}")
_URL_ID = "url:id"
_OF_HEADER = "header:"
_MAX_PATH = 32
_INDEX = re.compile(r"[0-9]{1,6}")


class MissingError(Exception):
    """The delivery has nothing that could fill a gap; the message names the gap and shows nothing of the delivery."""


class Arrived(NamedTuple):
    """A delivery as far as gaps can be filled from it."""

    body: Any
    headers: RawHeaders = ()
    url_id: str | None = None


class Template:
    """A text with gaps.

    Raises:
        InvalidInputError: its braces or its gaps make no sense; `field` is named in the message.
    """

    def __init__(self, text: str, field: str) -> None:
        if not isinstance(text, str) or not text:
            raise InvalidInputError(f"{field}: must be a text such as 'order:{{data.order_id}}'")
        self._pieces = [_piece(found, text, field) for found in _WORD.finditer(text)]

    @property
    def wants_url_id(self) -> bool:
        """Whether the URL has to have an id after the source's name."""
        return any(gap == _URL_ID for gaps in self._pieces if not isinstance(gaps, str) for gap in gaps)

    @property
    def is_fixed(self) -> bool:
        """Whether it says the same of all deliveries."""
        return all(isinstance(piece, str) for piece in self._pieces)

    def fill(self, arrived: Arrived) -> str:
        """The text with its gaps filled. Raises MissingError, AmbiguousHeaderError."""
        return "".join(piece if isinstance(piece, str) else _first(piece, arrived) for piece in self._pieces)


def checked_path(path: str, field: str) -> tuple[str, ...]:
    """A path as its names. Raises InvalidInputError."""
    names = tuple(path.split(".")) if isinstance(path, str) else ()
    if not 1 <= len(names) <= _MAX_PATH or not all(names):
        raise InvalidInputError(f"{field}: {path!r:.120} is no path such as data.order_id")
    return names


def value_at(body: Any, names: Sequence[str]) -> Any:
    """The value at a path. Raises MissingError."""
    value = body
    for name in names:
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise MissingError(f"the body has no field {'.'.join(names)}")
    return value


def _piece(found: re.Match[str], text: str, field: str) -> str | tuple[str, ...]:
    if found["brace"] is not None:
        raise InvalidInputError(f"{field}: {text!r:.120} has a brace without its other ({{{{ is one that stays)")
    if found["gap"] is None:
        return found[0].replace("{{", "{").replace("}}", "}")
    gaps = tuple(gap.strip() for gap in found["gap"].split("|"))
    for gap in gaps:
        if gap.startswith(_OF_HEADER):
            if not _HEADER_NAME.fullmatch(gap.removeprefix(_OF_HEADER)):
                raise InvalidInputError(f"{field}: {{{gap:.120}}} names no header")
        elif ":" in gap:
            if gap != _URL_ID:
                raise InvalidInputError(f"{field}: {{{gap:.120}}} must be a path, {{header:NAME}} or {{url:id}}")
        else:
            checked_path(gap, field)
    return gaps


def _first(gaps: Sequence[str], arrived: Arrived) -> str:
    """What the first gap of several gives that is there."""
    for gap in gaps[:-1]:
        try:
            return _text(gap, arrived)
        except MissingError:
            pass
    return _text(gaps[-1], arrived)


def _text(gap: str, arrived: Arrived) -> str:
    if gap == _URL_ID:
        if arrived.url_id is None:
            raise MissingError("the URL has no id after the source's name")
        return arrived.url_id
    if gap.startswith(_OF_HEADER):
        name = gap.removeprefix(_OF_HEADER)
        text = header_text(arrived.headers, name)
        if text is None:
            raise MissingError(f"the header {name} is missing or empty")
        return text
    value = value_at(arrived.body, gap.split("."))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise MissingError(f"the body's field {gap} is neither a text nor an integer")
    return value
