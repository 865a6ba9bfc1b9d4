"""Steps, and sleeps (PROTOCOL.md section 2)."""

from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any

from pylon_workflows.core.commands import ApplySteps
from pylon_workflows.core.deciding.asking import after, notes_json, record_key
from pylon_workflows.core.deciding.attempts import backoff, detail_json, rounded_ms, times
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import (
    AttemptFailed,
    InstanceFailed,
    SleepStarted,
    StepFailed,
    StepSkipped,
    StepSucceeded,
    Transition,
)
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.action_lines import PlainStep
from runner_protocol.durations import MAX_DURATION, parse_duration
from runner_protocol.fields import format_timestamp
from runner_protocol.messages import UNKNOWN_STEP, Fail, Sleep, StepComplete, StepSkip
from runner_protocol.strict_json import encode_parsed

_REPEATED_BYTES = 4096
"""A longer input is not recorded again with each attempt that is retried: a request holds all of them."""


def completed(instance: Instance, action: StepComplete, turn_started_at: datetime, now: datetime) -> StepSucceeded:
    """A step has run."""
    name = action.step_name or UNKNOWN_STEP
    started_at, completed_at, duration_ms = times(action, turn_started_at, now)
    return StepSucceeded(
        at=now,
        key=record_key(instance, action.key, name),
        name=name,
        position=instance.current_step,
        started_at=started_at,
        completed_at=completed_at,
        duration_ms=duration_ms,
        output_json=encode_parsed(action.output),
        kind=action.kind,
        input_json=_input_json(action),
        after=after(instance, action),
        notes_json=notes_json(instance, action),
    )


def completed_together(instance: Instance, command: ApplySteps, now: datetime) -> list[StepSucceeded]:
    """Steps that have run, each decided as `completed` does upon what the ones before led to; see `ApplySteps`."""
    position, size = instance.current_step, instance.history_bytes
    decided: list[StepSucceeded] = []
    for key, name, positions, started_at, completed_at, duration_ms, output_json in _with_free_keys(
        instance, command.steps
    ):
        if positions > position or size >= command.max_bytes:
            break
        decided.append(
            StepSucceeded(
                at=now,
                key=key,
                name=name,
                position=position,
                started_at=started_at,
                completed_at=completed_at,
                duration_ms=rounded_ms(duration_ms),
                output_json=output_json,
                after=positions,
            )
        )
        position += 1
        size += len(output_json) + len(name)
    return decided


def _with_free_keys(instance: Instance, steps: Sequence[PlainStep]) -> Sequence[PlainStep]:
    """Those before the first whose key is recorded already, or is that of one before it."""
    records = instance.records
    if records.are_free([step.key for step in steps]):
        return steps
    keys: set[str] = set()

    def is_free(step: PlainStep) -> bool:
        if step.key in keys or records.is_taken(step.key):
            return False
        keys.add(step.key)
        return True

    return list(takewhile(is_free, steps))


def skipped(instance: Instance, action: StepSkip, now: datetime) -> StepSkipped:
    """A step is left out."""
    name = action.step_name or UNKNOWN_STEP
    return StepSkipped(
        at=now,
        key=record_key(instance, action.key, name),
        name=name,
        position=instance.current_step,
        reason=action.reason,
        after=after(instance, action),
        notes_json=notes_json(instance, action),
    )


def asleep(instance: Instance, action: Sleep, now: datetime) -> SleepStarted:
    """The instance sleeps; until a time that has passed, it is due at once."""
    if action.until is None:
        length = action.duration or "0s"
        due_at = now + parse_duration(length)
    else:
        length = format_timestamp(action.until)
        due_at = max(now, action.until)
        if due_at - now > MAX_DURATION:
            raise MalformedAnswerError(f"until: {length} is more than 100 years away")
    return SleepStarted(
        at=now,
        key=record_key(instance, action.key, f"sleep:{action.name}" if action.name else "sleep"),
        name=f"sleep:{action.name or length}",
        position=instance.current_step,
        due_at=due_at,
        after=after(instance, action),
        notes_json=notes_json(instance, action),
    )


def failed(
    instance: Instance, action: Fail, turn_started_at: datetime, now: datetime, jitter: float
) -> list[Transition]:
    """An attempt has failed: it is retried, thrown into the code, or fails the instance.

    A retry waits for one that an earlier action of the same answer has scheduled, so that the turn ends with the last.
    """
    name = action.step_name or UNKNOWN_STEP
    key = record_key(instance, action.key, name)
    failures = 1 + (instance.failures_here if action.key is None else instance.records.failures(key))
    delay = backoff(instance, action, failures, jitter)
    started_at, completed_at, duration_ms = times(action, turn_started_at, now)
    attempt: dict[str, Any] = {
        "at": now,
        "key": key,
        "name": name,
        "failures": failures,
        "error": action.message,
        "started_at": started_at,
        "completed_at": completed_at,
        "duration_ms": duration_ms,
        "kind": action.kind,
        "after": after(instance, action),
        "notes_json": notes_json(instance, action),
    }
    detail, input_json = detail_json(action), _input_json(action)
    if delay is not None:
        if len(input_json or b"") > _REPEATED_BYTES and input_json == instance.records.last_input(key):
            input_json = None
        retry_at = now + delay if instance.due_at is None else max(now + delay, instance.due_at)
        return [AttemptFailed(**attempt, retry_at=retry_at, detail_json=detail, input_json=input_json)]
    if action.on_exhausted == "throw":
        return [StepFailed(**attempt, position=instance.current_step, detail_json=detail, input_json=input_json)]
    return [
        StepFailed(**attempt, position=None, input_json=input_json),
        InstanceFailed(at=now, error=action.message, detail_json=detail),
    ]


def _input_json(action: StepComplete | Fail) -> bytes | None:
    """What an operation was given."""
    return None if action.input is None else encode_parsed(action.input)
