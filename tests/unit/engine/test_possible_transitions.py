"""What no engine writes is refused in a history that comes from elsewhere; what one writes is not."""

import asyncio
from datetime import timedelta

import pytest

from pylon_workflows import WorkflowDefinition
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.possible_transitions import check_transition
from pylon_workflows.testing import ScriptedRunner, engine_in_memory
from pylon_workflows.transition_json import transition_from
from runner_protocol.messages import (
    Complete,
    ContinueAsNew,
    Fail,
    LogLine,
    Map,
    Member,
    Parallel,
    Progress,
    StartChild,
    StepComplete,
    Usage,
    parse_action,
)

AT = "2026-12-01T09:00:00.000Z"
GROUP = {"kind": "map", "key": "g", "name": "g", "fail_fast": True, "max_in_flight": 1, "members": [1]}
RUN = {"input": 1, "version": None, "policy": {"max_retries": 1, "initial_backoff_s": 1, "maximum_backoff_s": 2}}
FAILED = {"key": "s", "name": "s", "position": 0, "failures": 1, "error": "e", "duration_ms": 0}
RETRIED = {"retry_at": AT, "started_at": AT, "completed_at": AT} | FAILED
del RETRIED["position"]
CHILD = {"key": "c", "name": "c", "workflow": "w", "is_awaited": True, "on_parent_close": "cancel", "position": None}
PAST = RUN | {
    "step_timeout_s": 1, "replaces": 9, "run": 3, "started_at": AT, "vars": {"a": 1}, "usage": {"cost_usd": "0.1"},
    "progress": [5.0, None], "children": [["c", 1, "child:c", "cancel"]], "inbox": [["paid", 3, None]],
    "event_ids": ["e"],
}  # fmt: skip
END = {"key": "c", "child_id": "c", "position": 0, "started_at": AT, "status": "completed", "error": None, "output": 1}


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("group_started", GROUP | {"members": 5}, "items: Input should be a valid list"),
        ("group_started", GROUP | {"max_in_flight": 0}, "max_in_flight: Input should be"),
        ("group_started", GROUP | {"kind": "parallel", "members": [["a", 1], 2]}, "members.0: Input should be"),
        ("group_started", GROUP | {"kind": "parallel", "members": {"a": 1}}, "kind: 'parallel' with these members"),
        ("group_started", GROUP | {"kind": "complete"}, "kind: 'complete' with these members is no group"),
        ("group_started", GROUP | {"notes": {"usage": {"cost_usd": "NaN"}}}, "notes.usage.cost_usd: String should"),
        ("run_continued", RUN | {"step_timeout_s": 0}, "step_timeout_s: must be more than 0"),
        ("earlier_runs_deleted", PAST | {"step_timeout_s": 0}, "step_timeout_s: must be more than 0"),
        ("earlier_runs_deleted", PAST | {"run": 1}, "run: 1 has none before it"),
        ("earlier_runs_deleted", PAST | {"vars": []}, "vars: should be what the earlier runs have led to"),
        ("earlier_runs_deleted", PAST | {"usage": {"cost_usd": "-1"}}, "usage: should be what"),
        ("earlier_runs_deleted", PAST | {"progress": "all"}, "progress: should be what"),
        ("earlier_runs_deleted", PAST | {"children": [["c", 1, "child:c", "keep"]]}, "children: should be what"),
        ("earlier_runs_deleted", PAST | {"children": [["../x", 1, "child:c", "cancel"]]}, "children: '../x' must be"),
        ("earlier_runs_deleted", PAST | {"inbox": [["paid", "3", None]]}, "inbox: should be what"),
        ("earlier_runs_deleted", PAST | {"event_ids": [1]}, "event_ids: should be what"),
        ("step_failed", FAILED | {"started_at": AT, "completed_at": AT, "kind": "map"}, "kind: 'map' is what another"),
        (
            "step_failed",
            FAILED | {"started_at": AT, "completed_at": AT, "kind": ""},
            "kind: String should have at least",
        ),
        ("attempt_failed", RETRIED | {"kind": "child"}, "kind: 'child' is what another action records"),
        ("child_started", CHILD | {"child_id": "../x"}, "child_id: '../x' must be"),
        ("child_finished", END | {"usage": {"cost_usd": "-1"}}, "usage: should be what a child has cost"),
    ],
)
def test_what_no_engine_writes_is_refused(kind, fields, words):
    _, transition = transition_from({"revision": 1, "type": kind, "at": AT, **fields})
    with pytest.raises(InvalidInputError) as refused:
        check_transition(transition)
    assert str(refused.value).startswith(words)


def test_what_stands_for_earlier_runs_is_possible():
    for changes in ({}, {"progress": None, "children": [], "inbox": [], "event_ids": []}):
        _, transition = transition_from({"revision": 9, "type": "earlier_runs_deleted", "at": AT, **PAST, **changes})
        check_transition(transition)


async def test_what_an_engine_writes_is_possible():
    notes = {
        "vars": {"a": 1},
        "unset": ["b"],
        "usage": Usage(cost_usd="9" * 15, input_tokens=2**53 - 1),
        "progress": Progress(percent=1.5),
        "logs": [LogLine(at=parse_action(b'{"action":"sleep","until":"%b"}' % AT.encode()).until, message="x")],
        "noted": 1,
    }
    turns = {
        ("w", 1): [
            StepComplete(step_name="s", key="s", kind='a "kind"', input={"x": 1}, **notes),
            Fail(step_name="f", key="f", kind='a "kind"', input=[1], error="e", retryable=False, on_exhausted="throw"),
            Map(name="m", items=[1, [2]]),
            Parallel(name="p", members=[Member(name="a/b", input=1), Member(name="c")]),
            Map(name="none", items=[]),
            StartChild(name="c", workflow="child"),
            StartChild(name="d", workflow="child", id="w", wait=False),
            ContinueAsNew(input=2),
        ],
        ("w", 2): [Complete(**notes)],
        ("child", 1): [StepComplete(key="s", **notes), Complete(**(notes | {"noted": 2}))],
    }

    def answer(request):
        if request.mode == "run_step":
            return StepComplete(output=request.member.index, usage=Usage(cost_usd="1"))
        return turns[request.workflow_name, request.run][request.current_step]

    engine = engine_in_memory(ScriptedRunner(answer))
    engine.register(WorkflowDefinition("w", step_timeout=timedelta(seconds=5)))
    engine.register(WorkflowDefinition("child"))
    async with engine:
        await engine.start("w", {}, id="w", tags={"a": "b"}, idempotency_key="k")
        instance = await engine.wait("w", 10)
        await asyncio.sleep(0)
        history = await engine.history("w")
    assert (instance.status, instance.run) == ("completed", 2)
    for transition in history:
        check_transition(transition)
