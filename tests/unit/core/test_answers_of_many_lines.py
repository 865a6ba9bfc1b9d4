"""PROTOCOL.md section 2: what the lines of one answer do to each other."""

from datetime import timedelta

import pytest
from histories import (
    after,
    answer,
    at,
    failed,
    given,
    kinds,
    next_line,
    no_answer,
    pending,
    sleeping,
    succeeded,
    waiting,
)

from pylon_workflows.core.decider import decide
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import InstanceBlocked, InstanceCancelled, WokeUp
from pylon_workflows.errors import MalformedAnswerError
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
    StepStart,
    WaitEvent,
)

SUSPENSIONS = [
    Sleep(duration="1m"),
    WaitEvent(event="paid"),
    Approval(name="gate"),
    Map(name="m", items=[1]),
    Parallel(name="p", members=[]),
    StartChild(name="c", workflow="w"),
]


def tag(action):
    return action.action


def test_the_first_line_begins_the_run_and_the_others_do_not():
    begun = after(pending(), answer(StepComplete(step_name="a"), turn_began=1))
    assert begun.started_at == at(1)
    assert kinds(decide(begun, next_line(StepComplete(step_name="b")), at(2))) == ["StepSucceeded"]


def test_a_line_that_applies_nothing_does_not_begin_the_run_so_the_next_one_does():
    starting = after(pending(), answer(StepStart(step_name="a", key="a", timeout=timedelta(minutes=10))))
    assert starting.status is Status.PENDING
    transitions = decide(starting, next_line(StepComplete(step_name="a"), turn_began=1), at(2))
    assert kinds(transitions) == ["RunStarted", "StepSucceeded"]


def test_lines_of_steps_already_running_count_after_a_failure_that_is_retried():
    backing_off = given(failed("a", 1, retry_at=9))
    assert decide(backing_off, answer(StepComplete(step_name="b")), at(0)) == []
    later = after(backing_off, next_line(StepComplete(step_name="b", key="b", after=0)))
    assert [(record.key, record.status) for record in later.steps] == [("a", "failed"), ("b", "completed")]
    assert (later.due_at, later.current_step, later.is_runnable) == (at(9), 1, False)


def test_the_next_turn_comes_when_the_latest_retry_time_of_the_turn_has_come():
    backing_off = given(failed("a", 1, retry_at=9))
    sooner = next_line(Fail(step_name="b", key="b", retry_after=timedelta(seconds=1)))
    later = next_line(Fail(step_name="b", key="b", retry_after=timedelta(seconds=60)))
    assert [each.retry_at for each in decide(backing_off, sooner, at(2))] == [at(9)]
    assert [each.retry_at for each in decide(backing_off, later, at(2))] == [at(62)]
    assert after(backing_off, later, second=2).due_at == at(62)


def test_a_failure_that_is_thrown_ends_no_answer():
    thrown = Fail(step_name="a", key="a", retryable=False, on_exhausted="throw")
    instance = after(given(), answer(thrown), next_line(StepComplete(step_name="b", key="b", after=0)))
    assert [(record.key, record.position) for record in instance.steps] == [("a", 0), ("b", 1)]
    assert instance.is_runnable


def test_a_thrown_failure_after_one_that_is_retried_waits_for_the_retry_too():
    backing_off = given(failed("a", 1, retry_at=9))
    instance = after(backing_off, next_line(Fail(step_name="b", key="b", retryable=False, on_exhausted="throw")))
    assert (instance.current_step, instance.due_at) == (1, at(9))


@pytest.mark.parametrize("action", SUSPENSIONS, ids=tag)
def test_what_suspends_the_workflow_after_a_failure_that_is_retried_is_malformed(action):
    with pytest.raises(MalformedAnswerError, match=f"action: '{action.action}' suspends the workflow after a failure"):
        decide(given(failed("a", 1, retry_at=9)), next_line(action), at(1))


def test_a_child_that_is_not_waited_for_suspends_nothing():
    refused = next_line(StartChild(name="c", workflow="w", wait=False), child_refusal="no")
    assert kinds(decide(given(failed("a", 1, retry_at=9)), refused, at(1))) == ["StepFailed"]


def test_the_workflow_may_return_or_fail_while_a_step_is_to_be_retried():
    backing_off = given(failed("a", 1, retry_at=9))
    assert after(backing_off, next_line(Complete(output=1))).due_at is None
    assert after(backing_off, next_line(Fail(error="no", retryable=False))).status is Status.FAILED
    blocked = after(backing_off, next_line(Diverged(position=0, expected="a", got="b")))
    assert (blocked.status, blocked.due_at) == (Status.BLOCKED, None)


def test_a_malformed_line_is_a_failed_attempt_although_a_retry_is_scheduled():
    backing_off = given(failed("a", 1, retry_at=9))
    assert decide(backing_off, no_answer("malformed"), at(1)) == []
    [attempt] = decide(backing_off, no_answer("malformed", goes_on=True), at(1))
    assert (attempt.name, attempt.failures, attempt.retry_at) == ("unknown", 2, at(9))


@pytest.mark.parametrize(
    "state",
    [
        given(sleeping(0)),
        given(waiting("paid")),
        given(InstanceBlocked(at=at(0), reason="why")),
        given(InstanceCancelled(at=at(0))),
        after(given(), answer(Map(name="m", items=[1]))),
    ],
    ids=["asleep", "waiting", "blocked", "cancelled", "with a group"],
)
@pytest.mark.parametrize("line", [next_line(StepComplete(step_name="late")), no_answer(goes_on=True)])
def test_after_a_line_that_suspends_or_ends_the_instance_nothing_more_counts(state, line):
    assert decide(state, line, at(1)) == []


def test_while_a_group_is_open_no_turn_is_answered():
    instance = after(given(), answer(Map(name="m", items=[1])))
    assert instance.is_runnable
    assert decide(instance, answer(StepComplete(step_name="late")), at(1)) == []
    assert decide(instance, no_answer(), at(1)) == []


def test_keys_and_budgets_are_those_of_the_lines_before():
    instance = after(given(), answer(StepComplete(step_name="a")), next_line(StepComplete(step_name="a")))
    assert [record.key for record in instance.steps] == ["a", "a#2"]
    with pytest.raises(MalformedAnswerError, match="key: 'a' is already recorded in this run"):
        decide(instance, next_line(StepComplete(step_name="a", key="a")), at(0))


def test_a_step_that_has_begun_and_a_deferral_apply_nothing():
    for line in (StepStart(key="a", timeout=timedelta(minutes=1)), Defer(retry_after=timedelta(seconds=5))):
        assert decide(given(succeeded("a", 0)), next_line(line), at(0)) == []


def test_the_next_run_may_begin_while_a_step_of_this_one_is_to_be_retried():
    instance = given(failed("a", 1, retry_at=9))
    continued = after(instance, next_line(ContinueAsNew(input=2), terms=instance.terms))
    assert (continued.run, continued.due_at, continued.is_runnable) == (2, None, True)


def test_waking_lets_the_turn_after_a_retry_begin():
    assert given(failed("a", 1, retry_at=9), WokeUp(at=at(9))).is_runnable
