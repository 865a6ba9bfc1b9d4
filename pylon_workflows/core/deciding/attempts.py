"""What an attempt came to: when it ran, and whether a failure is retried (PROTOCOL.md section 2, Retries)."""

from datetime import datetime, timedelta

from pylon_workflows.core.instance import Instance
from pylon_workflows.core.successor import milliseconds
from runner_protocol.messages import ErrorDetail, Fail, StepComplete
from runner_protocol.strict_json import encode_parsed

_LONGEST_MS = 2**53 - 1


def times(action: StepComplete | Fail, called_at: datetime, now: datetime) -> tuple[datetime, datetime, int]:
    """When the attempt began and ended, and how many milliseconds it took: as the runner says, else as we saw it."""
    started_at, completed_at = action.started_at or called_at, action.completed_at or now
    if action.duration_ms is not None:
        return started_at, completed_at, rounded_ms(action.duration_ms)
    return started_at, completed_at, max(0, milliseconds(completed_at - started_at))


def rounded_ms(duration_ms: float) -> int:
    """What a runner says that an attempt took, in whole milliseconds."""
    return round(duration_ms) if duration_ms < _LONGEST_MS else _LONGEST_MS


def backoff(instance: Instance, action: Fail, failures: int, jitter: float) -> timedelta | None:
    """How long after failure number `failures` it is tried again; null for one that is final."""
    policy = instance.terms.policy
    budget = policy.max_retries if action.max_retries is None else action.max_retries
    if not action.retryable or failures > budget:
        return None
    return policy.delay(failures, jitter) if action.retry_after is None else action.retry_after


def detail_json(action: Fail) -> bytes | None:
    """The error as the runner's object, where it gave one."""
    return encode_parsed(action.error.model_dump()) if isinstance(action.error, ErrorDetail) else None
