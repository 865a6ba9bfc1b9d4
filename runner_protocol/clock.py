"""The time of day that a kit in this process goes by: the system's, unless a test has set another."""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

_clock: ContextVar[Callable[[], datetime] | None] = ContextVar("clock", default=None)


def now() -> datetime:
    """The time, in UTC."""
    clock = _clock.get()
    return datetime.now(UTC) if clock is None else clock()


def go_by(clock: Callable[[], datetime] | None) -> None:
    """Let this task and those that it starts from now on go by a clock; None is the system's again."""
    _clock.set(clock)
