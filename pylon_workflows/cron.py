"""When a cron text ticks in a time zone: Debian's rules, as `cronsim` carries them out."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from pylon_workflows.errors import InvalidInputError

MAX_CRON_LENGTH = 256

_SECOND = timedelta(seconds=1)
_LOOKED_AT = 200
"""Ticks, until one is on the right side of a moment: where a clock is set back, an hour of local times comes twice."""


class Cron:
    """Five fields (minute, hour, day of the month, month, day of the week) and the name of a time zone.

    A time that the clock skips ticks right after the gap, a time that it passes twice ticks the first time. Where the
    minute or the hour begins with `*`, real time counts: an hourly tick comes every real hour.

    Raises:
        InvalidInputError: no such text, one that never ticks, no such time zone; the message begins with which.
    """

    def __init__(self, text: str, timezone: str) -> None:
        if not isinstance(text, str) or not text.isprintable() or len(text) > MAX_CRON_LENGTH:
            raise InvalidInputError(f"cron: must be a text of at most {MAX_CRON_LENGTH} characters")
        if len(text.split()) != 5:
            raise InvalidInputError(
                f"cron: {text!r} should have five fields: minute, hour, day of the month, month, day of the week"
            )
        self._text = text
        self._zone = _zone(timezone)
        try:
            first = self.next_after(datetime(2026, 1, 1, tzinfo=UTC))
        except (CronSimError, ValueError) as error:
            raise InvalidInputError(f"cron: {text!r}: {str(error).lower()}") from None
        if first is None:
            raise InvalidInputError(f"cron: {text!r} never ticks")

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick later than a moment, in UTC; None when there is none within fifty years."""
        ticks = self._ticks(CronSim(self._text, moment.astimezone(self._zone)))
        return next((tick for tick in ticks if tick > moment), None)

    def last_until(self, moment: datetime) -> datetime | None:
        """The last tick that is not later than a moment, in UTC; None when there is none within fifty years."""
        start = (moment + _SECOND).replace(microsecond=0).astimezone(self._zone)
        ticks = self._ticks(CronSim(self._text, start, reverse=True))
        return next((tick for tick in ticks if tick <= moment), None)

    def _ticks(self, ticks: CronSim) -> Iterator[datetime]:
        return (tick.astimezone(UTC) for tick in islice(ticks, _LOOKED_AT))


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError):
        pass
    raise InvalidInputError(
        f"timezone: {name!r:.140} is no time zone that this machine knows; one is named like 'Europe/Berlin'"
    )
