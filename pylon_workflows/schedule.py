"""What starts a workflow again and again: its terms, and what it comes to at a given time."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict, get_args

from pylon_workflows.canonical_json import checked_text
from pylon_workflows.cron import Cron
from pylon_workflows.declared_types import check_names
from pylon_workflows.errors import CallerError, InvalidIdError, InvalidInputError, UnknownScheduleError
from pylon_workflows.tags import checked_tags
from runner_protocol.strict_json import encode_parsed, same_value

Missed = Literal["once", "skip"]
"""What becomes of ticks that passed while nobody could start anything: one start for all of them, or none."""

LATE = timedelta(seconds=60)
"""A tick that is older than this has been missed."""

SCHEDULE_TAG, TICK_TAG = "schedule", "scheduled_for"
"""The tags of what a schedule has started: its id, and the tick."""

MAX_SCHEDULES = 1_000

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Tick(NamedTuple):
    """What a due schedule comes to: the tick to start an instance for, if any, and when it is due next, if ever."""

    at: datetime | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Starts an instance of the workflow `name` at each tick of `cron` in the time zone.

    `next_at` is the next tick, None while it is paused. `last_at` is the last tick for which an instance was started,
    which was `last_instance_id`.
    """

    id: str
    cron: str
    timezone: str
    name: str
    input_json: bytes
    missed: Missed
    tags: Mapping[str, str] = field(hash=False)
    created_at: datetime
    next_at: datetime | None
    is_paused: bool = False
    last_at: datetime | None = None
    last_instance_id: str | None = None

    def has_terms_of(self, other: "Schedule") -> bool:
        """Whether both start the same at the same times."""
        return self._terms() == other._terms() and same_value(self.input_json, other.input_json)

    def _terms(self) -> tuple[Any, ...]:
        return self.id, self.cron, self.timezone, self.name, self.missed, dict(self.tags)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick later than a moment."""
        return Cron(self.cron, self.timezone).next_after(moment)

    def tick(self, now: datetime) -> Tick:
        """What it comes to, being due: the last tick that has passed stands for those before it."""
        cron = Cron(self.cron, self.timezone)
        due_at = self.next_at or now
        at = max(cron.last_until(now) or due_at, due_at)
        is_missed = now - at > LATE
        return Tick(None if is_missed and self.missed == "skip" else at, cron.next_after(max(now, due_at)))

    def key_of(self, tick: datetime) -> str:
        """The idempotency key of the start for a tick."""
        return f"schedule:{self.id}:{_seconds(tick)}"

    def tags_of(self, tick: datetime) -> Mapping[str, str]:
        """The tags of the instance that is started for a tick."""
        return {**self.tags, SCHEDULE_TAG: self.id, TICK_TAG: _seconds(tick)}


class ScheduleOptions(TypedDict, total=False):
    """The further arguments of a schedule. None is as good as nothing.

    Without an `id` it has one that is made of all its terms, so that the same schedule is made once. `timezone` is a
    name such as "Europe/Berlin" and else UTC. `missed` says what becomes of ticks that passed while no engine ran:
    `"once"` (the default) starts one instance for all of them, `"skip"` none. `tags` are those of the instances.
    """

    id: str | None
    timezone: str | None
    missed: Missed | None
    tags: Mapping[str, str] | None


def new_schedule(cron: str, name: str, input_json: bytes, options: ScheduleOptions, *, now: datetime) -> Schedule:
    """A schedule that begins now.

    Raises:
        InvalidInputError and its kinds; the message begins with the field.
    """
    check_names(options, ScheduleOptions, "a schedule")
    given: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
    timezone, missed = given.get("timezone", "UTC"), given.get("missed", "once")
    ticks = Cron(cron, timezone)
    if missed not in get_args(Missed):
        raise InvalidInputError(f"missed: must be one of {', '.join(get_args(Missed))}, not {missed!r:.40}")
    own_tags = checked_tags(given.get("tags", {}))
    for reserved in (SCHEDULE_TAG, TICK_TAG):
        if reserved in own_tags:
            raise InvalidInputError(f"tags: {reserved!r} is what the schedule itself says")
    checked_tags({**own_tags, SCHEDULE_TAG: "", TICK_TAG: ""})
    cron = " ".join(cron.split())
    checked_text(name, "name")
    terms = encode_parsed([cron, timezone, name, missed, dict(own_tags)]) + input_json
    return Schedule(
        id=check_schedule_id(given["id"]) if "id" in given else f"sch_{hashlib.sha256(terms).hexdigest()[:26]}",
        cron=cron,
        timezone=timezone,
        name=name,
        input_json=input_json,
        missed=missed,
        tags=own_tags,
        created_at=now,
        next_at=ticks.next_after(now),
    )


def check_schedule_id(value: str) -> str:
    """An id that a caller chose, when it fits `[A-Za-z0-9_.:-]{1,64}`. Raises InvalidIdError."""
    if not isinstance(value, str) or not _ID.fullmatch(value) or value in (".", ".."):
        raise InvalidIdError(f"id: {value!r:.140} must be 1 to 64 of the characters A-Z a-z 0-9 _ . : -")
    return value


def unknown_schedule(schedule_id: str) -> CallerError:
    """The error that says so: an UnknownScheduleError, or InvalidIdError of what is no text."""
    if not isinstance(schedule_id, str):
        return InvalidIdError(f"id: must be a text, not {type(schedule_id).__name__}")
    return UnknownScheduleError(f"no schedule has the id {schedule_id[:140]!r}")


def _seconds(tick: datetime) -> str:
    return tick.strftime("%Y-%m-%dT%H:%M:%SZ")
