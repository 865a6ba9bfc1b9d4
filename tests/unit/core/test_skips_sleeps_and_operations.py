"""PROTOCOL.md section 2, version 2 additions: `step_skip`, `sleep` until a time, `kind` and `input` of operations."""

import pytest
from histories import after, answer, at, given, succeeded

from pylon_workflows.core.commands import WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import SleepStarted, StepSkipped
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.messages import Sleep, StepComplete, StepSkip


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
