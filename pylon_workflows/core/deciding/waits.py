"""Waits for events and for people (PROTOCOL.md sections 2 and 3)."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

from pylon_workflows.core.commands import DecideApproval, DeliverEvent
from pylon_workflows.core.deciding.asking import after, notes_json, record_key
from pylon_workflows.core.deciding.ends import refuse_finished
from pylon_workflows.core.deciding.matching import matches
from pylon_workflows.core.instance import ApprovalWait, ChildWait, EventWait, Instance
from pylon_workflows.core.transitions import (
    ApprovalDecided,
    ApprovalRequested,
    ApprovalTimedOut,
    EventReceived,
    EventTaken,
    Transition,
    WaitStarted,
    WaitTimedOut,
    WokeUp,
)
from pylon_workflows.errors import ApprovalConflictError, InboxFullError
from runner_protocol.messages import Approval, WaitEvent
from runner_protocol.strict_json import encode_parsed


def event_wanted(instance: Instance, action: WaitEvent, now: datetime) -> EventTaken | WaitStarted:
    """An event is asked for: one that came before is taken, the first that matches; else it is waited for."""
    key = record_key(instance, action.key, f"event:{action.event}")
    for early in instance.inbox:
        if early.event == action.event and (not action.match or matches(action.match, early.data_json)):
            return EventTaken(
                at=now,
                source=early.revision,
                key=key,
                position=instance.current_step,
                started_at=now,
                after=after(instance, action),
                notes_json=notes_json(instance, action),
            )
    return WaitStarted(
        at=now,
        event=action.event,
        key=key,
        due_at=None if action.timeout is None else now + action.timeout,
        match_json=encode_parsed(action.match) if action.match else None,
        correlation=action.correlation,
        on_timeout=action.on_timeout,
        after=after(instance, action),
        notes_json=notes_json(instance, action),
    )


def event_delivered(instance: Instance, command: DeliverEvent, now: datetime) -> list[Transition]:
    """An event has come: it is stored, and taken at once by the wait that it matches."""
    if command.event_id is not None and command.event_id in instance.event_ids:
        return []
    refuse_finished(instance, "takes no more events")
    received = EventReceived(at=now, event=command.event, event_id=command.event_id, data_json=command.data_json)
    wait = instance.wait
    if isinstance(wait, EventWait) and wait.event == command.event and _takes(wait, command.data_json):
        source, position = instance.revision + 1, instance.current_step
        taken = EventTaken(at=now, source=source, key=wait.key, position=position, started_at=wait.started_at)
        return [received, taken]
    if len(instance.inbox) >= command.max_unread:
        raise InboxFullError(f"{instance.id} holds {command.max_unread} unread events already")
    return [received]


def approval_wanted(instance: Instance, action: Approval, now: datetime) -> ApprovalRequested:
    """A person's decision is asked for."""
    return ApprovalRequested(
        at=now,
        key=record_key(instance, action.key, f"approval:{action.name}"),
        name=action.name,
        message=action.message,
        due_at=None if action.timeout is None else now + action.timeout,
        on_timeout=action.on_timeout,
        data_json=encode_parsed(action.data),
        after=after(instance, action),
        notes_json=notes_json(instance, action),
    )


def approval_decided(instance: Instance, command: DecideApproval, now: datetime) -> list[Transition]:
    """A person has decided. The same decision again decides nothing; what is not to be decided now is refused."""
    if command.seed is not None and command.seed != instance.seed:
        raise ApprovalConflictError(f"{instance.id}: the run in which {command.key!r} was to be decided is over")
    wait = instance.wait
    if isinstance(wait, ApprovalWait) and wait.key == command.key:
        decided = ApprovalDecided(
            at=now,
            key=wait.key,
            position=instance.current_step,
            started_at=wait.started_at,
            is_approved=command.is_approved,
            by=command.by,
            comment=command.comment,
            data_json=command.data_json,
        )
        return [decided]
    record = instance.records.with_key(command.key)
    if record is None or record.kind != "approval":
        raise ApprovalConflictError(f"{instance.id} asks for no decision {command.key!r} now")
    if record.timed_out:
        raise ApprovalConflictError(f"{instance.id}: nobody had decided {command.key!r} in time, and it is over")
    if record.output["approved"] == command.is_approved:
        return []
    word = "approved" if record.output["approved"] else "rejected"
    raise ApprovalConflictError(f"{instance.id}: {command.key!r} has been {word} already")


def woken(instance: Instance, now: datetime) -> list[Transition]:
    """Time has passed: whatever was due by now happens."""
    if instance.due_at is None or now < instance.due_at:
        return []
    match instance.wait:
        case EventWait() as wait:
            is_failure = wait.on_timeout == "fail"
            return [WaitTimedOut(**_end(instance, wait, now), event=wait.event, is_failure=is_failure)]
        case ApprovalWait() as wait:
            return [ApprovalTimedOut(**_end(instance, wait, now), is_failure=wait.on_timeout == "fail")]
        case ChildWait() | None:
            return [WokeUp(at=now)]
        case _:
            assert_never(instance.wait)


def _end(instance: Instance, wait: EventWait | ApprovalWait, now: datetime) -> dict[str, Any]:
    return {"at": now, "key": wait.key, "position": instance.current_step, "started_at": wait.started_at}


def _takes(wait: EventWait, data_json: bytes) -> bool:
    if wait.match_json is None:
        return True
    match: Mapping[str, Any] = json.loads(wait.match_json)
    return matches(match, data_json)
