"""When a failed attempt is tried again."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon: copied from the definition when a run starts.

    `max_retries` failures are retried, the next one is final. The delay doubles from `initial_backoff` up to
    `maximum_backoff`, with full jitter: anything between nothing and that delay.
    """

    max_retries: int = 3
    initial_backoff: timedelta = timedelta(seconds=1)
    maximum_backoff: timedelta = timedelta(minutes=5)

    def delay(self, failures: int, jitter: float) -> timedelta:
        """The delay after failure number `failures` (from 1), for a `jitter` between 0 and 1."""
        doubled_s = self.initial_backoff.total_seconds() * 2.0 ** min(failures - 1, 62)
        return timedelta(seconds=min(doubled_s, self.maximum_backoff.total_seconds())) * jitter
