"""Warnings that any caller can bring about, told once a minute each."""

import logging
import time
from collections.abc import Callable

from pylon_workflows.once_a_minute import OnceAMinute


class SeldomTold(logging.Filter):
    """For a logger whose warnings are few different texts, such as uvicorn's; what is worse passes as it is."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._kinds: dict[str, OnceAMinute] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged; one that is says how many others were not."""
        if record.levelno != logging.WARNING:
            return True
        text = str(record.msg)
        others = self._kinds.setdefault(text, OnceAMinute(self._now)).turn()
        if others:
            record.msg = text + others
        return others is not None
