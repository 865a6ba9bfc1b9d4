"""PROTOCOL.md section 2, Retries: who is tried again, when, and how often."""

from datetime import timedelta

import pytest
from histories import answer, at, failed, finally_failed, given, no_answer, pending, sleeping, succeeded

from pylon_workflows.core.commands import WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import evolve
from pylon_workflows.core.instance import Status
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import AttemptFailed, InstanceFailed, RunStarted, StepFailed, WokeUp
from runner_protocol.messages import ErrorDetail, Fail, StepComplete

DECLINED = Fail(step_name="charge", error="card declined")
KEYED = Fail(step_name="charge", key="charge", error="card declined")
WOKEN = WokeUp(at=at(0))


def kinds(transitions):
    return [type(transition).__name__ for transition in transitions]


def test_a_failure_within_the_budget_is_retried_after_a_backoff():
    assert decide(given(), answer(DECLINED, turn_began=1), at(3)) == [
        AttemptFailed(
            at=at(3),
            key="charge",
            name="charge",
            failures=1,
            error="card declined",
            started_at=at(1),
            completed_at=at(3),
            duration_ms=2000,
            retry_at=at(4),
        )
    ]


def test_the_failure_after_the_last_retry_is_recorded_and_fails_the_instance():
    instance = given(failed("charge", 1), WOKEN, failed("charge", 2), WOKEN)
    assert decide(instance, answer(DECLINED, turn_began=8), at(9)) == [
        StepFailed(
            at=at(9),
            key="charge",
            name="charge",
            position=None,
            failures=3,
            error="card declined",
            started_at=at(8),
            completed_at=at(9),
            duration_ms=1000,
        ),
        InstanceFailed(at=at(9), error="card declined"),
    ]


def test_the_last_failure_stands_in_the_records_as_final():
    instance = given(failed("charge", 1), WOKEN, finally_failed("charge", 2), InstanceFailed(at=at(0), error="boom"))
    assert [(record.status, record.final, record.retry_count) for record in instance.steps] == [
        ("failed", False, 1),
        ("failed", True, 2),
    ]
    assert (instance.status, instance.error, instance.due_at) == (Status.FAILED, "boom", None)


def test_between_attempts_the_instance_is_running_and_due_at_the_next_try():
    instance = given(failed("charge", 1, second=3, retry_at=4))
    assert (instance.status, instance.retry_at, instance.wake_at) == (Status.RUNNING, at(4), None)
    assert not instance.is_runnable
    assert decide(instance, WakeUp(), at(3.9)) == []
    assert evolve(instance, WokeUp(at=at(4))).is_runnable


def test_the_backoff_doubles_up_to_its_maximum():
    policy = RetryPolicy(max_retries=9, initial_backoff=timedelta(seconds=1), maximum_backoff=timedelta(seconds=10))
    delays = [policy.delay(failures, 1.0).total_seconds() for failures in (1, 2, 3, 4, 5, 6)]
    assert delays == [1, 2, 4, 8, 10, 10]


def test_jitter_takes_anything_from_nothing_to_the_whole_backoff():
    policy = RetryPolicy(initial_backoff=timedelta(seconds=8), maximum_backoff=timedelta(seconds=60))
    assert policy.delay(1, 0.0) == timedelta(0)
    assert policy.delay(1, 0.25) == timedelta(seconds=2)
    [attempt] = decide(given(), answer(DECLINED, jitter=0.5), at(0))
    assert attempt.retry_at == at(0.5)


@pytest.mark.parametrize("failures", [1, 48, 1_000, 1_000_000])
@pytest.mark.parametrize("first", [timedelta(microseconds=1), timedelta(seconds=1), timedelta(days=36525)])
def test_a_backoff_that_doubles_for_ever_stays_at_its_maximum(failures, first):
    policy = RetryPolicy(max_retries=1_000_000, initial_backoff=first, maximum_backoff=timedelta(days=36525))
    assert first <= policy.delay(failures, 1.0) <= timedelta(days=36525)


def test_without_a_backoff_a_retry_is_due_at_once():
    policy = RetryPolicy(initial_backoff=timedelta(0), maximum_backoff=timedelta(0))
    assert policy.delay(70, 1.0) == timedelta(0)


def test_a_keyless_budget_is_that_of_the_position():
    instance = given(failed("charge", 1), WOKEN, failed("email", 2), WOKEN)
    assert kinds(decide(instance, answer(Fail(step_name="third")), at(0))) == ["StepFailed", "InstanceFailed"]


def test_a_loop_that_reuses_a_name_has_a_fresh_keyless_budget_each_time_round():
    instance = given(failed("poll", 1), WOKEN, failed("poll", 2), WOKEN, succeeded("poll", 0))
    [attempt] = decide(instance, answer(Fail(step_name="poll")), at(0))
    assert (attempt.key, attempt.failures) == ("poll#2", 1)


def test_a_keyed_budget_is_that_of_the_key():
    instance = given(failed("email", 1), WOKEN, failed("email", 2), WOKEN)
    [attempt] = decide(instance, answer(KEYED), at(0))
    assert (attempt.key, attempt.failures) == ("charge", 1)


def test_a_keyed_budget_outlives_the_positions_that_others_take():
    instance = given(failed("charge", 1), WOKEN, failed("charge", 2), WOKEN, succeeded("email", 0))
    assert kinds(decide(instance, answer(KEYED), at(0))) == ["StepFailed", "InstanceFailed"]


def test_turns_without_an_answer_count_as_attempts_of_the_position_named_unknown():
    [attempt] = decide(given(succeeded("a", 0)), no_answer("timed out after 30 s", turn_began=2), at(32))
    assert attempt == AttemptFailed(
        at=at(32),
        key="unknown",
        name="unknown",
        failures=1,
        error="timed out after 30 s",
        started_at=at(2),
        completed_at=at(32),
        duration_ms=30_000,
        retry_at=at(33),
    )


def test_turns_without_an_answer_fail_the_instance_when_the_positions_budget_is_used_up():
    instance = given(failed("unknown", 1), WOKEN, failed("unknown", 2), WOKEN)
    transitions = decide(instance, no_answer("timed out after 30 s"), at(0))
    assert kinds(transitions) == ["StepFailed", "InstanceFailed"]
    assert transitions[-1].error == "timed out after 30 s"


def test_a_first_turn_without_an_answer_starts_the_run_too():
    assert kinds(decide(pending(), no_answer(turn_began=1), at(31))) == ["RunStarted", "AttemptFailed"]
    assert decide(pending(), no_answer(turn_began=1), at(31))[0] == RunStarted(at=at(1))


def test_retry_after_replaces_the_backoff():
    [attempt] = decide(given(), answer(Fail(step_name="charge", retry_after=timedelta(minutes=5)), jitter=0.0), at(1))
    assert attempt.retry_at == at(301)


def test_max_retries_of_the_answer_replaces_the_definitions():
    assert kinds(decide(given(), answer(Fail(step_name="a", max_retries=0)), at(0))) == ["StepFailed", "InstanceFailed"]
    instance = given(*(transition for n in (1, 2, 3, 4) for transition in (failed("a", n), WOKEN)))
    assert kinds(decide(instance, answer(Fail(step_name="a", max_retries=5)), at(0))) == ["AttemptFailed"]


def test_a_failure_that_is_not_retryable_is_final_at_once():
    transitions = decide(given(), answer(Fail(step_name="a", error="no", retryable=False)), at(0))
    assert kinds(transitions) == ["StepFailed", "InstanceFailed"]
    assert transitions[0].failures == 1


def test_a_definition_without_retries_fails_at_the_first_failure():
    instance = given(policy=RetryPolicy(max_retries=0))
    assert kinds(decide(instance, answer(DECLINED), at(0))) == ["StepFailed", "InstanceFailed"]


def test_a_thrown_failure_takes_its_position_and_lets_the_code_go_on():
    action = Fail(step_name="charge", key="charge", error="no", retryable=False, on_exhausted="throw")
    [thrown] = decide(given(succeeded("a", 0)), answer(action), at(0))
    assert thrown == finally_failed("charge", 1, position=1, error="no")
    instance = given(succeeded("a", 0), thrown)
    assert instance.is_runnable
    assert instance.current_step == 2
    assert (instance.steps[-1].status, instance.steps[-1].final, instance.steps[-1].position) == ("failed", True, 1)


def test_a_failure_that_would_be_thrown_is_retried_while_its_budget_lasts():
    action = Fail(step_name="charge", key="charge", on_exhausted="throw")
    assert kinds(decide(given(), answer(action), at(0))) == ["AttemptFailed"]
    instance = given(failed("charge", 1), WOKEN, failed("charge", 2), WOKEN)
    assert kinds(decide(instance, answer(action), at(0))) == ["StepFailed"]


def test_code_that_does_not_catch_fails_the_instance_with_a_failure_of_no_step():
    instance = given(finally_failed("charge", 3, position=0))
    transitions = decide(instance, answer(Fail(error="charge: no", retryable=False)), at(0))
    assert kinds(transitions) == ["StepFailed", "InstanceFailed"]
    assert (transitions[0].key, transitions[0].position) == ("unknown", None)


def test_an_error_that_is_missing_is_called_unknown():
    [attempt] = decide(given(), answer(Fail(step_name="a")), at(0))
    assert attempt.error == "Unknown error"


def test_an_error_given_as_an_object_is_told_by_its_message_and_kept_whole_for_people():
    detail = ErrorDetail(type="CardError", message="declined", code=402, stack="at line 1")
    kept = b'{"type":"CardError","message":"declined","code":402,"data":null,"stack":"at line 1"}'
    [attempt] = decide(given(), answer(Fail(step_name="a", error=detail)), at(0))
    assert (attempt.error, attempt.detail_json) == ("declined", kept)
    [step, end] = decide(given(), answer(Fail(step_name="a", error=detail, retryable=False)), at(0))
    assert (step.error, step.detail_json) == ("declined", None)
    assert (end.error, end.detail_json) == ("declined", kept)
    failed_instance = given(step, end)
    assert failed_instance.error_detail == detail.model_dump()
    assert given().error_detail is None


def test_times_that_the_runner_sends_with_a_failure_are_stored_as_sent():
    action = Fail(step_name="a", started_at=at(-5), completed_at=at(-4), duration_ms=900)
    [attempt] = decide(given(), answer(action), at(0))
    assert (attempt.started_at, attempt.completed_at, attempt.duration_ms) == (at(-5), at(-4), 900)


def test_a_success_clears_what_is_known_of_the_attempts_before_it():
    instance = given(failed("a", 1, error="first"), WOKEN)
    assert (instance.failures_here, instance.last_error) == (1, "first")
    instance = given(failed("a", 1), WOKEN, succeeded("a", 0))
    assert (instance.failures_here, instance.last_error) == (0, None)


def test_a_failure_after_a_sleep_has_a_fresh_keyless_budget():
    instance = given(failed("a", 1), WOKEN, failed("a", 2), WOKEN, sleeping(0), WokeUp(at=at(60)))
    [attempt] = decide(instance, answer(Fail(step_name="a")), at(60))
    assert attempt.failures == 1


def test_a_step_that_succeeds_after_failures_keeps_them_in_the_records():
    instance = given(failed("a", 1), WOKEN, succeeded("a", 0))
    assert [(record.key, record.status) for record in instance.steps] == [("a", "failed"), ("a", "completed")]
    [step] = decide(instance, answer(StepComplete(step_name="a")), at(0))
    assert step.key == "a#2"
