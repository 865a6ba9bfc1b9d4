"""What an author may say about a step beside its function."""

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

from runner_protocol.kit.errors import RetryAfter, is_final, read_delay

logger = logging.getLogger("runner_protocol.kit")

Delay = str | float | timedelta
"""`"30s"`, a number of seconds, a timedelta."""

_MAX_RETRIES = 1_000_000


class StepOptions(TypedDict, total=False):
    """The options of a step, or of each member of a group.

    `retries` replaces the definition's `max_retries`. `backoff` is how long to wait before another attempt: always the
    same, or a function of the failed attempt's number, from 1. After `timeout` an attempt has failed with a
    TimeoutError; without streams it can only shorten the definition's `step_timeout`. `retry_if` says of an error
    whether another attempt might help: False fails the step for good.
    """

    retries: int | None
    backoff: Delay | Callable[[int], Delay] | None
    timeout: Delay | None
    retry_if: Callable[[BaseException], bool] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Options that were checked."""

    max_retries: int | None = None
    backoff: Callable[[int], Delay] | None = None
    timeout: timedelta | None = None
    retry_if: Callable[[BaseException], bool] | None = None

    def is_worth_retrying(self, error: BaseException) -> bool:
        """Whether another attempt might help; a `retry_if` that fails itself decides nothing."""
        if is_final(error):
            return False
        try:
            return self.retry_if is None or bool(self.retry_if(error))
        except (Exception, SystemExit):
            logger.exception("a retry_if has failed; the step is tried again")
            return True

    def delay(self, error: BaseException, attempt: int) -> timedelta | None:
        """How long to wait after that failed attempt; None leaves it to the definition."""
        if isinstance(error, RetryAfter):
            return error.delay
        try:
            return None if self.backoff is None else read_delay(self.backoff(attempt))
        except (Exception, SystemExit):
            logger.exception("a backoff has failed; the definition's counts")
            return None


def read_options(what: str, options: Mapping[str, Any]) -> Policy:
    """Check options. Raises TypeError for an option that there is not, ValueError for one that is none."""
    for option in options:
        if option not in StepOptions.__annotations__:
            raise TypeError(
                f"{what} has no option {option!r}; give fn keyword arguments with a lambda or functools.partial"
            )
    retries, backoff, timeout = options.get("retries"), options.get("backoff"), options.get("timeout")
    retry_if = options.get("retry_if")
    if retries is not None and (type(retries) is not int or not 0 <= retries <= _MAX_RETRIES):
        raise ValueError(f"{what}: retries is a whole number from 0 to {_MAX_RETRIES:,}, not {retries!r}")
    if retry_if is not None and not callable(retry_if):
        raise TypeError(f"{what}: retry_if is a function of the error, not {type(retry_if).__name__}")
    for option, function in (("retry_if", retry_if), ("backoff", backoff)):
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{what}: {option} answers at once: a plain function, not an async one")
    limit = None if timeout is None else read_delay(timeout)
    if limit is not None and not limit:
        raise ValueError(f"{what}: timeout is more than 0")
    return Policy(max_retries=retries, backoff=_read_backoff(backoff), timeout=limit, retry_if=retry_if)


def _read_backoff(backoff: Any) -> Callable[[int], Delay] | None:
    if backoff is None or callable(backoff):
        return backoff  # type: ignore[no-any-return]
    delay = read_delay(backoff)
    return lambda _: delay
