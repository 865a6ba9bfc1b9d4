"""Histories for tests of the core, written short: what a test does not name has a value that does not matter to it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pylon_workflows.core.commands import ApplyAction, Command, DeliverEvent, FailTurn
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import evolve, replay
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import (
    AttemptFailed,
    EventReceived,
    InstanceStarted,
    RunStarted,
    SleepStarted,
    StepFailed,
    StepSucceeded,
    Transition,
    WaitStarted,
)
from runner_protocol.messages import Action
from runner_protocol.strict_json import encode

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = RetryPolicy(max_retries=2, initial_backoff=timedelta(seconds=1), maximum_backoff=timedelta(seconds=10))


def at(seconds: float) -> datetime:
    """So many seconds after the beginning of the test."""
    return BEGINNING + timedelta(seconds=seconds)


def instance_started(**changes: Any) -> InstanceStarted:
    fields: dict[str, Any] = {
        "at": BEGINNING,
        "id": "wf_1",
        "name": "order",
        "version": None,
        "input_json": b"{}",
        "idempotency_key": None,
        "seed": "0" * 32,
        "policy": POLICY,
        "step_timeout": timedelta(seconds=30),
    }
    return InstanceStarted(**{**fields, **changes})


RUN_STARTED = RunStarted(at=BEGINNING)


def pending(**changes: Any) -> Instance:
    """An instance that nobody has asked the runner about."""
    return replay([instance_started(**changes)])


def given(*transitions: Transition, **changes: Any) -> Instance:
    """An instance whose run has begun and to which this has happened since."""
    return replay([instance_started(**changes), RUN_STARTED, *transitions])


def succeeded(key: str, position: int, *, second: float = 0, output: Any = None) -> StepSucceeded:
    return StepSucceeded(
        at=at(second),
        key=key,
        name=key.partition("#")[0],
        position=position,
        started_at=at(second),
        completed_at=at(second),
        duration_ms=0,
        output_json=encode(output),
    )


def failed(key: str, failures: int, *, second: float = 0, retry_at: float = 0, error: str = "boom") -> AttemptFailed:
    return AttemptFailed(
        at=at(second),
        key=key,
        name=key.partition("#")[0],
        failures=failures,
        error=error,
        started_at=at(second),
        completed_at=at(second),
        duration_ms=0,
        retry_at=at(retry_at),
    )


def finally_failed(
    key: str, failures: int, *, position: int | None = None, second: float = 0, error: str = "boom"
) -> StepFailed:
    return StepFailed(
        at=at(second),
        key=key,
        name=key.partition("#")[0],
        position=position,
        failures=failures,
        error=error,
        started_at=at(second),
        completed_at=at(second),
        duration_ms=0,
    )


def sleeping(position: int, *, second: float = 0, until: float = 60, key: str = "sleep") -> SleepStarted:
    return SleepStarted(at=at(second), key=key, name="sleep:1m", position=position, due_at=at(until))


def waiting(event: str, *, second: float = 0, until: float | None = None, key: str | None = None) -> WaitStarted:
    due_at = None if until is None else at(until)
    return WaitStarted(at=at(second), event=event, key=key or f"event:{event}", due_at=due_at)


def received(event: str, data: Any = None, *, second: float = 0, event_id: str | None = None) -> EventReceived:
    return EventReceived(at=at(second), event=event, event_id=event_id, data_json=encode(data))


def answer(action: Action, *, turn_began: float = 0, jitter: float = 1.0, **more: Any) -> ApplyAction:
    return ApplyAction(action=action, turn_started_at=at(turn_began), jitter=jitter, **more)


def next_line(action: Action, **more: Any) -> ApplyAction:
    """An action that is not the first of its answer."""
    return answer(action, goes_on=True, **more)


def no_answer(
    error: str = "timed out after 30 s", *, turn_began: float = 0, jitter: float = 1.0, goes_on: bool = False
) -> FailTurn:
    return FailTurn(error=error, turn_started_at=at(turn_began), jitter=jitter, goes_on=goes_on)


def after(instance: Instance, *commands: Command, second: float = 0) -> Instance:
    """What becomes of it when these commands are decided one upon the other."""
    for command in commands:
        for transition in decide(instance, command, at(second)):
            instance = evolve(instance, transition)
    return instance


def kinds(transitions: Sequence[Transition]) -> list[str]:
    return [type(transition).__name__ for transition in transitions]


def event(name: str, data: Any = None, *, event_id: str | None = None) -> DeliverEvent:
    return DeliverEvent(event=name, data_json=encode(data), event_id=event_id)
