"""PROTOCOL.md section 2, `continue_as_new`: the next run of an instance."""

import hashlib
from datetime import timedelta

import pytest
from histories import BEGINNING, after, answer, at, event, failed, given, instance_started, pending, received, succeeded

from pylon_workflows.core.commands import WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import begin
from pylon_workflows.core.instance import Status, Terms
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import RunContinued, WokeUp
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.messages import Approval, ContinueAsNew, Fail, StepComplete, Usage, WaitEvent

NEW_TERMS = Terms(
    input_json=b'"not this one"', version="2", policy=RetryPolicy(max_retries=0), step_timeout=timedelta(seconds=5)
)
NEXT = answer(ContinueAsNew(input={"cursor": 900}), terms=NEW_TERMS)


def test_the_next_run_has_its_own_input_and_the_definitions_present_terms():
    assert decide(given(succeeded("a", 0)), NEXT, at(9)) == [
        RunContinued(
            at=at(9),
            input_json=b'{"cursor":900}',
            version="2",
            policy=RetryPolicy(max_retries=0),
            step_timeout=timedelta(seconds=5),
        )
    ]
    instance = after(given(succeeded("a", 0), version="1"), NEXT, second=9)
    assert (instance.run, instance.input, instance.version, instance.max_retries) == (2, {"cursor": 900}, "2", 0)
    assert instance.terms.step_timeout == timedelta(seconds=5)
    assert (instance.origin.version, instance.origin.input_json, instance.id) == ("1", b"{}", "wf_1")
    assert (instance.status, instance.is_runnable, instance.started_at) == (Status.RUNNING, True, BEGINNING)
    assert (instance.run_started_at, given().run_started_at, pending().run_started_at) == (at(9), BEGINNING, None)


def test_records_keys_positions_and_limits_start_afresh():
    before = given(succeeded("a", 0, output="x"), failed("b", 2), WokeUp(at=at(0)))
    assert (before.current_step, before.failures_here, before.history_bytes > 0) == (1, 1, True)
    instance = after(before, NEXT)
    assert (instance.steps, instance.current_step, instance.failures_here, instance.history_bytes) == ((), 0, 0, 0)
    assert (instance.last_error, instance.last_position_at, instance.noted, instance.due_at) == (None, None, 0, None)
    again = after(instance, answer(StepComplete(step_name="a", key="a")))
    assert [(record.key, record.position, record.depends_on) for record in again.steps] == [("a", 0, ())]
    assert before.steps[0].key == "a"


def test_retries_of_the_next_run_are_those_of_its_terms():
    instance = after(given(failed("b", 1), WokeUp(at=at(0))), NEXT)
    transitions = decide(instance, answer(Fail(step_name="b", key="b")), at(10))
    assert [type(each).__name__ for each in transitions] == ["StepFailed", "InstanceFailed"]


def test_the_present_variables_become_those_with_which_the_run_begins():
    continued = ContinueAsNew(input=1, vars={"b": 2}, unset=["c"], usage=Usage(cost_usd="0.5"), noted=7)
    instance = after(
        given(),
        answer(StepComplete(vars={"a": 1, "c": 3}, noted=4, usage=Usage(cost_usd="0.25"))),
        answer(continued, terms=NEW_TERMS),
    )
    assert (instance.run_vars, instance.vars, instance.noted) == ({"a": 1, "b": 2}, {"a": 1, "b": 2}, 0)
    assert f"{instance.usage.cost_usd}" == "0.75"
    later = after(instance, answer(StepComplete(vars={"a": 9}, noted=1)))
    assert (later.run_vars["a"], later.vars["a"], later.noted) == (1, 9, 1)


def test_unread_events_stay_unread_and_one_whose_wait_timed_out_feeds_a_wait_of_the_next_run():
    instance = after(given(), answer(WaitEvent(event="paid", timeout=timedelta(seconds=5))))
    instance = after(instance, WakeUp(), second=5)
    instance = after(instance, event("paid", 1, event_id="e1"), NEXT, second=6)
    assert (len(instance.inbox), list(instance.event_ids)) == (1, ["e1"])
    assert decide(instance, event("paid", 1, event_id="e1"), at(7)) == []
    instance = after(instance, answer(WaitEvent(event="paid")))
    assert [(record.key, record.output) for record in instance.steps] == [("event:paid", 1)]


def test_a_gate_of_the_next_run_has_the_same_key_and_a_decision_of_its_own():
    instance = after(given(received("x")), NEXT, answer(Approval(name="gate")))
    assert instance.waiting_for == "approval:gate"


def test_the_seed_is_fixed_for_an_instance_and_run():
    instance = begin(instance_started(seed="ab" * 16))
    assert instance.seed == "ab" * 16
    second = after(instance, NEXT)
    assert second.seed == hashlib.sha256(f"{'ab' * 16}:2".encode()).hexdigest()[:32]
    third = after(second, NEXT)
    assert third.seed == hashlib.sha256(f"{'ab' * 16}:3".encode()).hexdigest()[:32]


def test_the_first_answer_may_begin_the_next_run():
    transitions = decide(pending(), answer(ContinueAsNew(), turn_began=1, terms=NEW_TERMS), at(2))
    assert [type(each).__name__ for each in transitions] == ["RunStarted", "RunContinued"]


def test_without_the_next_runs_terms_it_cannot_begin():
    with pytest.raises(
        MalformedAnswerError, match="'continue_as_new' cannot be applied here: no terms for the next run"
    ):
        decide(given(), answer(ContinueAsNew()), at(0))


def test_a_start_says_who_the_parent_is_and_how_it_is_tagged():
    child = begin(instance_started(parent_id="wf_0", parent_key="child:ship", tags_json=b'{"team":"red"}'))
    assert (child.parent_id, child.origin.parent_key, child.tags) == ("wf_0", "child:ship", {"team": "red"})
    assert (pending().parent_id, pending().tags) == (None, {})
