"""The members of `parallel` and `map` (PROTOCOL.md section 5)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pylon_workflows.core.commands import ApplyMember, EndGroup
from pylon_workflows.core.deciding.asking import after, notes_json, record_key
from pylon_workflows.core.deciding.attempts import backoff, detail_json, times
from pylon_workflows.core.deciding.ends import diverged
from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.transitions import (
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    MemberAttemptFailed,
    MemberFailed,
    MemberSucceeded,
    Transition,
)
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.messages import Defer, Diverged, Fail, Map, Parallel, StepComplete
from runner_protocol.strict_json import MAX_DEPTH, TooDeepJsonError, check_depth, encode_parsed

_LONGEST_ERROR = 2_000
_LONGEST_MEMBERS_ERROR = 200


def opened(instance: Instance, action: Parallel | Map, now: datetime) -> list[Transition]:
    """The group begins; one without members has succeeded at once."""
    if isinstance(action, Map):
        members: list[Any] = action.items
    else:
        members = [[member.name, member.input] for member in action.members]
    started = GroupStarted(
        at=now,
        kind=action.action,
        key=record_key(instance, action.key, action.name),
        name=action.name,
        fail_fast=action.fail_fast,
        max_in_flight=action.max_in_flight,
        members_json=encode_parsed(members),
        after=after(instance, action),
        notes_json=notes_json(instance, action),
    )
    if members:
        return [started]
    return [started, GroupSucceeded(at=now, key=started.key, position=instance.current_step)]


def member_answered(instance: Instance, command: ApplyMember, now: datetime) -> list[Transition]:
    """A call of a member has ended: it has succeeded, is retried or has failed for good; the last one ends the group.

    Raises:
        MalformedAnswerError: that is no answer of a member, or not of this one.
    """
    group, index = instance.group, command.index
    if group is None or (instance.run, group.key) != (command.run, command.group):
        return []
    if not group.is_unfinished(index) or command.attempt != group.failures(index) + 1:
        return []
    action = Fail(error=command.action) if isinstance(command.action, str) else command.action
    match action:
        case StepComplete():
            _check(group, index, action)
            output_json = _output_json(action)
            started_at, completed_at, duration_ms = times(action, command.called_at, now)
            succeeded = MemberSucceeded(
                at=now,
                index=index,
                started_at=started_at,
                completed_at=completed_at,
                duration_ms=duration_ms,
                output_json=output_json,
                notes_json=notes_json(instance, action),
            )
            return [succeeded, *_end_after(instance, group, now)]
        case Fail():
            _check(group, index, action)
            return _failed(instance, group, command, action, now)
        case Defer():
            return []
        case Diverged():
            return [diverged(action, now)] if instance.status is Status.RUNNING else []
        case _:
            raise MalformedAnswerError(f"action: {action.action!r} is no answer to the call of a member")


def ended(instance: Instance, command: EndGroup, now: datetime) -> list[Transition]:
    """No call is in flight: a group that is failing has failed."""
    group = instance.group
    is_meant = group is not None and (instance.run, group.key) == (command.run, command.group)
    if group is None or not is_meant or not group.is_failing or instance.status is not Status.RUNNING:
        return []
    return [_group_failed(instance, group, None, now)]


def _failed(instance: Instance, group: Group, command: ApplyMember, action: Fail, now: datetime) -> list[Transition]:
    index = command.index
    failures = group.failures(index) + 1
    delay = None if group.is_failing else backoff(instance, action, failures, command.jitter)
    started_at, completed_at, duration_ms = times(action, command.called_at, now)
    attempt: dict[str, Any] = {
        "at": now,
        "index": index,
        "failures": failures,
        "error": action.message,
        "started_at": started_at,
        "completed_at": completed_at,
        "duration_ms": duration_ms,
        "detail_json": detail_json(action),
        "notes_json": notes_json(instance, action),
    }
    if delay is not None:
        return [MemberAttemptFailed(**attempt, retry_at=now + delay)]
    failure = MemberFailed(**attempt)
    return [failure, *_end_after(instance, group, now, failure)]


def _end_after(
    instance: Instance, group: Group, now: datetime, failure: MemberFailed | None = None
) -> list[Transition]:
    """The end of the group, if the member that has just ended was the last."""
    if group.unfinished_count > 1:
        return []
    if failure is None and group.failed_count == 0:
        return [GroupSucceeded(at=now, key=group.key, position=instance.current_step)]
    return [_group_failed(instance, group, failure, now)]


def _group_failed(instance: Instance, group: Group, last: MemberFailed | None, now: datetime) -> GroupFailed:
    count = group.failed_count + (last is not None)
    error = f"{count} of {group.total} members failed: "
    for sentence in _sentences(group, last):
        error += sentence
        if len(error) > _LONGEST_ERROR:
            break
    error = error.removesuffix("; ")
    if len(error) > _LONGEST_ERROR:
        error = f"{error[: _LONGEST_ERROR - 3]}..."
    return GroupFailed(at=now, key=group.key, position=instance.current_step, error=error)


def _sentences(group: Group, last: MemberFailed | None) -> Iterator[str]:
    errors = {} if last is None else {last.index: last.error}
    for index in range(group.total):
        if index in errors or group.standing(index).is_failed:
            error = errors.get(index) or group.last_error(index) or ""
            yield f"{group.member_key(index)}: {error[:_LONGEST_MEMBERS_ERROR]}; "


def _output_json(action: StepComplete) -> bytes:
    """The member's output, which stands one level deeper in that of its group, where it must not be too deep either."""
    output_json = encode_parsed(action.output)
    try:
        check_depth(output_json, MAX_DEPTH - 1)
    except TooDeepJsonError as error:
        raise MalformedAnswerError(f"output: {error}, as it is part of its group's") from None
    return output_json


def _check(group: Group, index: int, action: StepComplete | Fail) -> None:
    key = group.member_key(index)
    if action.key is not None and action.key != key:
        raise MalformedAnswerError(f"key: {action.key!r}, but {key!r} was asked for")
    if action.noted is not None:
        raise MalformedAnswerError("noted: a member has no notes of the workflow's own code")
