"""Warnings that any caller can bring about, told once a minute each, so that nobody can fill a disk."""

import logging
import time
from collections.abc import Callable

_EVERY_S = 60.0


class SeldomTold(logging.Filter):
    """For a logger whose warnings are few different texts, such as uvicorn's; what is worse passes as it is."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._next_at: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged; one that is says how many others were not."""
        if record.levelno != logging.WARNING:
            return True
        text = str(record.msg)
        if self._now() < self._next_at.get(text, 0.0):
            self._untold[text] = self._untold.get(text, 0) + 1
            return False
        self._next_at[text] = self._now() + _EVERY_S
        untold = self._untold.pop(text, 0)
        if untold:
            record.msg = f"{text} (and {untold} others since the last was told)"
        return True
