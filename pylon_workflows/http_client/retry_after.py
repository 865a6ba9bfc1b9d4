"""The `Retry-After` of an answer."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 3600.0
"""A server that asks for a longer pause is asked again after an hour: nobody means a year."""

_PLAIN_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a `Retry-After` header (seconds or an HTTP date) as seconds from `now`, from 0 to MAX_RETRY_AFTER_S.

    None for garbage: it asks for nothing.
    """
    if value is None:
        return None
    text = value.strip()
    if _PLAIN_SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
