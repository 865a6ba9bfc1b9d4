"""PROTOCOL.md section 2, version 2 additions: `step_skip`, `sleep` until a time, `kind` and `input` of operations."""

import pytest
from histories import after, answer, at, given, succeeded

from pylon_workflows.core.commands import WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import SleepStarted, StepSkipped
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.messages import Fail, Sleep, StepComplete, StepSkip


def test_a_step_that_is_left_out_is_recorded_as_skipped_and_takes_a_position():
    skip = answer(StepSkip(step_name="remind", key="remind", reason="profile is complete"))
    assert decide(given(succeeded("a", 0)), skip, at(3)) == [
        StepSkipped(at=at(3), key="remind", name="remind", position=1, reason="profile is complete")
    ]
    instance = after(given(succeeded("a", 0)), skip, second=3)
    record = instance.steps[-1]
    assert (record.status, record.kind, record.position, record.output) == ("skipped", "step", 1, None)
    assert (record.started_at, record.completed_at, record.duration_ms) == (at(3), at(3), 0)
    assert (instance.current_step, instance.is_runnable, instance.last_position_at) == (2, True, at(3))


def test_a_skipped_steps_key_is_used_up():
    instance = after(given(), answer(StepSkip(step_name="a", key="a")))
    with pytest.raises(MalformedAnswerError, match="key: 'a' is already recorded"):
        decide(instance, answer(StepComplete(step_name="a", key="a")), at(0))
    assert decide(instance, answer(StepSkip(step_name="a")), at(0))[0].key == "a#2"


def test_a_skip_without_a_name_is_called_unknown():
    [skipped] = decide(given(), answer(StepSkip()), at(0))
    assert (skipped.name, skipped.key, skipped.reason) == ("unknown", "unknown", "")


def test_a_sleep_until_a_time_ends_then():
    assert decide(given(), answer(Sleep(until=at(3600), name="launch")), at(5)) == [
        SleepStarted(at=at(5), key="sleep:launch", name="sleep:launch", position=0, due_at=at(3600))
    ]
    asleep = after(given(), answer(Sleep(until=at(3600))), second=5)
    assert (asleep.status, asleep.wake_at) == (Status.SLEEPING, at(3600))
    assert asleep.steps[0].completed_at == at(3600)


def test_an_unnamed_sleep_until_a_time_shows_the_time_in_its_name_and_not_in_its_key():
    [slept] = decide(given(), answer(Sleep(until=at(60))), at(0))
    assert (slept.key, slept.name) == ("sleep", "sleep:2026-01-01T00:01:00.000Z")


def test_a_sleep_until_a_time_that_has_passed_is_due_at_once():
    asleep = after(given(), answer(Sleep(until=at(-100))), second=7)
    assert (asleep.status, asleep.due_at, asleep.steps[0].completed_at) == (Status.SLEEPING, at(7), at(7))
    assert after(asleep, WakeUp(), second=7).is_runnable


def test_a_sleep_until_more_than_a_hundred_years_from_now_is_malformed():
    century = 36525 * 86400
    assert len(decide(given(), answer(Sleep(until=at(century))), at(0))) == 1
    with pytest.raises(MalformedAnswerError, match=r"until: 2126-01-02T00:00:01\.000Z is more than 100 years away"):
        decide(given(), answer(Sleep(until=at(century + 1))), at(0))


def test_kind_and_input_of_an_operation_are_recorded():
    action = StepComplete(step_name="list", key="list", kind="shell", input=["ls", "-l"], output={"exit_code": 0})
    [step] = decide(given(), answer(action), at(0))
    assert (step.kind, step.input_json) == ("shell", b'["ls","-l"]')
    [record] = given(step).steps
    assert (record.kind, record.input, record.output) == ("shell", ["ls", "-l"], {"exit_code": 0})
    assert given(step).history_bytes == len("list") + len('["ls","-l"]') + len('{"exit_code":0}')


def test_a_plain_step_has_no_input():
    [step] = decide(given(), answer(StepComplete(step_name="a")), at(0))
    assert (step.kind, step.input_json) == ("step", None)


def test_a_failed_attempt_of_an_operation_and_its_final_failure_are_recorded_with_kind_and_input():
    fails = answer(
        Fail(
            step_name="list",
            key="list",
            kind="shell",
            input=["ls", "-l"],
            error="e",
            max_retries=1,
            on_exhausted="throw",
        )
    )
    [attempt] = decide(given(), fails, at(0))
    assert (attempt.kind, attempt.input_json) == ("shell", b'["ls","-l"]')
    instance = after(after(after(given(), fails), WakeUp(), second=60), fails, second=60)
    retried, final = instance.steps
    assert (retried.kind, retried.input, retried.position, retried.final) == ("shell", ["ls", "-l"], None, False)
    assert (final.kind, final.input, final.position, final.final) == ("shell", ["ls", "-l"], 0, True)
    assert instance.history_bytes == 2 * (len("list") + len("e") + len("null") + len('["ls","-l"]'))


def test_an_operation_whose_failure_ends_the_instance_is_recorded_with_kind_and_input():
    fails = answer(Fail(step_name="list", kind="shell", input=["ls"], error="e", retryable=False))
    instance = after(given(), fails)
    assert (instance.status, instance.steps[0].kind, instance.steps[0].input) == (Status.FAILED, "shell", ["ls"])


def test_a_plain_step_that_failed_has_no_input():
    instance = after(given(), answer(Fail(step_name="a", error="e")))
    assert (instance.steps[0].kind, instance.steps[0].input_json) == ("step", None)


def fail_with(given_input, *, max_retries=9):
    fail = Fail(
        step_name="a", key="a", kind="k", input=given_input, error="e", max_retries=max_retries, on_exhausted="throw"
    )
    return answer(fail)


def test_a_long_input_that_attempt_after_attempt_is_given_is_recorded_when_it_changes_and_with_the_final_failure():
    first, second = "x" * 5000, "y" * 5000
    instance = given()
    for number, given_input in enumerate((first, first, first, second, second, first)):
        instance = after(instance, fail_with(given_input), second=100 * number)
        instance = after(instance, WakeUp(), second=100 * number + 99)
    instance = after(instance, fail_with(first, max_retries=6), second=600)
    assert [record.input for record in instance.steps] == [first, None, None, second, None, first, first]
    assert {record.kind for record in instance.steps} == {"k"}


def test_the_long_input_of_another_step_is_recorded():
    instance = after(after(given(), fail_with("x" * 5000)), WakeUp(), second=60)
    other = Fail(step_name="b", key="b", kind="k", input="x" * 5000, error="e")
    assert after(instance, answer(other), second=60).steps[-1].input == "x" * 5000
