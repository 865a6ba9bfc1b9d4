"""The state diagram in docs/concepts.md, found by doing: every command is given to instances in every state.

    python tools/state_diagram.py [--check | --print]

Without an option the diagram in the document is written anew; `--check` fails when it is stale. The search begins with
instances that have just been started, decides every command about them, folds what follows, and goes on with each state
that it has not seen. Two states are the same when their status and whatever `decide` asks about them are.
"""

import argparse
import re
import sys
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import begin, evolve
from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import FINISHED, Instance, Status, Terms
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import InstanceStarted, Transition
from pylon_workflows.errors import CallerError, MalformedAnswerError
from runner_protocol.messages import (
    Action,
    Approval,
    Complete,
    ContinueAsNew,
    Defer,
    Diverged,
    Fail,
    Map,
    Sleep,
    StartChild,
    StepComplete,
    StepSkip,
    WaitEvent,
)

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "concepts.md"
BEGIN, END = "<!-- The state diagram: written by tools/state_diagram.py -->", "<!-- The end of the state diagram -->"

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_LATER = timedelta(days=1)
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")

_STARTED = InstanceStarted(
    at=_NOW,
    id="wf_1",
    name="order",
    version=None,
    input_json=b"{}",
    idempotency_key=None,
    seed="0" * 32,
    policy=RetryPolicy(max_retries=1),
    step_timeout=timedelta(seconds=30),
)

ACTIONS: tuple[Action, ...] = (
    StepComplete(step_name="step"),
    StepSkip(step_name="step"),
    Sleep(duration="1h"),
    WaitEvent(event="paid"),
    WaitEvent(event="paid", timeout=timedelta(hours=1)),
    Approval(name="gate"),
    Approval(name="gate", timeout=timedelta(hours=1)),
    Map(name="map", items=[1, 2], fail_fast=False),
    Map(name="map", items=[1, 2]),
    StartChild(name="child", workflow="other"),
    StartChild(name="apart", workflow="other", wait=False),
    ContinueAsNew(),
    Complete(),
    Fail(step_name="step", key="step"),
    Fail(step_name="step", key="step", retryable=False, on_exhausted="throw"),
    Fail(step_name="step", key="step", retryable=False),
    Defer(retry_after=timedelta(seconds=5)),
    Diverged(position=0, expected="step", got="other"),
)

COMMANDS: tuple[Command, ...] = (
    *(
        ApplyAction(
            action=action,
            turn_started_at=_NOW,
            child=replace(_STARTED, id=getattr(action, "name", None) or "none"),
            terms=Terms.of(_STARTED),
        )
        for action in ACTIONS
    ),
    FailTurn(error="timed out after 30 s", turn_started_at=_NOW),
    EndGroup(run=1, group="map"),
    DecideApproval(key="approval:gate", is_approved=True),
    *(FinishChild(run=1, key=f"child:{name}", child_id=name, status="completed") for name in ("child", "apart")),
    DeliverEvent(event="paid", data_json=b"{}"),
    DeliverEvent(event="other", data_json=b"{}"),
    DeliverEvent(event="other", data_json=b"{}", event_id="evt-1"),
    WakeUp(),
    Cancel(),
    Block(reason="for a reason"),
    Resume(),
)

Edge = tuple[str, str, str]
"""From a status, by a transition, to a status."""


def edges() -> set[Edge]:
    """Every change of status, and every transition that leaves it, that the core can make."""
    found: set[Edge] = set()
    seen: set[Hashable] = set()
    waiting = deque(_started())
    while waiting:
        instance = waiting.popleft()
        if _traits(instance) in seen:
            continue
        seen.add(_traits(instance))
        for command in (*COMMANDS, *_member_calls(instance)):
            for now in (_NOW, _NOW + _LATER):
                after = instance
                for transition in _decided(instance, command, now):
                    before, after = after, evolve(after, transition)
                    found.add((before.status, type(transition).__name__, after.status))
                waiting.append(after)
    return found


def lines() -> Iterator[str]:
    """The diagram, and the table of what happens without a change of status."""
    changes: dict[tuple[str, str], set[str]] = {}
    stays: dict[str, set[str]] = {}
    for before, transition, after in edges():
        if before == after:
            stays.setdefault(transition, set()).add(before)
        else:
            changes.setdefault((before, after), set()).add(transition)
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {Status.PENDING}: {_words(InstanceStarted.__name__)}"
    for (before, after), transitions in sorted(changes.items(), key=lambda item: _place(*item[0])):
        yield f"    {before} --> {after}: {', '.join(sorted(map(_words, transitions)))}"
    for status in sorted(FINISHED, key=_place):
        yield f"    {status} --> [*]"
    yield "```"
    yield ""
    yield "What is recorded without a change of status:"
    yield ""
    yield "| what | while |"
    yield "|---|---|"
    for transition, statuses in sorted(stays.items()):
        yield f"| {_words(transition)} | {', '.join(sorted(statuses, key=_place))} |"


def document() -> str:
    """The document as it should be."""
    before, begin_mark, rest = DOCUMENT.read_text().partition(BEGIN)
    _, end_mark, after = rest.partition(END)
    if not (begin_mark and end_mark):
        raise SystemExit(f"{DOCUMENT.name} has no place for the diagram, between {BEGIN!r} and {END!r}")
    return "\n".join((f"{before}{BEGIN}", *lines(), f"{END}{after}"))


def _started() -> Iterator[Instance]:
    for due_at in (None, _NOW + timedelta(hours=1)):
        yield begin(replace(_STARTED, due_at=due_at))


def _member_calls(instance: Instance) -> Iterator[Command]:
    group = instance.group
    for index in range(0 if group is None else group.total):
        attempt = group.failures(index) + 1
        for action in (StepComplete(), Fail(), Fail(retryable=False), Diverged(position=0, expected="a", got="b")):
            yield ApplyMember(
                run=instance.run, group=group.key, index=index, attempt=attempt, action=action, called_at=_NOW
            )


def _decided(instance: Instance, command: Command, now: datetime) -> list[Transition]:
    try:
        return decide(instance, command, now)
    except (CallerError, MalformedAnswerError):
        return []


def _traits(instance: Instance) -> Hashable:
    group = instance.group
    return (
        instance.status,
        instance.started_at is None,
        instance.due_at is None,
        type(instance.wait),
        group and (group.fail_fast, tuple(_standing(group, index) for index in range(group.total))),
        any(event.event == "paid" for event in instance.inbox),
        instance.failures_here > 0,
        frozenset(instance.children),
    )


def _standing(group: Group, index: int) -> Hashable:
    standing = group.standing(index)
    return standing.is_unfinished, standing.failures > 0


def _words(transition: str) -> str:
    return _CAPITAL.sub(" ", transition).lower().removeprefix("instance ")


def _place(*statuses: str) -> tuple[int, ...]:
    order = [status.value for status in Status]
    return tuple(order.index(status) for status in statuses)


def main() -> int:
    """Write, print or check the diagram."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--print", action="store_true", dest="is_printing")
    options = parser.parse_args()
    if options.is_printing:
        print("\n".join(lines()))
    elif options.check and document() != DOCUMENT.read_text():
        print(f"the state diagram in {DOCUMENT.name} is stale: run tools/state_diagram.py", file=sys.stderr)
        return 1
    elif not options.check:
        DOCUMENT.write_text(document())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
