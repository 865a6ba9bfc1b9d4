"""Events that are published under a correlation key, for whoever waits with that key, or to start what shall handle it.

The sender of such an event knows no instance. It is stored first and matched second (`matcher.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from pylon_workflows.canonical_json import checked_json, checked_text
from pylon_workflows.errors import (
    CorrelationTooLongError,
    EventTooLargeError,
    InputTooLargeError,
    InvalidInputError,
    KeptEventsFullError,
)
from pylon_workflows.ids import check_instance_id
from pylon_workflows.tags import checked_tags

MAX_CORRELATION_LENGTH = 512

_SOURCE = re.compile(r"[A-Za-z0-9_.-]{0,64}")


@dataclass(frozen=True, slots=True)
class PublishedStart:
    """What a published event starts when no instance waits for it: the workflow `name` with this input.

    Without an `id` each event starts an instance of its own. With one it starts the first; an event that finds the id
    taken is kept for a wait of that instance, or of another with the same correlation key. `tags` as for a start.
    """

    name: str
    input: Any = field(default_factory=dict)
    id: str | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTerms:
    """A `PublishedStart` as it is stored."""

    name: str
    input_json: bytes
    id: str | None
    tags: Mapping[str, str] = field(hash=False)


class Correlation(NamedTuple):
    """What a wait and an event meet by: the event's name and the correlation key."""

    key: str
    event: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEvent:
    """An event that was accepted, and that nobody has claimed yet.

    `(source, event_id)` is its own; one to which its sender gave no id has an id that nobody else knows.
    """

    source: str
    event_id: str
    correlation: Correlation
    data_json: bytes
    start: StartTerms | None
    received_at: datetime

    @property
    def size(self) -> int:
        """How many bytes it has, by estimate."""
        return 1_000 + len(self.data_json) + (0 if self.start is None else len(self.start.input_json))

    @property
    def delivery_id(self) -> str:
        """The id of the event for the instance that gets it; no id that a sender gives to `send_event` is alike."""
        return f"{DELIVERY_PREFIX}{self.source}:{self.event_id}"


DELIVERY_PREFIX = "published:"


class WaitPlace(NamedTuple):
    """An instance that waits, and its place among those with the same correlation: the oldest wait comes first.

    `match_json` is what it matches, where that was looked for and could be read.
    """

    since: datetime
    key: int
    instance_id: str
    match_json: bytes | None = None


class KeptUnder(NamedTuple):
    """The correlation key under which an event is kept, and since when."""

    correlation: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReceipt:
    """A published event that is stored; a duplicate changed nothing."""

    is_duplicate: bool


def checked_correlation(event: str, key: str) -> Correlation:
    """Raises InvalidInputError, NameTooLongError, CorrelationTooLongError; the message names the field."""
    checked_text(event, "event")
    return Correlation(checked_text(key, "correlation", MAX_CORRELATION_LENGTH, CorrelationTooLongError), event)


def checked_source(source: str) -> str:
    """The namespace of an event id, when it has at most 64 of the characters A-Z a-z 0-9 _ . -

    Raises:
        InvalidInputError
    """
    if not isinstance(source, str) or not _SOURCE.fullmatch(source):
        raise InvalidInputError(f"source: {source!r:.70} must be at most 64 of the characters A-Z a-z 0-9 _ . -")
    return source


def checked_event_data(data: Any, max_bytes: int) -> bytes:
    """The data of an event as canonical JSON. Raises InvalidInputError, EventTooLargeError."""
    return checked_json(data, "data", max_bytes, EventTooLargeError)


def checked_published_start(start: PublishedStart | None, max_input_bytes: int) -> StartTerms | None:
    """What is stored of it. Raises InvalidInputError and its kinds, InputTooLargeError; the message names the field."""
    if start is None:
        return None
    if not isinstance(start, PublishedStart):
        raise InvalidInputError(f"start: must be a PublishedStart, not {type(start).__name__}")
    return StartTerms(
        name=checked_text(start.name, "start.name"),
        input_json=checked_json(start.input, "start.input", max_input_bytes, InputTooLargeError),
        id=None if start.id is None else check_instance_id(start.id, "start.id"),
        tags=checked_tags(start.tags or {}),
    )


def too_many_kept(correlation: Correlation, most: int) -> KeptEventsFullError:
    """The error that says so."""
    return KeptEventsFullError(f"{most:,} events {correlation.event!r} of this correlation are kept already")
