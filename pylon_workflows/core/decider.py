"""All rules of the machine: `decide(instance, command, now) -> transitions`.

1. All judgement is here and in `deciding`, none in `evolution.py`: due times, positions and budgets stand in the
   transition.
2. A late or repeated command decides nothing (`[]`). What a caller must hear is raised.
3. Time and jitter are arguments; each transition carries `at`.
4. One `case` per class, then `assert_never`.

The semantics are PROTOCOL.md's: section 1 for records, keys and positions, 2 for actions and retries, 3 for events,
5 for the members of groups. `deciding` has a module for each topic; which command concerns which stands here.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from pylon_workflows.core.commands import (
    ApplyAction,
    ApplyMember,
    ApplySteps,
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
from pylon_workflows.core.deciding import children, groups, steps, waits
from pylon_workflows.core.deciding.asking import notes_json
from pylon_workflows.core.deciding.ends import diverged, refuse_finished
from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.transitions import (
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceResumed,
    RunContinued,
    RunStarted,
    Transition,
)
from pylon_workflows.errors import InstanceNotBlockedError, MalformedAnswerError
from runner_protocol.messages import (
    Approval,
    Complete,
    ContinueAsNew,
    Defer,
    Diverged,
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


def decide(instance: Instance, command: Command, now: datetime) -> Sequence[Transition]:
    """What follows from a command.

    Raises:
        MalformedAnswerError: an action does not fit the instance: its key is already recorded, its variables are too
            large, or it suspends what is to be retried.
        InstanceFinishedError, InstanceNotBlockedError, InboxFullError, ApprovalConflictError: what the caller of an
            event, a cancel, a resume or a decision must hear.
    """
    match command:
        case ApplyAction():
            if _is_late(instance, command):
                return []
            return _answered(instance, command, _apply(instance, command, now))
        case ApplySteps():
            if _is_late(instance, command):
                return []
            return _answered(instance, command, steps.completed_together(instance, command, now))
        case FailTurn():
            if _is_late(instance, command):
                return []
            failure = steps.failed(instance, Fail(error=command.error), command.turn_started_at, now, command.jitter)
            return _answered(instance, command, failure)
        case ApplyMember():
            return groups.member_answered(instance, command, now)
        case EndGroup():
            return groups.ended(instance, command, now)
        case DecideApproval():
            return waits.approval_decided(instance, command, now)
        case FinishChild():
            return children.finished(instance, command, now)
        case DeliverEvent():
            return waits.event_delivered(instance, command, now)
        case WakeUp():
            return waits.woken(instance, now)
        case Cancel():
            if instance.status is Status.CANCELLED:
                return []
            refuse_finished(instance, "cannot be cancelled")
            return [InstanceCancelled(at=now)]
        case Block():
            is_driven = instance.status is Status.PENDING or instance.status is Status.RUNNING
            return [InstanceBlocked(at=now, reason=command.reason)] if is_driven else []
        case Resume():
            if instance.status is not Status.BLOCKED:
                raise InstanceNotBlockedError(f"{instance.id} is {instance.status}, not blocked")
            return [InstanceResumed(at=now)]
        case _:
            assert_never(command)


def _is_late(instance: Instance, command: ApplyAction | ApplySteps | FailTurn) -> bool:
    """Whether no answer is awaited. What an answer itself has scheduled does not make the rest of it late."""
    if instance.group is not None:
        return True
    if command.goes_on:
        return instance.status is not Status.RUNNING and instance.status is not Status.PENDING
    return not instance.is_runnable


def _answered(
    instance: Instance, command: ApplyAction | ApplySteps | FailTurn, applied: Sequence[Transition]
) -> Sequence[Transition]:
    """The first answer that counts begins the run."""
    if instance.started_at is None and applied:
        return [RunStarted(at=command.turn_started_at), *applied]
    return applied


def _apply(instance: Instance, command: ApplyAction, now: datetime) -> Sequence[Transition]:
    action = command.action
    match action:
        case StepComplete():
            return [steps.completed(instance, action, command.turn_started_at, now)]
        case Fail():
            return steps.failed(instance, action, command.turn_started_at, now, command.jitter)
        case StepSkip():
            return [steps.skipped(instance, action, now)]
        case Sleep():
            _refuse_suspension(instance, action)
            return [steps.asleep(instance, action, now)]
        case WaitEvent():
            _refuse_suspension(instance, action)
            return [waits.event_wanted(instance, action, now)]
        case Approval():
            _refuse_suspension(instance, action)
            return [waits.approval_wanted(instance, action, now)]
        case Parallel() | Map():
            _refuse_suspension(instance, action)
            return groups.opened(instance, action, now)
        case StartChild():
            if action.wait:
                _refuse_suspension(instance, action)
            return [children.started(instance, action, command, now)]
        case Complete():
            notes, output_json = notes_json(instance, action), encode_parsed(action.output)
            return [InstanceCompleted(at=now, output_json=output_json, notes_json=notes)]
        case ContinueAsNew():
            return [_continued(instance, action, command, now)]
        case Diverged():
            return [diverged(action, now)]
        case Defer() | StepStart():
            return []
        case _:
            assert_never(action)


def _refuse_suspension(instance: Instance, action: Sleep | WaitEvent | Approval | Parallel | Map | StartChild) -> None:
    """Its own time to wake would be put in place of that of the retry."""
    if instance.due_at is not None:
        raise MalformedAnswerError(
            f"action: {action.action!r} suspends the workflow after a failure that is to be retried"
        )


def _continued(instance: Instance, action: ContinueAsNew, command: ApplyAction, now: datetime) -> RunContinued:
    terms = command.terms
    if terms is None:
        raise MalformedAnswerError("action: 'continue_as_new' cannot be applied here: no terms for the next run")
    return RunContinued(
        at=now,
        input_json=encode_parsed(action.input),
        version=terms.version,
        policy=terms.policy,
        step_timeout=terms.step_timeout,
        notes_json=notes_json(instance, action),
    )
