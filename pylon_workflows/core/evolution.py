"""How transitions add up: `replay(history)` is the state, whichever way it was reached. Nothing is judged here."""

from collections.abc import Sequence
from typing import Any, TypeVar, assert_never

from pylon_workflows.core import recording
from pylon_workflows.core.children import Child
from pylon_workflows.core.deleted_runs import begun_after
from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import ApprovalWait, ChildWait, EventWait, InboxEvent, Instance, Status, Terms, Wait
from pylon_workflows.core.notes import shown
from pylon_workflows.core.records import Record, Records
from pylon_workflows.core.successor import changed, finished, noted, positioned, recorded, stepped
from pylon_workflows.core.transitions import (
    ApprovalDecided,
    ApprovalRequested,
    ApprovalTimedOut,
    AttemptFailed,
    ChildFinished,
    ChildStarted,
    EarlierRunsDeleted,
    EventReceived,
    EventTaken,
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceFailed,
    InstanceResumed,
    InstanceStarted,
    MemberAttemptFailed,
    MemberFailed,
    MemberSucceeded,
    RunContinued,
    RunStarted,
    SleepStarted,
    StepFailed,
    StepSkipped,
    StepSucceeded,
    Transition,
    WaitStarted,
    WaitTimedOut,
    WokeUp,
)
from pylon_workflows.core.usage import Usage

WaitT = TypeVar("WaitT", EventWait, ApprovalWait, ChildWait)
_OfMember = MemberSucceeded | MemberAttemptFailed | MemberFailed


def begin(started: InstanceStarted) -> Instance:
    """The state of an instance that has just been started."""
    return Instance(origin=started, terms=Terms.of(started), due_at=started.due_at)


def replay(history: Sequence[Transition]) -> Instance:
    """Fold a whole history. Raises ValueError when it does not begin with `InstanceStarted`."""
    if not history or not isinstance(history[0], InstanceStarted):
        raise ValueError("a history begins with InstanceStarted")
    return evolve_all(begin(history[0]), history[1:])


def evolve_all(instance: Instance, transitions: Sequence[Transition]) -> Instance:
    """The state after several transitions, the same as one by one; raises as `evolve` does.

    Steps in a row make one new version of the instance, and their records are made when somebody asks.
    """
    steps: list[StepSucceeded] = []
    position = instance.current_step
    for transition in transitions:
        if isinstance(transition, StepSucceeded) and transition.notes_json is None and transition.position == position:
            steps.append(transition)
            position += 1
            continue
        if steps:
            instance, steps = stepped(instance, steps), []
        instance = evolve(instance, transition)
        position = instance.current_step
    return stepped(instance, steps) if steps else instance


def evolve(instance: Instance, transition: Transition) -> Instance:
    """The state after a transition; nothing is judged here.

    Raises:
        ValueError, LookupError, ArithmeticError, TypeError: the transition cannot have happened to this instance.
    """
    match transition:
        case StepSucceeded():
            return positioned(instance, recording.of_step(instance, transition), transition.notes_json)
        case AttemptFailed():
            return recorded(
                instance,
                recording.of_failed_attempt(instance, transition),
                transition.notes_json,
                failures_here=instance.failures_here + 1,
                last_error=transition.error,
                due_at=transition.retry_at,
            )
        case StepFailed():
            add = recorded if transition.position is None else positioned
            return add(instance, recording.of_failed_step(instance, transition), transition.notes_json)
        case StepSkipped():
            return positioned(instance, recording.of_skipped_step(instance, transition), transition.notes_json)
        case SleepStarted():
            return positioned(
                instance,
                recording.of_sleep(instance, transition),
                transition.notes_json,
                status=Status.SLEEPING,
                due_at=transition.due_at,
            )
        case MemberSucceeded():
            return _with_group(
                instance, _group(instance).with_success(transition.index, transition.output_json), transition
            )
        case MemberAttemptFailed():
            group = _group(instance).with_retry(
                transition.index, transition.failures, transition.error, transition.retry_at
            )
            return _with_group(instance, group, transition)
        case MemberFailed():
            group = _group(instance).with_failure(transition.index, transition.failures, transition.error)
            return _with_group(instance, group, transition)
        case GroupStarted():
            return changed(instance, group=Group(transition), due_at=None, **noted(instance, transition.notes_json))
        case GroupSucceeded() | GroupFailed():
            record = recording.of_group(instance, _group(instance), transition)
            return positioned(instance, record, group=None, due_at=None)
        case EventReceived():
            unread = InboxEvent(event=transition.event, data_json=transition.data_json, revision=instance.revision + 1)
            known = instance.event_ids
            return changed(
                instance,
                inbox=(*instance.inbox, unread),
                event_ids=known if transition.event_id is None else known.add(transition.event_id),
            )
        case EventTaken():
            taken = next(event for event in instance.inbox if event.revision == transition.source)
            left = tuple(event for event in instance.inbox if event is not taken)
            record = recording.of_event(instance, transition, taken)
            return _waited(instance, record, transition.notes_json, inbox=left)
        case WaitTimedOut():
            return _waited(instance, recording.of_timeout(instance, _wait(instance, EventWait), transition))
        case ApprovalDecided():
            return _waited(instance, recording.of_decision(instance, _wait(instance, ApprovalWait), transition))
        case ApprovalTimedOut():
            gate = _wait(instance, ApprovalWait)
            return _waited(instance, recording.of_missing_decision(instance, gate, transition))
        case RunStarted():
            return changed(instance, status=Status.RUNNING, started_at=transition.at, run_started_at=transition.at)
        case WokeUp():
            status = Status.PENDING if instance.started_at is None else Status.RUNNING
            woken = None if instance.group is None else instance.group.woken(transition.at)
            return changed(instance, status=status, due_at=None, group=woken)
        case WaitStarted():
            wait = EventWait(
                event=transition.event,
                key=transition.key,
                started_at=transition.at,
                match_json=transition.match_json,
                correlation=transition.correlation,
                on_timeout=transition.on_timeout,
                after=transition.after,
                notes_json=shown(transition.notes_json),
            )
            return _waiting(instance, Status.WAITING_FOR_EVENT, wait, transition)
        case ApprovalRequested():
            gate = ApprovalWait(
                key=transition.key,
                name=transition.name,
                message=transition.message,
                data_json=transition.data_json,
                started_at=transition.at,
                on_timeout=transition.on_timeout,
                after=transition.after,
                notes_json=shown(transition.notes_json),
            )
            return _waiting(instance, Status.AWAITING_APPROVAL, gate, transition)
        case ChildStarted():
            return _child_started(instance, transition)
        case ChildFinished():
            return _child_finished(instance, transition)
        case RunContinued():
            return _continued(instance, transition)
        case EarlierRunsDeleted():
            return begun_after(instance, transition)
        case InstanceCompleted():
            output, notes = transition.output_json, noted(instance, transition.notes_json)
            return finished(instance, transition.at, status=Status.COMPLETED, output_json=output, **notes)
        case InstanceFailed():
            return finished(
                instance,
                transition.at,
                status=Status.FAILED,
                error=transition.error,
                error_detail_json=transition.detail_json,
            )
        case InstanceCancelled():
            return finished(instance, transition.at, status=Status.CANCELLED)
        case InstanceBlocked():
            return changed(instance, status=Status.BLOCKED, due_at=None, blocked_reason=transition.reason)
        case InstanceResumed():
            status = Status.PENDING if instance.started_at is None else Status.RUNNING
            due_at = None if instance.group is None else instance.group.due_at
            return changed(instance, status=status, due_at=due_at, blocked_reason=None)
        case InstanceStarted():
            return begin(transition)
        case _:
            assert_never(transition)


def _waiting(instance: Instance, status: Status, wait: Wait, asked: WaitStarted | ApprovalRequested) -> Instance:
    return changed(instance, status=status, wait=wait, due_at=asked.due_at, **noted(instance, asked.notes_json))


def _waited(instance: Instance, record: Record, notes_json: bytes | None = None, **changes: Any) -> Instance:
    return positioned(instance, record, notes_json, status=Status.RUNNING, wait=None, due_at=None, **changes)


def _with_group(instance: Instance, group: Group, transition: _OfMember) -> Instance:
    due_at = group.due_at if instance.status is Status.RUNNING else None
    return changed(instance, group=group, due_at=due_at, **noted(instance, transition.notes_json))


def _child_started(instance: Instance, started: ChildStarted) -> Instance:
    child = Child(id=started.child_id, run=instance.run, key=started.key, on_parent_close=started.on_parent_close)
    children = instance.children.add(child)
    if started.position is not None:
        record = recording.of_started_child(instance, started, started.position)
        return positioned(instance, record, started.notes_json, children=children)
    wait = ChildWait(
        key=started.key,
        name=started.name,
        child_id=started.child_id,
        started_at=started.at,
        after=started.after,
        notes_json=shown(started.notes_json),
    )
    notes = noted(instance, started.notes_json)
    return changed(instance, status=Status.WAITING_FOR_CHILD, wait=wait, due_at=None, children=children, **notes)


def _child_finished(instance: Instance, end: ChildFinished) -> Instance:
    changes: dict[str, Any] = {"children": instance.children.remove(end.child_id)}
    if end.usage_json is not None:
        changes["usage"] = instance.usage.plus(Usage.from_json(end.usage_json))
    if end.position is None:
        return changed(instance, **changes)
    return _waited(
        instance, recording.of_finished_child(instance, _wait(instance, ChildWait), end, end.position), **changes
    )


def _continued(instance: Instance, transition: RunContinued) -> Instance:
    notes = noted(instance, transition.notes_json)
    return changed(
        instance,
        terms=Terms(
            input_json=transition.input_json,
            version=transition.version,
            policy=transition.policy,
            step_timeout=transition.step_timeout,
        ),
        run=instance.run + 1,
        run_started_at=transition.at,
        due_at=None,
        current_step=0,
        failures_here=0,
        last_error=None,
        last_position_at=None,
        history_bytes=0,
        records=Records(),
        **{**notes, "noted": 0, "run_vars": notes.get("vars", instance.vars)},
    )


def _wait(instance: Instance, kind: type[WaitT]) -> WaitT:
    if not isinstance(instance.wait, kind):
        raise ValueError(f"it was waiting for no such thing at revision {instance.revision}")  # noqa: TRY004
    return instance.wait


def _group(instance: Instance) -> Group:
    if instance.group is None:
        raise ValueError(f"no group was open at revision {instance.revision}")
    return instance.group
