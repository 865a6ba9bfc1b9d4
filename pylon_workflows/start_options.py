"""What a start may say beside the workflow's name and input."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict

from pylon_workflows.canonical_json import checked_text
from pylon_workflows.declared_types import check_names
from pylon_workflows.errors import DurationTooLongError, InvalidInputError
from pylon_workflows.ids import check_instance_id
from pylon_workflows.tags import checked_tags
from runner_protocol.durations import MAX_DURATION, DurationError, TooLongDurationError, parse_duration
from runner_protocol.fields import parse_timestamp


class StartOptions(TypedDict, total=False):
    """The arguments of a start. None is as good as nothing.

    `id` is the instance's, made up when absent; with it, or with an `idempotency_key`, a repeated start finds the first
    one's instance. `tags` are texts by which lists find it. It begins after a `delay` (`"24h"`, seconds, a timedelta)
    or `at` a time (with a zone, or as RFC 3339), not both; a time that has passed is now. `parent_id` is shown, and
    lists find it; nothing else follows from it, and no such instance need be there.
    """

    id: str | None
    idempotency_key: str | None
    tags: Mapping[str, str] | None
    delay: timedelta | float | str | None
    at: datetime | str | None
    parent_id: str | None


class CheckedStart(NamedTuple):
    """Start options that hold, with the time at which the instance is due; None is at once."""

    id: str | None
    idempotency_key: str | None
    tags: Mapping[str, str]
    due_at: datetime | None
    parent_id: str | None

    def options(self) -> StartOptions:
        """The options that say the same, whenever they are read."""
        return StartOptions(
            id=self.id,
            idempotency_key=self.idempotency_key,
            tags=self.tags,
            at=self.due_at,
            parent_id=self.parent_id,
        )


def checked_start(options: StartOptions, now: datetime) -> CheckedStart:
    """What the options mean now.

    Raises:
        InvalidInputError and its kinds; the message begins with the option.
    """
    check_names(options, StartOptions, "a start")
    instance_id, key, parent_id = options.get("id"), options.get("idempotency_key"), options.get("parent_id")
    return CheckedStart(
        id=None if instance_id is None else check_instance_id(instance_id),
        idempotency_key=None if key is None else checked_text(key, "idempotency_key"),
        tags=checked_tags(options.get("tags") or {}),
        due_at=_due_at(options.get("delay"), options.get("at"), now),
        parent_id=None if parent_id is None else check_instance_id(parent_id, "parent_id"),
    )


def _due_at(delay: Any, at: Any, now: datetime) -> datetime | None:
    if delay is not None and at is not None:
        raise InvalidInputError("delay: goes not with at; give one of them")
    due_at = now
    if delay is not None:
        due_at = _sum(now, _length(delay), "delay")
    elif at is not None:
        due_at = _moment(at)
        if due_at - now > MAX_DURATION:
            raise DurationTooLongError("at: must be at most 100 years from now")
    return None if due_at <= now else due_at


def _length(delay: Any) -> timedelta:
    try:
        return parse_duration(delay / timedelta(seconds=1) if isinstance(delay, timedelta) else delay)
    except TooLongDurationError as error:
        raise DurationTooLongError(f"delay: {error}") from None
    except DurationError as error:
        raise InvalidInputError(f"delay: {error}") from None


def _sum(now: datetime, length: timedelta, field: str) -> datetime:
    try:
        return now + length
    except OverflowError:
        raise DurationTooLongError(f"{field}: ends after the year 9999") from None


def _moment(at: Any) -> datetime:
    try:
        moment = parse_timestamp(at)
    except ValueError as error:
        raise InvalidInputError(f"at: {error}") from None
    if moment.tzinfo is None:
        raise InvalidInputError(f"at: must be a time with a zone, not {at!r:.40}")
    return moment
