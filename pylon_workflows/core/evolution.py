"""How transitions add up: `replay(history)` is the state, whichever way it was reached. Nothing is judged here."""

from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from itertools import repeat
from operator import attrgetter, call
from typing import Any, assert_never

from pylon_workflows.core.instance import InboxEvent, Instance, Status, Wait
from pylon_workflows.core.records import Record
from pylon_workflows.core.transitions import (
    AttemptFailed,
    EventReceived,
    EventTaken,
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceFailed,
    InstanceResumed,
    InstanceStarted,
    RunStarted,
    SleepStarted,
    StepFailed,
    StepSucceeded,
    Transition,
    WaitStarted,
    WaitTimedOut,
    WokeUp,
)

_WRITERS = {field.name: vars(Instance)[field.name].__set__ for field in fields(Instance)}
_write_all = tuple(_WRITERS.values())
_read_all = attrgetter(*_WRITERS)


def begin(started: InstanceStarted) -> Instance:
    """The state of an instance that has just been started."""
    return Instance(origin=started, due_at=started.due_at)


def replay(history: Sequence[Transition]) -> Instance:
    """Fold a whole history. Raises ValueError when it does not begin with `InstanceStarted`."""
    if not history or not isinstance(history[0], InstanceStarted):
        raise ValueError("a history begins with InstanceStarted")
    instance = begin(history[0])
    for transition in history[1:]:
        instance = evolve(instance, transition)
    return instance


def evolve(instance: Instance, transition: Transition) -> Instance:
    """The state after a transition; nothing is judged here."""
    match transition:
        case StepSucceeded():
            record = Record(
                key=transition.key,
                name=transition.name,
                position=transition.position,
                started_at=transition.started_at,
                completed_at=transition.completed_at,
                duration_ms=transition.duration_ms,
                output_json=transition.output_json,
            )
            return _positioned(instance, record)
        case AttemptFailed():
            return _recorded(
                instance,
                _failure(transition, None, is_final=False),
                failures_here=instance.failures_here + 1,
                last_error=transition.error,
                due_at=transition.retry_at,
            )
        case StepFailed():
            record = _failure(transition, transition.position, is_final=True)
            if transition.position is None:
                return _recorded(instance, record)
            return _positioned(instance, record)
        case SleepStarted():
            record = Record(
                key=transition.key,
                name=transition.name,
                kind="sleep",
                position=transition.position,
                started_at=transition.at,
                completed_at=transition.due_at,
                duration_ms=milliseconds(transition.due_at - transition.at),
            )
            return _positioned(instance, record, status=Status.SLEEPING, due_at=transition.due_at)
        case EventReceived():
            unread = InboxEvent(event=transition.event, data_json=transition.data_json, revision=instance.revision + 1)
            known = instance.event_ids
            return _changed(
                instance,
                revision=instance.revision + 1,
                inbox=(*instance.inbox, unread),
                event_ids=known if transition.event_id is None else known.add(transition.event_id),
            )
        case EventTaken():
            taken = next(event for event in instance.inbox if event.revision == transition.source)
            left = tuple(event for event in instance.inbox if event is not taken)
            return _waited(instance, transition, taken.event, taken.data_json, inbox=left)
        case WaitTimedOut():
            return _waited(instance, transition, transition.event, b"null", timed_out=True)
        case RunStarted():
            return _changed(instance, revision=instance.revision + 1, status=Status.RUNNING, started_at=transition.at)
        case WokeUp():
            status = Status.PENDING if instance.started_at is None else Status.RUNNING
            return _changed(instance, revision=instance.revision + 1, status=status, due_at=None)
        case WaitStarted():
            return _changed(
                instance,
                revision=instance.revision + 1,
                status=Status.WAITING_FOR_EVENT,
                wait=Wait(event=transition.event, key=transition.key, started_at=transition.at),
                due_at=transition.due_at,
            )
        case InstanceCompleted():
            return _finished(instance, transition.at, status=Status.COMPLETED, output_json=transition.output_json)
        case InstanceFailed():
            return _finished(
                instance,
                transition.at,
                status=Status.FAILED,
                error=transition.error,
                error_detail_json=transition.detail_json,
            )
        case InstanceCancelled():
            return _finished(instance, transition.at, status=Status.CANCELLED)
        case InstanceBlocked():
            return _changed(
                instance,
                revision=instance.revision + 1,
                status=Status.BLOCKED,
                due_at=None,
                blocked_reason=transition.reason,
            )
        case InstanceResumed():
            status = Status.PENDING if instance.started_at is None else Status.RUNNING
            return _changed(instance, revision=instance.revision + 1, status=status, blocked_reason=None)
        case InstanceStarted():
            return begin(transition)
        case _:
            assert_never(transition)


def _changed(instance: Instance, **changes: Any) -> Instance:
    """`dataclasses.replace` at a third of its price: every transition pays it."""
    changed = object.__new__(Instance)
    deque(map(call, _write_all, repeat(changed), _read_all(instance)), maxlen=0)
    for name, value in changes.items():
        _WRITERS[name](changed, value)
    return changed


def _recorded(instance: Instance, record: Record, **changes: Any) -> Instance:
    return _changed(
        instance,
        revision=instance.revision + 1,
        records=instance.records.add(record),
        history_bytes=instance.history_bytes + record.size,
        **changes,
    )


def _positioned(instance: Instance, record: Record, **changes: Any) -> Instance:
    return _recorded(
        instance,
        record,
        current_step=instance.current_step + 1,
        failures_here=0,
        last_error=None,
        last_position_at=record.completed_at,
        **changes,
    )


def _waited(
    instance: Instance,
    end: EventTaken | WaitTimedOut,
    event: str,
    output_json: bytes,
    *,
    timed_out: bool = False,
    **changes: Any,
) -> Instance:
    record = Record(
        key=end.key,
        name=f"event:{event}",
        kind="event",
        position=end.position,
        started_at=end.started_at,
        completed_at=end.at,
        duration_ms=milliseconds(end.at - end.started_at),
        output_json=output_json,
        timed_out=timed_out,
    )
    return _positioned(instance, record, status=Status.RUNNING, wait=None, due_at=None, **changes)


def _finished(instance: Instance, at: datetime, **changes: Any) -> Instance:
    return _changed(
        instance,
        revision=instance.revision + 1,
        completed_at=at,
        due_at=None,
        wait=None,
        blocked_reason=None,
        **changes,
    )


def _failure(transition: AttemptFailed | StepFailed, position: int | None, *, is_final: bool) -> Record:
    return Record(
        key=transition.key,
        name=transition.name,
        status="failed",
        position=position,
        started_at=transition.started_at,
        completed_at=transition.completed_at,
        duration_ms=transition.duration_ms,
        error=transition.error,
        retry_count=transition.failures,
        final=is_final,
    )


def milliseconds(length: timedelta) -> int:
    """A length of time in whole milliseconds."""
    return round(length / timedelta(milliseconds=1))
