"""What version 2 adds to a history, as the command line shows it: of real histories, as the API writes them."""

import json
from datetime import timedelta
from typing import Any, get_args

import pytest

from pylon_workflows import WorkflowDefinition, WorkflowEngine
from pylon_workflows.api.views import history_json
from pylon_workflows.cli.timeline import _DESCRIBED, timeline
from pylon_workflows.core.transitions import Transition
from pylon_workflows.testing import FakeClock, engine_in_memory
from runner_protocol.messages import (
    Action,
    Approval,
    Complete,
    ContinueAsNew,
    Fail,
    Map,
    Member,
    Parallel,
    StartChild,
    StepComplete,
    StepSkip,
)

Line = tuple[str, str, str]


async def lines(*what: Action | str) -> list[Line]:
    """What, name and detail of the rows of an instance to which this happened; a text is what a person decides."""
    clock = FakeClock()
    engine = engine_in_memory(None, clock=clock)
    engine.register(WorkflowDefinition("order", max_retries=1))
    async with engine:
        await engine.start("order", id="a")
        for each in what:
            if isinstance(each, str):
                await decide(engine, each)
            else:
                await engine.apply("a", each)
            clock.advance(timedelta(seconds=1))
        history: list[Any] = json.loads(history_json(await engine.history("a")))
    return [(row.what, row.name, row.detail) for row in timeline(history)[1:]]


async def decide(engine: WorkflowEngine, word: str) -> None:
    if word == "approve":
        await engine.approve("a", "approval:ship", by="alice", comment="go")
    else:
        await engine.reject("a", "approval:ship")


async def test_a_step_that_was_left_out_says_why() -> None:
    assert await lines(StepSkip(step_name="mail", reason="done by hand")) == [("skipped", "mail", "done by hand")]


async def test_a_gate_tells_its_message_and_who_decided() -> None:
    assert await lines(Approval(name="ship", message="Ship?", timeout=timedelta(hours=1)), "approve") == [
        ("approval", "approval:ship", "until 2026-01-01T01:00:00.000Z Ship?"),
        ("approved", "approval:ship", "by alice go"),
    ]
    assert (await lines(Approval(name="ship"), "reject"))[1] == ("rejected", "approval:ship", "")


async def test_a_group_tells_of_its_members_by_their_keys() -> None:
    assert await lines(
        Map(name="resize", items=[1, 2], fail_fast=False),
        StepComplete(key="resize[1]", output=2),
        Fail(key="resize[0]", error="no", retry_after=timedelta(seconds=3)),
        Fail(key="resize[0]", error="no"),
    ) == [
        ("map", "resize", "2 members, 10 at a time"),
        ("step", "resize[1]", "2"),
        ("retry", "resize[0]", "attempt 1 failed: no; retry in 3.00 s"),
        ("step failed", "resize[0]", "attempt 2 failed for good: no"),
        ("group failed", "resize", "1 of 2 members failed: resize[0]: no"),
    ]
    assert await lines(
        Parallel(name="checks", members=[Member(name="lint")]), StepComplete(key="checks/lint", output="ok")
    ) == [
        ("parallel", "checks", "1 members, 10 at a time"),
        ("step", "checks/lint", '"ok"'),
        ("group done", "checks", ""),
    ]


async def test_a_child_tells_its_workflow_and_id_and_the_next_run_its_input() -> None:
    child = StartChild(name="ship", workflow="order", id="ship-1", wait=False)
    assert await lines(child, ContinueAsNew(input={"n": 1}), Complete()) == [
        ("child", "child:ship", "order ship-1"),
        ("next run", "", '{"n":1}'),
        ("completed", "", ""),
    ]


@pytest.mark.parametrize("kind", get_args(Transition))
def test_every_kind_of_transition_has_words_of_its_own(kind: type) -> None:
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("_")
    plain = {"run_started", "woke_up", "instance_cancelled", "instance_resumed"}
    assert name in _DESCRIBED or name in plain
