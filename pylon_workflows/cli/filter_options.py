"""The options by which commands choose instances, and what they say to the API."""

import functools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from runner_protocol.durations import DurationError, parse_duration
from runner_protocol.fields import format_timestamp, parse_timestamp

_OPTIONS = (
    click.option("--status", help="Only these, such as running, waiting, failed."),
    click.option("--name", help="Only instances of this workflow."),
    click.option(
        "--tag", "tags", metavar="NAME=VALUE", multiple=True, help="Only those with this tag; may be repeated."
    ),
    click.option("--since", metavar="TIME", help="Only those created then or later: RFC 3339, or how long ago, as 2h."),
    click.option("--until", metavar="TIME", help="Only those created before: RFC 3339, or how long ago, as 2h."),
    click.option("--parent", metavar="ID", help="Only those that this instance has started."),
)


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command with these options, whose function gets them as `where`, in the API's words."""

    @functools.wraps(function)
    def run(
        *arguments: Any,
        status: str | None,
        name: str | None,
        tags: Sequence[str],
        since: str | None,
        until: str | None,
        parent: str | None,
        **others: Any,
    ) -> Any:
        now = datetime.now(UTC)
        where = {
            "status": status,
            "name": name,
            "tags": tags_of(tags),
            "started_after": None if since is None else _moment(since, now, "--since"),
            "started_before": None if until is None else _moment(until, now, "--until"),
            "parent_id": parent,
        }
        return function(*arguments, where={term: value for term, value in where.items() if value}, **others)

    wrapped: Callable[..., Any] = run
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def tags_of(texts: Sequence[str], option: str = "--tag") -> dict[str, str]:
    """Tags that were written `name=value`. Raises click.BadParameter."""
    tags: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or tags.setdefault(name, value) != value:
            raise click.BadParameter(f"{text!r} should be NAME=VALUE, and each name once", param_hint=option)
    return tags


def _moment(text: str, now: datetime, option: str) -> str:
    """A time as it was given, or so long ago. Raises click.BadParameter."""
    try:
        return format_timestamp(now - parse_duration(text))
    except (DurationError, OverflowError):
        pass
    try:
        parse_timestamp(text)
    except ValueError:
        told = f"{text!r} should be how long ago, such as 2h, or an RFC 3339 time such as 2026-12-01T09:00:00Z"
        raise click.BadParameter(told, param_hint=option) from None
    return text
