"""Every knob of an engine, once, with its default; units are in the names."""

import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

from pylon_workflows.core.commands import MAX_UNREAD_EVENTS
from pylon_workflows.declared_types import check_fields
from pylon_workflows.errors import InvalidInputError
from runner_protocol.durations import MAX_DURATION

DEFAULT_RUNNER_URL = "http://127.0.0.1:9876/run"
RUNNER_URL_VARIABLE = "PYLON_WORKFLOW_RUNNER_URL"
HOOKS_URL_VARIABLE = "PYLON_WORKFLOW_HOOKS_URL"

_LIMITS = (
    "max_input_bytes",
    "max_event_bytes",
    "max_unread_events",
    "max_kept_events",
    "max_records",
    "max_history_bytes",
)

_IN_A_URL = re.compile(r"[!-~]{1,1000}")

Synchronous = Literal["full", "normal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How an engine behaves.

    At most `max_in_flight` turns are asked at a time. With several workflows there are fewer, though at least 64, while
    short turns make the event loop late. `shutdown_grace_s` is what turns in flight get to finish. A finished instance
    is kept for `retain_finished_for`, and so is a run after which another began; of finished instances at most
    `max_history` are kept. `max_queued` wait in memory for a turn, the others in the file. `max_live_instances` and
    `max_live_bytes` bound what is kept in memory beyond the instances being driven. An input, an event's data and the
    inbox have their limits. A published event that nobody waits for is kept for `keep_published_for`; of one name and
    correlation key there are `max_kept_events`. A run has limits too: with `max_records` records, or
    `max_history_bytes` of outputs, it is blocked. A standby looks for the file's owner for `forward_timeout_s` before
    it says that there is none. With `has_discovery` runners are asked which workflows they have. `hooks_url` is where
    the hooks app is reached from outside, such as `https://app.example/hooks` (the environment's
    PYLON_WORKFLOW_HOOKS_URL unless given): what workflows make hook URLs of.

    Raises:
        InvalidInputError: a value of another type, a number that makes no sense.
    """

    max_in_flight: int = 512
    max_queued: int = 10_000
    max_live_instances: int = 1_000  # every thousand makes a full garbage collection 12 ms longer
    max_live_bytes: int = 64_000_000
    shutdown_grace_s: float = 20.0
    forward_timeout_s: float = 10.0
    has_discovery: bool = True
    retain_finished_for: timedelta | None = timedelta(days=30)
    max_history: int | None = None
    max_input_bytes: int = 1024 * 1024
    max_event_bytes: int = 256 * 1024
    max_unread_events: int = MAX_UNREAD_EVENTS
    max_kept_events: int = 2_000
    keep_published_for: timedelta = timedelta(days=7)
    max_records: int = 10_000
    max_history_bytes: int = 50_000_000
    hooks_url: str | None = field(default_factory=lambda: os.environ.get(HOOKS_URL_VARIABLE) or None)

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("max_in_flight", "max_queued", "max_live_instances", "max_live_bytes", *_LIMITS):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name}: must be at least 1, not {getattr(self, name)}")
        if not self.shutdown_grace_s >= 0:
            raise InvalidInputError(f"shutdown_grace_s: must not be negative, not {self.shutdown_grace_s}")
        if not self.forward_timeout_s > 0:
            raise InvalidInputError(f"forward_timeout_s: must be positive, not {self.forward_timeout_s}")
        if self.max_history is not None and self.max_history < 0:
            raise InvalidInputError(f"max_history: must not be negative, not {self.max_history}")
        if not timedelta(0) < self.keep_published_for <= MAX_DURATION:
            raise InvalidInputError(
                f"keep_published_for: must be positive and at most 100 years, not {self.keep_published_for}"
            )
        if self.retain_finished_for is not None and self.retain_finished_for < timedelta(0):
            raise InvalidInputError(f"retain_finished_for: must not be negative, not {self.retain_finished_for}")
        if self.hooks_url is not None:
            _check_base_url(self.hooks_url)


def _check_base_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_right = False
    if not is_right or parts.query or parts.fragment or "@" in parts.netloc or not _IN_A_URL.fullmatch(url):
        raise InvalidInputError(
            f"hooks_url: {url[:200]!r} should be like https://app.example/hooks: http or https, in ASCII, without "
            "a user, a query or a fragment"
        )
