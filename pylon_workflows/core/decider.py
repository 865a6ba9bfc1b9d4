"""All rules of the machine: `decide(instance, command, now) -> transitions`.

1. All judgement is here, none in `evolution.py`: due times, positions and budgets stand in the transition.
2. A late or repeated command decides nothing (`[]`). What a caller must hear is raised.
3. Time and jitter are arguments; each transition carries `at`.
4. One `case` per class, then `assert_never`.

The semantics are PROTOCOL.md's: section 1 for records, keys and positions, 2 for actions and retries, 3 for events.
"""

from datetime import datetime
from typing import Any, assert_never

from pylon_workflows.core.commands import (
    ApplyAction,
    ApplyMember,
    Block,
    Cancel,
    Command,
    DecideApproval,
    DeliverEvent,
    EndGroup,
    FailTurn,
    FinishChild,
    Resume,
    WakeUp,
)
from pylon_workflows.core.instance import EventWait, Instance, Status
from pylon_workflows.core.successor import milliseconds
from pylon_workflows.core.transitions import (
    AttemptFailed,
    EventReceived,
    EventTaken,
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceFailed,
    InstanceResumed,
    RunStarted,
    SleepStarted,
    StepFailed,
    StepSucceeded,
    Transition,
    WaitStarted,
    WaitTimedOut,
    WokeUp,
)
from pylon_workflows.errors import (
    InboxFullError,
    InstanceFinishedError,
    InstanceNotBlockedError,
    MalformedAnswerError,
)
from runner_protocol.durations import parse_duration
from runner_protocol.messages import (
    UNKNOWN_STEP,
    Approval,
    Complete,
    ContinueAsNew,
    Defer,
    Diverged,
    ErrorDetail,
    Fail,
    Map,
    Parallel,
    Sleep,
    StartChild,
    StepComplete,
    StepSkip,
    StepStart,
    WaitEvent,
)
from runner_protocol.strict_json import encode_parsed

_LONGEST_MS = 2**53 - 1


def decide(instance: Instance, command: Command, now: datetime) -> list[Transition]:
    """What follows from a command.

    Raises:
        MalformedAnswerError: an action's key is already recorded.
        InstanceFinishedError, InstanceNotBlockedError, InboxFullError: what the caller of an event, a cancel or a
            resume must hear.
    """
    match command:
        case ApplyAction():
            if not instance.is_runnable:
                return []
            applied = _apply(instance, command, now)
            return _first_answer(instance, command.turn_started_at) + applied if applied else []
        case FailTurn():
            if not instance.is_runnable:
                return []
            failure = _fail(instance, Fail(error=command.error), command.turn_started_at, now, command.jitter)
            return _first_answer(instance, command.turn_started_at) + failure
        case DeliverEvent():
            return _deliver(instance, command, now)
        case WakeUp():
            return _wake_up(instance, now)
        case Cancel():
            if instance.status is Status.CANCELLED:
                return []
            _refuse_finished(instance, "cannot be cancelled")
            return [InstanceCancelled(at=now)]
        case Block():
            is_driven = instance.status is Status.PENDING or instance.status is Status.RUNNING
            return [InstanceBlocked(at=now, reason=command.reason)] if is_driven else []
        case Resume():
            if instance.status is not Status.BLOCKED:
                raise InstanceNotBlockedError(f"{instance.id} is {instance.status}, not blocked")
            return [InstanceResumed(at=now)]
        case ApplyMember() | EndGroup() | DecideApproval() | FinishChild():
            return []
        case _:
            assert_never(command)


def _first_answer(instance: Instance, turn_started_at: datetime) -> list[Transition]:
    return [RunStarted(at=turn_started_at)] if instance.started_at is None else []


def _apply(instance: Instance, command: ApplyAction, now: datetime) -> list[Transition]:
    action, started_at = command.action, command.turn_started_at
    match action:
        case StepComplete():
            name = action.step_name or UNKNOWN_STEP
            started_at, completed_at, duration_ms = _times(action, started_at, now)
            return [
                StepSucceeded(
                    at=now,
                    key=_key(instance, action.key, name),
                    name=name,
                    position=instance.current_step,
                    started_at=started_at,
                    completed_at=completed_at,
                    duration_ms=duration_ms,
                    output_json=encode_parsed(action.output),
                )
            ]
        case Sleep():
            if action.duration is None:
                raise MalformedAnswerError("until: is not supported by this release yet")
            return [
                SleepStarted(
                    at=now,
                    key=_key(instance, action.key, f"sleep:{action.name}" if action.name else "sleep"),
                    name=f"sleep:{action.name or action.duration}",
                    position=instance.current_step,
                    due_at=now + parse_duration(action.duration),
                )
            ]
        case WaitEvent():
            key = _key(instance, action.key, f"event:{action.event}")
            for early in instance.inbox:
                if early.event == action.event:
                    return [_taken(instance, early.revision, key, now, now)]
            due_at = None if action.timeout is None else now + action.timeout
            return [WaitStarted(at=now, event=action.event, key=key, due_at=due_at)]
        case Complete():
            return [InstanceCompleted(at=now, output_json=encode_parsed(action.output))]
        case Fail():
            return _fail(instance, action, started_at, now, command.jitter)
        case Diverged():
            reason = (
                f"the workflow's code no longer fits its records: at position {action.position} "
                f"the record is {action.expected!r}, the code asks for {action.got!r}"
            )
            return [InstanceBlocked(at=now, reason=reason)]
        case Defer() | StepStart():
            return []
        case StepSkip() | Approval() | Parallel() | Map() | StartChild() | ContinueAsNew():
            raise MalformedAnswerError(f"action: {action.action!r} is not supported by this release yet")
        case _:
            assert_never(action)


def _fail(
    instance: Instance, action: Fail, turn_started_at: datetime, now: datetime, jitter: float
) -> list[Transition]:
    name = action.step_name or UNKNOWN_STEP
    key = _key(instance, action.key, name)
    failures = 1 + (instance.failures_here if action.key is None else instance.records.failures(key))
    policy = instance.terms.policy
    budget = policy.max_retries if action.max_retries is None else action.max_retries
    started_at, completed_at, duration_ms = _times(action, turn_started_at, now)
    detail = encode_parsed(action.error.model_dump()) if isinstance(action.error, ErrorDetail) else None
    attempt: dict[str, Any] = {
        "at": now,
        "key": key,
        "name": name,
        "failures": failures,
        "error": action.message,
        "started_at": started_at,
        "completed_at": completed_at,
        "duration_ms": duration_ms,
    }
    if action.retryable and failures <= budget:
        delay = policy.delay(failures, jitter) if action.retry_after is None else action.retry_after
        return [AttemptFailed(**attempt, retry_at=now + delay, detail_json=detail)]
    if action.on_exhausted == "throw":
        return [StepFailed(**attempt, position=instance.current_step, detail_json=detail)]
    return [
        StepFailed(**attempt, position=None),
        InstanceFailed(at=now, error=action.message, detail_json=detail),
    ]


def _deliver(instance: Instance, command: DeliverEvent, now: datetime) -> list[Transition]:
    if command.event_id is not None and command.event_id in instance.event_ids:
        return []
    _refuse_finished(instance, "takes no more events")
    received = EventReceived(at=now, event=command.event, event_id=command.event_id, data_json=command.data_json)
    if isinstance(instance.wait, EventWait) and instance.wait.event == command.event:
        taken = _taken(instance, instance.revision + 1, instance.wait.key, instance.wait.started_at, now)
        return [received, taken]
    if len(instance.inbox) >= command.max_unread:
        raise InboxFullError(f"{instance.id} holds {command.max_unread} unread events already")
    return [received]


def _wake_up(instance: Instance, now: datetime) -> list[Transition]:
    if instance.due_at is None or now < instance.due_at:
        return []
    if isinstance(instance.wait, EventWait):
        wait = instance.wait
        return [
            WaitTimedOut(
                at=now,
                event=wait.event,
                key=wait.key,
                position=instance.current_step,
                started_at=wait.started_at,
            )
        ]
    return [WokeUp(at=now)]


def _taken(instance: Instance, source: int, key: str, started_at: datetime, now: datetime) -> EventTaken:
    return EventTaken(at=now, source=source, key=key, position=instance.current_step, started_at=started_at)


def _key(instance: Instance, given: str | None, name: str) -> str:
    if given is None:
        return instance.records.free_key(name)
    if instance.records.is_taken(given):
        raise MalformedAnswerError(f"key: {given!r} is already recorded in this run")
    return given


def _times(action: StepComplete | Fail, turn_started_at: datetime, now: datetime) -> tuple[datetime, datetime, int]:
    started_at, completed_at = action.started_at or turn_started_at, action.completed_at or now
    if action.duration_ms is not None:
        return started_at, completed_at, round(min(action.duration_ms, _LONGEST_MS))
    return started_at, completed_at, max(0, milliseconds(completed_at - started_at))


def _refuse_finished(instance: Instance, what: str) -> None:
    if instance.is_finished:
        raise InstanceFinishedError(f"{instance.id} is {instance.status} and {what}")
