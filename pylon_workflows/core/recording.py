"""The records that transitions leave."""

import json
from datetime import datetime
from typing import Protocol

from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import ApprovalWait, ChildWait, InboxEvent, Instance, Wait
from pylon_workflows.core.notes import shown
from pylon_workflows.core.records import Record, step_record
from pylon_workflows.core.successor import milliseconds
from pylon_workflows.core.transitions import (
    ApprovalDecided,
    ApprovalTimedOut,
    AttemptFailed,
    ChildFinished,
    ChildStarted,
    EventTaken,
    GroupFailed,
    GroupSucceeded,
    SleepStarted,
    StepFailed,
    StepSkipped,
    StepSucceeded,
    WaitTimedOut,
)
from runner_protocol.fields import format_timestamp
from runner_protocol.strict_json import encode_parsed

_End = (
    EventTaken
    | WaitTimedOut
    | ApprovalDecided
    | ApprovalTimedOut
    | GroupSucceeded
    | GroupFailed
    | ChildStarted
    | ChildFinished
)


def of_step(instance: Instance, step: StepSucceeded) -> Record:
    """A step that ran."""
    return step_record(step, instance.records.frontier(step.after))


def of_skipped_step(instance: Instance, step: StepSkipped) -> Record:
    """A step that was left out."""
    return Record(
        key=step.key,
        name=step.name,
        status="skipped",
        position=step.position,
        started_at=step.at,
        completed_at=step.at,
        duration_ms=0,
        notes_json=shown(step.notes_json),
        after=step.after,
        depends_on=instance.records.frontier(step.after),
    )


def of_failed_attempt(instance: Instance, failure: AttemptFailed) -> Record:
    """An attempt that is retried."""
    return _failure(instance, failure, position=None, is_final=False)


def of_failed_step(instance: Instance, failure: StepFailed) -> Record:
    """An attempt that failed for good."""
    return _failure(instance, failure, position=failure.position, is_final=True)


def _failure(
    instance: Instance, failure: AttemptFailed | StepFailed, *, position: int | None, is_final: bool
) -> Record:
    return Record(
        key=failure.key,
        name=failure.name,
        kind=failure.kind,
        status="failed",
        position=position,
        started_at=failure.started_at,
        completed_at=failure.completed_at,
        duration_ms=failure.duration_ms,
        error=failure.error,
        retry_count=failure.failures,
        final=is_final,
        input_json=failure.input_json,
        notes_json=shown(failure.notes_json),
        after=failure.after,
        depends_on=instance.records.frontier(failure.after),
    )


def of_sleep(instance: Instance, sleep: SleepStarted) -> Record:
    """A sleep, which is recorded when it begins."""
    return Record(
        key=sleep.key,
        name=sleep.name,
        kind="sleep",
        position=sleep.position,
        started_at=sleep.at,
        completed_at=sleep.due_at,
        duration_ms=milliseconds(sleep.due_at - sleep.at),
        notes_json=shown(sleep.notes_json),
        after=sleep.after,
        depends_on=instance.records.frontier(sleep.after),
    )


def of_event(instance: Instance, taken: EventTaken, event: InboxEvent) -> Record:
    """An event that was waited for, or had come before."""
    return _outcome(
        instance,
        taken if instance.wait is None else instance.wait,
        taken,
        position=taken.position,
        started_at=taken.started_at,
        name=f"event:{event.event}",
        kind="event",
        output_json=event.data_json,
    )


def of_timeout(instance: Instance, wait: Wait, end: WaitTimedOut) -> Record:
    """A wait for an event that did not come."""
    return _outcome(
        instance,
        wait,
        end,
        position=end.position,
        started_at=end.started_at,
        name=f"event:{end.event}",
        kind="event",
        error=f"timed out waiting for event {end.event!r}" if end.is_failure else None,
        timed_out=True,
    )


def of_decision(instance: Instance, wait: ApprovalWait, end: ApprovalDecided) -> Record:
    """A person's decision."""
    output_json = _decision(end, is_approved=end.is_approved, by=end.by, comment=end.comment, data_json=end.data_json)
    return _outcome(
        instance,
        wait,
        end,
        position=end.position,
        started_at=end.started_at,
        name=f"approval:{wait.name}",
        kind="approval",
        output_json=output_json,
    )


def of_missing_decision(instance: Instance, wait: ApprovalWait, end: ApprovalTimedOut) -> Record:
    """That nobody has decided in time."""
    return _outcome(
        instance,
        wait,
        end,
        position=end.position,
        started_at=end.started_at,
        name=f"approval:{wait.name}",
        kind="approval",
        output_json=b"null" if end.is_failure else _decision(end, is_approved=False),
        error=f"timed out waiting for approval {wait.name!r}" if end.is_failure else None,
        timed_out=True,
    )


def _decision(
    end: ApprovalDecided | ApprovalTimedOut,
    *,
    is_approved: bool,
    by: str | None = None,
    comment: str | None = None,
    data_json: bytes = b"null",
) -> bytes:
    return encode_parsed(
        {
            "approved": is_approved,
            "by": by,
            "comment": comment,
            "data": json.loads(data_json),
            "at": format_timestamp(end.at),
            "timed_out": isinstance(end, ApprovalTimedOut),
        }
    )


def of_group(instance: Instance, group: Group, end: GroupSucceeded | GroupFailed) -> Record:
    """A group that has ended: with the outputs of its members, or with an error that names those that failed."""
    error = end.error if isinstance(end, GroupFailed) else None
    return _outcome(
        instance,
        group.started,
        end,
        position=end.position,
        started_at=group.started.at,
        name=group.name,
        kind=group.kind,
        output_json=b"null" if error is not None else group.output_json,
        error=error,
    )


def of_started_child(instance: Instance, child: ChildStarted, position: int) -> Record:
    """A child that is not waited for: its id is the output."""
    return _outcome(
        instance,
        child,
        child,
        position=position,
        started_at=child.at,
        name=f"child:{child.name}",
        kind="child",
        output_json=encode_parsed({"workflow_id": child.child_id}),
    )


def of_finished_child(instance: Instance, wait: ChildWait, end: ChildFinished, position: int) -> Record:
    """A child that was waited for; one that failed or was cancelled is a failure."""
    return _outcome(
        instance,
        wait,
        end,
        position=position,
        started_at=end.started_at,
        name=f"child:{wait.name}",
        kind="child",
        output_json=end.output_json or b"null",
        error=end.error,
        cost=end.usage_json,
    )


class _Asked(Protocol):
    """What there is to be said of who asked for it."""

    @property
    def after(self) -> int | None: ...
    @property
    def notes_json(self) -> bytes | None: ...


def _outcome(
    instance: Instance,
    asked: _Asked,
    end: _End,
    *,
    position: int,
    started_at: datetime,
    name: str,
    kind: str,
    output_json: bytes = b"null",
    error: str | None = None,
    timed_out: bool = False,
    cost: bytes | None = None,
) -> Record:
    """What something came to that was asked for before; with an error it is thrown into the code."""
    return Record(
        key=end.key,
        name=name,
        kind=kind,
        status="completed" if error is None else "failed",
        position=position,
        started_at=started_at,
        completed_at=end.at,
        duration_ms=milliseconds(end.at - started_at),
        output_json=output_json,
        error=error,
        retry_count=0 if error is None else 1,
        final=error is not None,
        timed_out=timed_out,
        notes_json=shown(asked.notes_json, cost=cost),
        after=asked.after,
        depends_on=instance.records.frontier(asked.after),
    )
