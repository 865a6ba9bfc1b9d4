"""Why an instance is where it is: a pure function of its state and the facts around it, one case a status (P8)."""

import json
import shlex
from datetime import datetime
from typing import NamedTuple, assert_never

from pylon_workflows.core.instance import ApprovalWait, ChildWait, EventWait, Instance, Status, Wait
from pylon_workflows.core.transitions import AttemptFailed, InstanceBlocked, MemberAttemptFailed, SleepStarted
from pylon_workflows.explain.last_words import last_words
from pylon_workflows.explain.near_misses import near_misses, other_keys, short_json
from pylon_workflows.explain.shapes import Explanation, Facts, Reason
from pylon_workflows.summaries import PARKED
from runner_protocol.fields import format_timestamp
from runner_protocol.hook_urls import EVENT_PREFIX

_ADVANCE = "`engine.advance`, or a POST to its `/advance`"


class _Why(NamedTuple):
    reason: Reason
    summary: str
    since: datetime | None
    ways_on: tuple[str, ...] = ()
    next_at: datetime | None = None


def explained(instance: Instance, facts: Facts) -> Explanation:
    """What is to be told of the instance."""
    why = _why(instance, facts)
    return Explanation(
        id=instance.id,
        name=instance.name,
        status=instance.status,
        revision=instance.revision,
        reason=why.reason,
        summary=why.summary,
        since=why.since,
        next_at=why.next_at,
        waiting_for=instance.waiting_for,
        ways_on=why.ways_on,
        runner_said=last_words(facts.recent, facts.driving),
        near_misses=near_misses(instance, facts),
        other_keys=other_keys(facts),
        unread_events=len(instance.inbox),
    )


def _why(instance: Instance, facts: Facts) -> _Why:
    if instance.is_finished:
        return _Why(Reason.FINISHED, _end(instance), instance.completed_at)
    if instance.status is Status.BLOCKED:
        return _blocked(instance, facts)
    if instance.wait is not None:
        return _waits(instance, instance.wait, facts)
    if instance.due_at is not None:
        return _due(instance, instance.due_at, facts)
    if instance.is_runnable:
        return _runnable(instance, facts)
    return _unexplained(instance, f"is {instance.status}, and nothing is to come that could end that")


def _end(instance: Instance) -> str:
    word = {Status.COMPLETED: "has completed", Status.CANCELLED: "was cancelled"}.get(instance.status)
    return word or f"has failed: {instance.error}"


def _blocked(instance: Instance, facts: Facts) -> _Why:
    reason = instance.blocked_reason
    if reason is None:
        return _unexplained(instance, "is blocked, and nobody has said why")
    since = _last(facts, InstanceBlocked)
    if reason.startswith(PARKED):
        ways = (
            f"its rows repaired in the file, and then: pylon-workflows resume {instance.id}",
            f"pylon-workflows delete {instance.id}, which takes it away",
        )
        return _Why(Reason.UNREADABLE, f"is parked, for what the file holds of it is {reason}", since, ways)
    ways = (
        f"what the reason says, mended; and then: pylon-workflows resume {instance.id}",
        f"pylon-workflows cancel {instance.id}, which ends it",
    )
    return _Why(Reason.BLOCKED, f"is blocked: {reason}", since, ways)


def _waits(instance: Instance, wait: Wait, facts: Facts) -> _Why:
    match wait:
        case EventWait():
            return _event(instance, wait)
        case ApprovalWait():
            return _approval(instance, wait)
        case ChildWait():
            return _child(instance, wait, facts)
        case _:
            assert_never(wait)


def _event(instance: Instance, wait: EventWait) -> _Why:
    match = {} if wait.match_json is None else json.loads(wait.match_json)
    wanted = " and ".join(f"{path} = {short_json(value)}" for path, value in match.items())
    summary = f"waits for the event {wait.event!r}" + (f" with {wanted}" if wanted else "") + _times(instance, wait)
    with_data = f" --data '{{...}}', with {wanted}" if wanted else ""
    ways = [f"that event: pylon-workflows send-event {instance.id} {shlex.quote(wait.event)}{with_data}"]
    if wait.event.startswith(EVENT_PREFIX):
        ways.append(f"or a POST to the hook URL {wait.event.removeprefix(EVENT_PREFIX)!r} that it has handed out")
    if wait.correlation is not None:
        ways.append(f"or that event published with the correlation {wait.correlation!r}")
    ways += _timeout(instance, "fails" if wait.on_timeout == "fail" else "goes on without it")
    return _Why(Reason.EVENT, summary, wait.started_at, tuple(ways), instance.due_at)


def _approval(instance: Instance, gate: ApprovalWait) -> _Why:
    message = f": {gate.message}" if gate.message else ""
    summary = f"waits for the decision {gate.key!r}{_times(instance, gate)}{message}"
    key = shlex.quote(gate.key)
    ways = [f"pylon-workflows approve {instance.id} {key}", f"or pylon-workflows reject {instance.id} {key}"]
    ways += _timeout(instance, "fails" if gate.on_timeout == "fail" else "is rejected")
    return _Why(Reason.APPROVAL, summary, gate.started_at, tuple(ways), instance.due_at)


def _child(instance: Instance, wait: ChildWait, facts: Facts) -> _Why:
    child = facts.child
    if child is None:
        return _unexplained(instance, f"waits for its child {wait.child_id}, which is not there")
    summary = f"waits for its child {wait.child_id} ({child.name}), which is {child.status}{_times(instance, wait)}"
    ways = (f"the child's end; what that waits for: pylon-workflows why {wait.child_id}",)
    return _Why(Reason.CHILD, summary, wait.started_at, ways)


def _due(instance: Instance, due_at: datetime, facts: Facts) -> _Why:
    at = format_timestamp(due_at)
    ways = (f"the time; it goes on by itself at {at}",)
    if due_at <= facts.now:
        ways = (f"it is being woken: its time came at {at}",)
    match instance.status:
        case Status.PENDING:
            return _Why(Reason.DELAYED, f"begins at {at}", instance.created_at, ways, due_at)
        case Status.SLEEPING:
            return _Why(Reason.SLEEPING, f"sleeps until {at}", _last(facts, SleepStarted), ways, due_at)
        case _:
            since = _last(facts, AttemptFailed) or _last(facts, MemberAttemptFailed)
            return _Why(Reason.RETRY, f"tries again at {at}, for an attempt has failed", since, ways, due_at)


def _runnable(instance: Instance, facts: Facts) -> _Why:
    driving, since = facts.driving, facts.recent[-1].at if facts.recent else None
    if driving.wait is not None:
        wait = driving.wait
        again = f"by itself at {format_timestamp(wait.next_try_at)}"
        whom, way = "for the runner ", f"an answer of the runner, which is asked again {again}"
        if wait.is_for_child:
            whom, way = "", f"that workflow, registered or told of by a runner; it is tried again {again}"
        summary = f"waits {whom}since {format_timestamp(wait.since)}: {wait.reason}"
        ways = (
            way,
            f"or at once: advance it ({_ADVANCE})",
        )
        return _Why(Reason.RUNNER, summary, wait.since, ways, wait.next_try_at)
    match driving.place:
        case "asked":
            asked_at = driving.asked_at or since
            deadline = None if asked_at is None else asked_at + instance.terms.step_timeout
            when = "" if asked_at is None else f" since {format_timestamp(asked_at)}"
            # A step of a stream may have asked for longer (PROTOCOL.md section 2): that only the runner's call knows.
            until = "" if deadline is None else f", which is waited for until {format_timestamp(deadline)} at least"
            return _Why(Reason.IN_FLIGHT, f"{_asked(instance)}{when}", asked_at, (f"the runner's answer{until}",))
        case "queued" | "stored" | "postponed":
            where = " in the file" if driving.place == "stored" else ""
            summary = f"waits{where} for its turn; {driving.turns_in_flight} turns are in flight"
            return _Why(Reason.QUEUED, summary, since, ("a turn that ends: then the next is asked",))
        case "no_runner":
            summary = "waits for an answer, and this engine has no runner to ask"
            return _Why(Reason.NO_RUNNER, summary, since, ("`engine.apply`, or an engine that has a runner",))
        case "elsewhere":
            summary = "is driven by the process that owns the file, which does not answer"
            return _Why(Reason.ELSEWHERE, summary, since, ("that process, or the one that takes over from it",))
    return _unexplained(instance, "could go on, and nobody drives it")


def _asked(instance: Instance) -> str:
    group = instance.group
    if group is None:
        return "is in flight: the runner is being asked"
    done = f"{group.succeeded_count} of {group.total} members are done, {group.failed_count} have failed"
    return f"is in flight: the runner is called for members of {group.key!r}, {done};"


def _unexplained(instance: Instance, summary: str) -> _Why:
    ways = (
        f"advance it ({_ADVANCE}), which looks at it anew; `doctor --verify` says whether the file is well",
        f"pylon-workflows cancel {instance.id}, which ends it",
    )
    return _Why(Reason.UNEXPLAINED, summary, None, ways)


def _times(instance: Instance, wait: Wait) -> str:
    until = "" if instance.due_at is None else f" until {format_timestamp(instance.due_at)}"
    return f" since {format_timestamp(wait.started_at)}{until}"


def _timeout(instance: Instance, what: str) -> list[str]:
    return [] if instance.due_at is None else [f"or the time: at {format_timestamp(instance.due_at)} it {what}"]


def _last(facts: Facts, kind: type) -> datetime | None:
    return next((transition.at for transition in reversed(facts.recent) if isinstance(transition, kind)), None)
