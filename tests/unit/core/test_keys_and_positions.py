"""PROTOCOL.md section 1: which key a record gets, and which records take a position."""

import pytest
from histories import (
    RUN_STARTED,
    answer,
    at,
    event,
    failed,
    finally_failed,
    given,
    no_answer,
    pending,
    received,
    sleeping,
    succeeded,
    waiting,
)

from pylon_workflows.core.commands import WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import EventTaken, SleepStarted, StepSucceeded, WaitStarted, WaitTimedOut, WokeUp
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.messages import Complete, Fail, Sleep, StepComplete, WaitEvent


def test_a_step_is_recorded_under_its_name_at_the_first_position():
    assert decide(given(), answer(StepComplete(step_name="charge", output={"id": 1})), at(2)) == [
        StepSucceeded(
            at=at(2),
            key="charge",
            name="charge",
            position=0,
            started_at=at(0),
            completed_at=at(2),
            duration_ms=2000,
            output_json=b'{"id":1}',
        )
    ]


def test_the_first_answer_says_when_the_run_started_which_is_when_its_turn_began():
    [run_started, step] = decide(pending(), answer(StepComplete(step_name="a"), turn_began=1), at(3))
    assert run_started == type(RUN_STARTED)(at=at(1))
    assert (step.started_at, step.completed_at, step.duration_ms) == (at(1), at(3), 2000)


def test_a_loop_that_reuses_a_name_gets_the_next_free_key_each_time_round():
    instance = given(succeeded("poll", 0), succeeded("poll#2", 1))
    [step] = decide(instance, answer(StepComplete(step_name="poll")), at(0))
    assert (step.key, step.name, step.position) == ("poll#3", "poll", 2)


def test_the_first_free_key_may_lie_between_taken_ones():
    instance = given(succeeded("poll", 0), succeeded("poll#3", 1))
    [step] = decide(instance, answer(StepComplete(step_name="poll")), at(0))
    assert step.key == "poll#2"


def test_a_key_is_free_although_its_numbered_ones_are_taken():
    [step] = decide(given(succeeded("poll#2", 0)), answer(StepComplete(step_name="poll")), at(0))
    assert step.key == "poll"


def test_a_step_without_a_name_is_recorded_as_unknown():
    [step] = decide(given(), answer(StepComplete()), at(0))
    assert (step.key, step.name, step.output_json) == ("unknown", "unknown", b"null")


def test_a_failed_attempt_has_the_key_that_its_success_will_have():
    instance = given(succeeded("poll", 0))
    [attempt] = decide(instance, answer(Fail(step_name="poll")), at(0))
    assert attempt.key == "poll#2"
    instance = given(succeeded("poll", 0), attempt, WokeUp(at=at(10)))
    [step] = decide(instance, answer(StepComplete(step_name="poll")), at(10))
    assert step.key == "poll#2"


def test_a_key_that_the_runner_sends_is_stored_as_it_is():
    [step] = decide(given(), answer(StepComplete(step_name="charge", key="charge#7")), at(0))
    assert (step.key, step.name) == ("charge#7", "charge")


def test_keys_with_and_without_a_runner_that_sends_them_do_not_collide():
    instance = given(succeeded("charge#2", 0), succeeded("charge", 1))
    [step] = decide(instance, answer(StepComplete(step_name="charge")), at(0))
    assert step.key == "charge#3"


@pytest.mark.parametrize(
    "taken",
    [
        succeeded("charge", 0),
        finally_failed("charge", 3, position=0),
        sleeping(0, key="charge"),
    ],
    ids=["a completed step", "a final failure", "a sleep"],
)
@pytest.mark.parametrize(
    "action",
    [
        StepComplete(step_name="charge", key="charge"),
        Fail(step_name="charge", key="charge"),
        Sleep(duration="1s", key="charge"),
        WaitEvent(event="paid", key="charge"),
    ],
    ids=["step_complete", "fail", "sleep", "wait_event"],
)
def test_a_key_that_is_already_recorded_is_malformed(taken, action):
    instance = given(taken, WokeUp(at=at(60)))
    with pytest.raises(MalformedAnswerError, match="key: 'charge' is already recorded in this run"):
        decide(instance, answer(action), at(60))


def test_a_retried_failure_leaves_its_key_free():
    instance = given(failed("charge", 1), WokeUp(at=at(1)))
    [step] = decide(instance, answer(StepComplete(step_name="charge", key="charge")), at(1))
    assert (step.key, step.position) == ("charge", 0)


def test_the_key_of_an_unnamed_sleep_does_not_depend_on_its_duration():
    [first] = decide(given(), answer(Sleep(duration="24h")), at(0))
    assert (first.key, first.name) == ("sleep", "sleep:24h")
    instance = given(first, WokeUp(at=first.due_at))
    [second] = decide(instance, answer(Sleep(duration="5m")), first.due_at)
    assert (second.key, second.name) == ("sleep#2", "sleep:5m")


def test_a_named_sleep_has_its_name_in_the_key():
    [slept] = decide(given(), answer(Sleep(duration="PT5M", name="cool down")), at(0))
    assert (slept.key, slept.name) == ("sleep:cool down", "sleep:cool down")


def test_a_wait_has_the_key_that_its_event_will_have():
    assert decide(given(), answer(WaitEvent(event="paid")), at(5)) == [
        WaitStarted(at=at(5), event="paid", key="event:paid", due_at=None)
    ]
    instance = given(waiting("paid", key="event:paid"))
    [_, taken] = decide(instance, event("paid"), at(9))
    assert taken.key == "event:paid"


def test_waiting_for_one_event_again_and_again_gives_each_its_own_key():
    instance = given(
        received("paid"),
        EventTaken(at=at(0), source=3, key="event:paid", position=0, started_at=at(0)),
    )
    [wait] = decide(instance, answer(WaitEvent(event="paid")), at(0))
    assert wait.key == "event:paid#2"


def test_a_name_that_ends_like_a_numbered_key_is_only_a_name():
    instance = given(succeeded("a#2", 0), succeeded("a#2#2", 1), succeeded("2", 2))
    [step] = decide(instance, answer(StepComplete(step_name="a#2")), at(0))
    assert step.key == "a#2#3"
    [step] = decide(instance, answer(StepComplete(step_name="2")), at(0))
    assert step.key == "2#2"


def test_a_step_a_sleep_an_event_a_timeout_and_a_thrown_failure_take_one_position_each():
    instance = given(
        succeeded("a", 0),
        sleeping(1),
        WokeUp(at=at(60)),
        waiting("paid"),
        received("paid"),
        EventTaken(at=at(61), source=7, key="event:paid", position=2, started_at=at(60)),
        waiting("paid", key="event:paid#2", until=90),
        WaitTimedOut(at=at(90), event="paid", key="event:paid#2", position=3, started_at=at(61)),
        finally_failed("b", 1, position=4),
    )
    assert instance.current_step == 5
    assert [record.position for record in instance.steps] == [0, 1, 2, 3, 4]


def test_a_sleep_takes_its_position_when_it_begins_and_none_on_waking():
    asleep = given(sleeping(0))
    assert asleep.current_step == 1
    assert given(sleeping(0), WokeUp(at=at(60))).current_step == 1


def test_a_wait_takes_no_position():
    assert given(waiting("paid")).current_step == 0


def test_a_failure_that_is_retried_takes_no_position():
    instance = given(failed("charge", 1))
    assert instance.current_step == 0
    assert [record.position for record in instance.steps] == [None]


def test_a_sleep_is_recorded_as_completed_with_its_due_time():
    assert decide(given(), answer(Sleep(duration="1m30s")), at(4)) == [
        SleepStarted(at=at(4), key="sleep", name="sleep:1m30s", position=0, due_at=at(94))
    ]
    instance = given(sleeping(0, second=4, until=94))
    [record] = instance.steps
    assert (record.status, record.kind, record.final) == ("completed", "sleep", False)
    assert (record.started_at, record.completed_at, record.duration_ms) == (at(4), at(94), 90_000)


def test_times_that_the_runner_sends_are_stored_as_sent():
    action = StepComplete(step_name="a", started_at=at(-9), completed_at=at(-7), duration_ms=1234.5)
    [step] = decide(given(), answer(action), at(3))
    assert (step.started_at, step.completed_at, step.duration_ms) == (at(-9), at(-7), 1234)


def test_a_runner_whose_clock_runs_backwards_gives_no_negative_duration():
    action = StepComplete(step_name="a", started_at=at(5), completed_at=at(4))
    [step] = decide(given(), answer(action), at(6))
    assert (step.started_at, step.completed_at, step.duration_ms) == (at(5), at(4), 0)


def test_an_absurd_duration_still_fits_the_wire():
    [step] = decide(given(), answer(StepComplete(step_name="a", duration_ms=1e300)), at(1))
    assert 0 < step.duration_ms < 2**63


@pytest.mark.parametrize(
    "state",
    [
        given(sleeping(0)),
        given(waiting("paid")),
        given(failed("a", 1, retry_at=5)),
        pending(due_at=at(60)),
    ],
    ids=["asleep", "waiting", "backing off", "not begun yet"],
)
@pytest.mark.parametrize("command", [answer(Complete()), answer(StepComplete(step_name="late")), no_answer()])
def test_an_answer_that_comes_when_none_is_awaited_decides_nothing(state, command):
    assert decide(state, command, at(1)) == []


def test_the_last_position_is_the_time_that_workflow_code_sees():
    assert given().last_position_at is None
    assert given(succeeded("a", 0, second=3), failed("b", 1, second=9)).last_position_at == at(3)
    assert given(succeeded("a", 0, second=3), sleeping(1, second=4, until=60)).last_position_at == at(60)


def test_waking_up_before_it_is_due_does_nothing():
    instance = given(sleeping(0, until=60))
    assert decide(instance, WakeUp(), at(59.999999)) == []
    assert decide(instance, WakeUp(), at(60)) == [WokeUp(at=at(60))]
    assert given(sleeping(0, until=60)).status is Status.SLEEPING
