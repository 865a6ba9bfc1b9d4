"""PROTOCOL.md section 2: what an action carries beside is applied once, in its own transaction."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from histories import after, answer, at, failed, given, next_line, no_answer, received

from pylon_workflows.core.commands import DecideApproval, DeliverEvent, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.deciding.asking import MAX_VARS_BYTES
from pylon_workflows.core.notes import Progress, applied, shown
from pylon_workflows.core.usage import Usage
from pylon_workflows.core.variables import Variables
from pylon_workflows.errors import MalformedAnswerError, VarsTooLargeError
from runner_protocol.messages import (
    Approval,
    Complete,
    ContinueAsNew,
    Defer,
    Diverged,
    Fail,
    LogLine,
    Map,
    Sleep,
    StepComplete,
    StepSkip,
    WaitEvent,
)
from runner_protocol.messages import Progress as ProgressNote
from runner_protocol.messages import Usage as UsageNote
from runner_protocol.strict_json import encode

SPENT = UsageNote(cost_usd="0.0123", input_tokens=900, output_tokens=120)


def test_the_latest_value_of_a_variable_wins_null_stays_null_and_unset_removes():
    instance = after(
        given(),
        answer(StepComplete(vars={"a": 1, "b": {"x": [1.0]}, "c": "c"})),
        answer(StepComplete(vars={"a": 2, "b": None}, unset=["c", "never set"])),
    )
    assert instance.vars == {"a": 2, "b": None}
    assert instance.run_vars == {}


def test_a_name_that_one_action_sets_and_unsets_is_not_set():
    assert after(given(), answer(StepComplete(vars={"a": 1}, unset=["a"]))).vars == {}


def test_a_record_shows_the_variables_and_the_usage_that_were_applied_with_it_and_no_logs():
    line = LogLine(at=at(1), message="hello")
    instance = after(given(), answer(StepComplete(vars={"a": 1}, unset=["b"], usage=SPENT, logs=[line], noted=2)))
    assert json.loads(instance.steps[0].notes_json) == {
        "usage": {"cost_usd": "0.0123", "input_tokens": 900, "output_tokens": 120},
        "vars": {"a": 1},
        "unset": ["b"],
    }
    assert after(given(), answer(StepComplete(logs=[line], noted=2))).steps[0].notes_json is None


def test_usage_is_summed_exactly_however_small_or_large_the_amounts_are():
    amounts = ["0.1", "0.2", "0.000000000000000001", "999999999999999.999999999999999999", "0.70"]
    instance = after(given(), *(answer(StepComplete(usage=UsageNote(cost_usd=amount))) for amount in amounts))
    assert instance.usage.cost_usd == Decimal("1000000000000001.000000000000000000")
    assert json.loads(instance.usage.json)["cost_usd"] == "1000000000000001"
    instance = after(given(), *(answer(StepComplete(usage=SPENT)) for _ in range(10)))
    assert instance.usage == Usage(cost_usd=Decimal("0.123"), input_tokens=9000, output_tokens=1200)
    assert json.loads(instance.usage.json) == {"cost_usd": "0.123", "input_tokens": 9000, "output_tokens": 1200}
    assert json.loads(Usage().json) == {"cost_usd": "0", "input_tokens": 0, "output_tokens": 0}
    assert json.loads(Usage(cost_usd=Decimal(100)).json)["cost_usd"] == "100"


def test_the_latest_progress_counts():
    instance = after(
        given(),
        answer(StepComplete(progress=ProgressNote(percent=40, message="charged"))),
        answer(StepComplete(progress=ProgressNote(percent=60))),
    )
    assert instance.progress == Progress(percent=60, message=None)


def test_logs_stay_in_the_history_only_and_are_cut():
    lines = [LogLine(at=at(1), level="error", message="x" * 2_001)] * 101
    [step] = decide(given(), answer(StepComplete(logs=lines)), at(0))
    logs = json.loads(step.notes_json)["logs"]
    assert len(logs) == 100
    assert logs[0] == {"at": "2026-01-01T00:00:01.000Z", "level": "error", "message": "x" * 2_000}
    assert given(step).history_bytes == given(step).steps[0].size < 100


def test_an_action_without_notes_keeps_none():
    for action in (StepComplete(), StepComplete(vars={}, unset=[], logs=[])):
        [step] = decide(given(), answer(action), at(0))
        assert step.notes_json is None


def test_noted_counts_the_runs_notes_that_are_applied():
    instance = after(given(), answer(StepComplete(vars={"a": 1}, noted=3)), answer(StepComplete()))
    assert instance.noted == 3
    assert after(instance, answer(StepComplete(noted=3))).noted == 3
    with pytest.raises(MalformedAnswerError, match="noted: 2, but 3 notes of this run are applied"):
        decide(instance, answer(StepComplete(noted=2)), at(0))


def test_notes_of_a_failure_that_is_retried_are_applied_once_with_it():
    failing = Fail(step_name="a", key="a", vars={"tries": 1}, usage=SPENT, noted=1)
    instance = after(given(), answer(failing))
    assert (instance.vars, instance.usage.input_tokens, instance.noted) == ({"tries": 1}, 900, 1)
    assert after(instance, WakeUp(), second=60).usage.input_tokens == 900


@pytest.mark.parametrize(
    "action",
    [
        StepSkip(step_name="a", vars={"v": 1}),
        Sleep(duration="1m", vars={"v": 1}),
        WaitEvent(event="paid", vars={"v": 1}),
        Approval(name="gate", vars={"v": 1}),
        Map(name="m", items=[], vars={"v": 1}),
        Map(name="m", items=[1], vars={"v": 1}),
        Fail(step_name="a", key="a", retryable=False, on_exhausted="throw", vars={"v": 1}),
        Fail(step_name="a", key="a", retryable=False, vars={"v": 1}),
        Complete(vars={"v": 1}),
        ContinueAsNew(vars={"v": 1}),
    ],
    ids=lambda action: action.action,
)
def test_whatever_is_applied_applies_its_notes(action):
    assert after(given(), answer(action, terms=given().terms)).vars == {"v": 1}


def test_an_event_that_came_before_brings_the_notes_of_its_wait():
    instance = after(given(received("paid", 7)), answer(WaitEvent(event="paid", vars={"v": 1}, usage=SPENT)))
    assert (instance.vars, instance.usage.input_tokens) == ({"v": 1}, 900)
    assert json.loads(instance.steps[0].notes_json)["vars"] == {"v": 1}


def test_the_notes_of_a_wait_are_applied_when_it_begins_and_shown_by_its_record():
    waiting = after(given(), answer(WaitEvent(event="paid", vars={"v": 1}, usage=SPENT, timeout=timedelta(seconds=9))))
    assert waiting.usage.input_tokens == 900
    taken = after(waiting, DeliverEvent(event="paid", data_json=b"{}"))
    for ended in (taken, after(waiting, WakeUp(), second=9)):
        assert ended.usage.input_tokens == 900
        assert json.loads(ended.steps[0].notes_json)["vars"] == {"v": 1}
    gate = after(
        given(), answer(Approval(name="gate", vars={"v": 1})), DecideApproval(key="approval:gate", is_approved=True)
    )
    assert json.loads(gate.steps[0].notes_json) == {"vars": {"v": 1}}


@pytest.mark.parametrize(
    "action",
    [
        Defer(retry_after=timedelta(seconds=5), vars={"v": 1}),
        Diverged(position=0, expected="a", got="b", vars={"v": 1}, noted=5),
    ],
    ids=lambda action: action.action,
)
def test_what_applies_nothing_applies_no_notes(action):
    instance = after(given(), answer(action))
    assert (instance.vars, instance.noted) == ({}, 0)


def test_an_answer_that_is_late_applies_no_notes():
    instance = given(failed("a", 1, retry_at=9))
    assert after(instance, answer(StepComplete(vars={"v": 1}))) is instance


def test_variables_that_are_too_large_together_are_malformed_by_name():
    half = "x" * (MAX_VARS_BYTES // 2)
    instance = after(given(), answer(StepComplete(vars={"a": half})))
    with pytest.raises(VarsTooLargeError, match="variables would have 262159 bytes, the limit is 262144") as raised:
        decide(instance, answer(StepComplete(vars={"b": half})), at(0))
    assert raised.value.code == "vars-too-large"
    assert isinstance(raised.value, MalformedAnswerError)
    replaced = after(instance, answer(StepComplete(vars={"a": 1, "b": half})))
    assert list(replaced.vars) == ["a", "b"]
    assert after(instance, answer(StepComplete(vars={"b": half}, unset=["a"]))).vars == {"b": half}


def test_a_malformed_line_of_a_stream_leaves_the_notes_of_those_before():
    instance = after(given(), answer(StepComplete(vars={"v": 1}, noted=1)), no_answer(goes_on=True))
    assert (instance.vars, instance.noted) == ({"v": 1}, 1)


def test_lines_of_one_answer_apply_their_notes_in_order():
    lines = [next_line(StepComplete(vars={"v": number}, noted=number)) for number in range(1, 5)]
    assert after(given(), *lines).vars == {"v": 4}


def test_variables_read_like_a_mapping_and_are_values():
    empty = Variables()
    one = empty.changed({"a": {"x": 1.0}, "é": None})
    two = one.changed({"a": 2}, ["é", "gone"])
    assert (empty.json, one.json, two.json) == (b"{}", '{"a":{"x":1.0},"é":null}'.encode(), b'{"a":2}')
    assert [len(each.json) for each in (empty, one, two)] == [empty.size, one.size, two.size]
    assert (dict(one), list(two), len(one), "é" in one, "é" in two) == (
        {"a": {"x": 1.0}, "é": None},
        ["a"],
        2,
        True,
        False,
    )
    assert two.changed({}, ["a"]).size == 2
    assert one == empty.changed({"é": None, "a": {"x": 1.0}})
    assert hash(one) == hash(empty.changed({"é": None, "a": {"x": 1.0}}))
    assert one != two
    assert one != 5
    assert repr(two) == "Variables({'a': 2})"


def test_notes_that_have_nothing_to_show_show_nothing():
    assert shown(None) is None
    assert shown(b'{"noted":1}') is None
    assert shown(None, cost=b'{"cost_usd":"1"}') == b'{"usage":{"cost_usd":"1"}}'
    both = shown(encode({"usage": {"cost_usd": "0.5"}, "unset": ["a"]}), cost=b'{"cost_usd":"1","input_tokens":2}')
    assert json.loads(both) == {"usage": {"cost_usd": "1.5", "input_tokens": 2, "output_tokens": 0}, "unset": ["a"]}


def test_notes_change_only_what_they_name():
    assert applied(b'{"logs":[]}', Variables(), Usage()) == {}
