"""PROTOCOL.md section 5: the members of `parallel` and `map`, each retried on its own, counted once."""

import json
from datetime import timedelta

import pytest
from histories import after, answer, at, given, kinds, received, succeeded

from pylon_workflows.core.commands import ApplyMember, Block, Cancel, DeliverEvent, EndGroup, Resume, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import (
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    InstanceBlocked,
    MemberAttemptFailed,
    MemberFailed,
    MemberSucceeded,
)
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.messages import (
    Complete,
    Defer,
    Diverged,
    ErrorDetail,
    Fail,
    Map,
    Member,
    Parallel,
    Sleep,
    StepComplete,
    Usage,
)

RESIZE = Map(name="resize", key="resize", items=[1, "b", None], fail_fast=False)
CHECKS = Parallel(name="checks", key="checks", members=[Member(name="lint", input={"x": 1}), Member(name="test")])
END = EndGroup(run=1, group="resize")


def opened(action=RESIZE, **changes):
    return after(given(), answer(action.model_copy(update=changes)), second=1)


def call(index, action=None, *, attempt=1, group="resize", run=1, jitter=1.0):
    """The answer to a call of that member, which began at second 2."""
    action = StepComplete(output=index) if action is None else action
    return ApplyMember(
        run=run, group=group, index=index, attempt=attempt, action=action, called_at=at(2), jitter=jitter
    )


def failing(error="boom", **changes):
    return Fail(error=error, retryable=False, **changes)


def test_a_map_begins_with_one_member_an_item():
    assert decide(given(succeeded("a", 0)), answer(RESIZE), at(1)) == [
        GroupStarted(
            at=at(1),
            kind="map",
            key="resize",
            name="resize",
            fail_fast=False,
            max_in_flight=10,
            members_json=b'[1,"b",null]',
        )
    ]
    instance = opened()
    group = instance.group
    assert (group.key, group.kind, group.name, group.total) == ("resize", "map", "resize", 3)
    assert (group.fail_fast, group.max_in_flight, group.is_failing) == (False, 10, False)
    assert [group.member_key(index) for index in range(3)] == ["resize[0]", "resize[1]", "resize[2]"]
    assert [group.member_name(index) for index in range(3)] == ["resize"] * 3
    assert [group.input_json(index) for index in range(3)] == [b"1", b'"b"', b"null"]
    assert (instance.status, instance.due_at, instance.current_step, instance.is_runnable) == (
        Status.RUNNING,
        None,
        0,
        True,
    )


def test_a_parallel_has_named_members():
    group = opened(CHECKS, max_in_flight=2).group
    assert (group.kind, group.total, group.max_in_flight, group.fail_fast) == ("parallel", 2, 2, True)
    assert [group.member_key(index) for index in range(2)] == ["checks/lint", "checks/test"]
    assert [group.member_name(index) for index in range(2)] == ["lint", "test"]
    assert [group.input_json(index) for index in range(2)] == [b'{"x":1}', b"null"]


def test_a_group_without_a_key_gets_one_from_its_name():
    assert decide(given(succeeded("m", 0)), answer(Map(name="m", items=[1])), at(0))[0].key == "m#2"


def test_a_group_whose_key_is_recorded_is_malformed():
    with pytest.raises(MalformedAnswerError, match="key: 'resize' is already recorded"):
        decide(given(succeeded("resize", 0)), answer(RESIZE), at(0))


@pytest.mark.parametrize(
    ("action", "output"),
    [(Map(name="m", items=[]), []), (Parallel(name="m", members=[]), {})],
    ids=["map", "parallel"],
)
def test_an_empty_group_completes_at_once(action, output):
    assert kinds(decide(given(), answer(action), at(1))) == ["GroupStarted", "GroupSucceeded"]
    instance = after(given(), answer(action), second=1)
    assert (instance.group, instance.is_runnable, instance.current_step) == (None, True, 1)
    assert (instance.steps[0].output, instance.steps[0].kind) == (output, action.action)


def test_a_members_result_is_recorded_and_the_group_goes_on():
    assert decide(opened(), call(1, StepComplete(output={"ok": True})), at(4)) == [
        MemberSucceeded(
            at=at(4), index=1, started_at=at(2), completed_at=at(4), duration_ms=2000, output_json=b'{"ok":true}'
        )
    ]
    instance = after(opened(), call(1))
    group = instance.group
    assert (group.succeeded_count, group.failed_count, group.unfinished_count) == (1, 0, 2)
    assert list(group.unfinished()) == [0, 2]
    assert list(group.unfinished(1)) == [2]
    assert [group.is_unfinished(index) for index in (-1, 0, 1, 2, 3)] == [False, True, False, True, False]
    assert (instance.steps, instance.current_step, instance.is_runnable) == ((), 0, True)


def test_the_output_has_the_results_in_the_order_of_the_members_whatever_that_of_their_arrival():
    instance = after(opened(), call(2), call(0))
    assert kinds(decide(instance, call(1), at(9))) == ["MemberSucceeded", "GroupSucceeded"]
    instance = after(instance, call(1), second=9)
    [record] = instance.steps
    assert record.output == [0, 1, 2]
    assert (record.key, record.name, record.kind, record.status) == ("resize", "resize", "map", "completed")
    assert (record.started_at, record.completed_at, record.position, record.duration_ms) == (at(1), at(9), 0, 8000)
    assert (instance.group, instance.is_runnable, instance.current_step) == (None, True, 1)
    assert instance.last_position_at == at(9)


def test_the_output_of_a_parallel_is_an_object_by_name():
    instance = after(opened(CHECKS), call(1, group="checks"), call(0, group="checks"))
    assert instance.steps[0].output_json == b'{"lint":0,"test":1}'


def test_a_result_counts_once_however_often_it_comes():
    instance = after(opened(), call(0))
    assert decide(instance, call(0), at(5)) == []
    assert decide(instance, call(0, failing()), at(5)) == []


@pytest.mark.parametrize(
    "late",
    [call(0, run=2), call(0, group="other"), call(7), call(-1), call(0, attempt=2), call(0, attempt=0)],
    ids=["another run", "another group", "no such member", "below zero", "an attempt to come", "no attempt"],
)
def test_an_answer_to_another_call_decides_nothing(late):
    assert decide(opened(), late, at(5)) == []


def test_an_answer_that_comes_when_no_group_is_open_decides_nothing():
    assert decide(given(), call(0), at(5)) == []
    assert decide(after(opened(), call(0), call(1), call(2)), call(0), at(5)) == []
    cancelled = after(opened(), Cancel())
    assert (cancelled.group, decide(cancelled, call(0), at(5))) == (None, [])


def test_a_members_failure_is_retried_on_its_own():
    assert decide(opened(), call(1, Fail(error="no", started_at=at(3)), jitter=0.5), at(4)) == [
        MemberAttemptFailed(
            at=at(4),
            index=1,
            failures=1,
            error="no",
            started_at=at(3),
            completed_at=at(4),
            duration_ms=1000,
            retry_at=at(4.5),
        )
    ]
    instance = after(opened(), call(1, Fail(error="no")), second=4)
    group = instance.group
    assert (group.failures(1), group.last_error(1), group.retry_at(1)) == (1, "no", at(5))
    assert (group.failures(0), group.last_error(0), group.retry_at(0)) == (0, None, None)
    assert (instance.due_at, instance.failures_here, instance.is_runnable) == (None, 0, True)
    assert group.next_retry_at() == at(5)
    assert decide(instance, call(1), at(6)) == []
    assert kinds(decide(instance, call(1, attempt=2), at(6))) == ["MemberSucceeded"]


def test_when_all_that_is_left_backs_off_the_instance_is_due_at_the_earliest_retry():
    one = after(opened(), call(0), call(1, Fail(retry_after=timedelta(seconds=60))), second=4)
    assert one.due_at is None
    instance = after(one, call(2, Fail(retry_after=timedelta(seconds=30))), second=4)
    assert (instance.status, instance.due_at, instance.is_runnable) == (Status.RUNNING, at(34), False)
    assert instance.retry_at == at(34)
    woken = after(instance, WakeUp(), second=34)
    assert (woken.due_at, woken.is_runnable) == (None, True)
    assert (woken.group.retry_at(2), woken.group.retry_at(1)) == (None, at(64))
    assert woken.group.next_retry_at() == at(64)
    assert woken.group.failures(2) == 1
    again = after(woken, call(2, StepComplete(), attempt=2), second=35)
    assert again.due_at == at(64)
    assert after(again, WakeUp(), second=64).group.next_retry_at() is None


def test_the_last_one_in_flight_leaves_the_instance_to_the_retry_of_the_others():
    instance = after(opened(), call(0, Fail(retry_after=timedelta(seconds=60))), call(1), second=4)
    assert (instance.due_at, after(instance, call(2), second=5).due_at) == (None, at(64))
    assert after(instance, call(2, failing()), second=5).due_at == at(64)


def test_waking_retries_all_that_is_due_by_then():
    instance = opened()
    for index in range(3):
        instance = after(instance, call(index, Fail(retry_after=timedelta(seconds=index))), second=4)
    woken = after(instance, WakeUp(), second=5)
    assert [woken.group.retry_at(index) for index in range(3)] == [None, None, at(6)]


def test_the_failure_after_the_last_retry_is_final():
    instance = after(opened(), call(0, Fail()), call(0, Fail(), attempt=2), second=4)
    assert kinds(decide(instance, call(0, Fail(), attempt=3), at(5))) == ["MemberFailed"]
    assert kinds(decide(opened(), call(0, Fail(max_retries=0)), at(5))) == ["MemberFailed"]
    assert kinds(decide(opened(), call(0, failing()), at(5))) == ["MemberFailed"]


def test_a_call_without_a_proper_answer_is_a_failed_attempt_of_its_member():
    [attempt] = decide(opened(), call(0, "timed out after 30 s"), at(32))
    assert attempt == MemberAttemptFailed(
        at=at(32),
        index=0,
        failures=1,
        error="timed out after 30 s",
        started_at=at(2),
        completed_at=at(32),
        duration_ms=30_000,
        retry_at=at(33),
    )


def test_the_error_of_a_member_given_as_an_object_is_kept_whole_for_people():
    [failure] = decide(opened(), call(0, failing(ErrorDetail(message="bad", code=7))), at(4))
    assert failure.error == "bad"
    assert json.loads(failure.detail_json)["code"] == 7


def test_without_fail_fast_all_run_to_their_end_and_the_failure_names_every_failed_member():
    instance = after(opened(), call(2, failing("third")), call(0, failing("first")), second=4)
    assert (instance.group.is_failing, instance.due_at, list(instance.group.failed())) == (False, None, [0, 2])
    assert decide(instance, END, at(5)) == []
    transitions = decide(instance, call(1), at(5))
    assert transitions[1:] == [
        GroupFailed(
            at=at(5), key="resize", position=0, error="2 of 3 members failed: resize[0]: first; resize[2]: third"
        )
    ]
    instance = after(instance, call(1), second=5)
    [record] = instance.steps
    assert (record.status, record.final, record.position, record.retry_count, record.output) == (
        "failed",
        True,
        0,
        1,
        None,
    )
    assert record.error == "2 of 3 members failed: resize[0]: first; resize[2]: third"
    assert (instance.group, instance.is_runnable, instance.current_step) == (None, True, 1)


def test_the_last_member_may_be_the_one_that_fails():
    instance = after(opened(), call(0), call(1))
    transitions = decide(instance, call(2, failing("bang")), at(5))
    assert kinds(transitions) == ["MemberFailed", "GroupFailed"]
    assert transitions[-1].error == "1 of 3 members failed: resize[2]: bang"


def test_with_fail_fast_nothing_is_retried_once_a_member_has_failed_for_good():
    instance = after(opened(fail_fast=True), call(0, Fail(retry_after=timedelta(seconds=60))), call(1, failing()))
    assert instance.group.is_failing
    assert (instance.due_at, instance.is_runnable) == (None, True)
    assert kinds(decide(instance, call(2, Fail()), at(5))) == ["MemberFailed"]
    assert kinds(decide(instance, call(2), at(5))) == ["MemberSucceeded"]


def test_a_failing_group_ends_when_no_call_is_in_flight_and_the_rest_is_left_out():
    instance = after(opened(fail_fast=True), call(1, failing()), call(2), second=4)
    transitions = decide(instance, END, at(6))
    assert transitions == [
        GroupFailed(at=at(6), key="resize", position=0, error="1 of 3 members failed: resize[1]: boom")
    ]
    assert decide(after(instance, END), END, at(7)) == []


def test_a_failing_group_whose_members_have_all_ended_ends_by_itself():
    instance = after(opened(fail_fast=True), call(1, failing("one")), call(0))
    transitions = decide(instance, call(2, failing("two")), at(6))
    assert kinds(transitions) == ["MemberFailed", "GroupFailed"]
    assert transitions[-1].error == "2 of 3 members failed: resize[1]: one; resize[2]: two"


@pytest.mark.parametrize("late", [EndGroup(run=2, group="resize"), EndGroup(run=1, group="other"), END])
def test_ending_a_group_that_is_not_failing_or_not_there_decides_nothing(late):
    assert decide(opened(fail_fast=True), late, at(5)) == []
    assert decide(given(), late, at(5)) == []
    if late is not END:
        assert decide(after(opened(fail_fast=True), call(1, failing())), late, at(5)) == []


def test_an_error_that_names_very_many_members_is_cut():
    items = list(range(1_000))
    instance = opened(items=items)
    instance = after(instance, *(call(index, failing("x" * 500)) for index in items))
    error = instance.steps[0].error
    assert error.startswith(f"1000 of 1000 members failed: resize[0]: {'x' * 200}; resize[1]: {'x' * 200}; ")
    assert (len(error), error[-3:]) == (2_000, "...")


def test_notes_of_a_member_are_applied_with_its_result():
    spending = {"usage": Usage(cost_usd="0.5"), "vars": {"last": 1}}
    instance = after(
        opened(), call(0, StepComplete(**spending)), call(1, Fail(**spending)), call(2, failing(**spending))
    )
    assert (f"{instance.usage.cost_usd}", instance.vars) == ("1.5", {"last": 1})


def test_notes_of_the_group_are_applied_when_it_begins_and_shown_by_its_record():
    instance = opened(CHECKS, vars={"v": 1}, after=0)
    assert instance.vars == {"v": 1}
    instance = after(instance, call(0, group="checks"), call(1, group="checks"))
    assert json.loads(instance.steps[0].notes_json) == {"vars": {"v": 1}}


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (Sleep(duration="1s"), "action: 'sleep' is no answer to the call of a member"),
        (Complete(), "action: 'complete' is no answer to the call of a member"),
        (StepComplete(key="resize[1]"), r"key: 'resize\[1\]', but 'resize\[0\]' was asked for"),
        (Fail(key="resize"), r"key: 'resize', but 'resize\[0\]' was asked for"),
        (StepComplete(noted=1), "noted: a member has no notes of the workflow's own code"),
    ],
    ids=lambda value: getattr(value, "action", ""),
)
def test_what_is_no_answer_of_this_member_is_malformed(action, reason):
    with pytest.raises(MalformedAnswerError, match=reason):
        decide(opened(), call(0, action), at(5))
    assert decide(opened(), call(0, StepComplete(key="resize[0]")), at(5)) != []


def test_a_member_that_is_deferred_decides_nothing():
    assert decide(opened(), call(0, Defer(retry_after=timedelta(seconds=5))), at(5)) == []


def test_a_member_whose_code_no_longer_fits_blocks_the_instance_and_those_in_flight_still_count():
    blocked = after(opened(), call(0, Diverged(position=0, expected="a", got="b")), second=5)
    assert (blocked.status, blocked.is_runnable, blocked.due_at) == (Status.BLOCKED, False, None)
    assert decide(blocked, call(1, Diverged(position=0, expected="a", got="b")), at(5)) == []
    later = after(blocked, call(1), call(2, Fail()), second=6)
    assert (later.status, later.due_at, later.group.succeeded_count) == (Status.BLOCKED, None, 1)
    resumed = after(later, Resume(), second=7)
    assert (resumed.status, resumed.is_runnable) == (Status.RUNNING, True)


def test_a_group_that_ends_while_the_instance_is_blocked_leaves_it_blocked():
    blocked = after(opened(), call(0), call(1), Block(reason="why"), call(2), second=5)
    assert (blocked.status, blocked.group, blocked.current_step) == (Status.BLOCKED, None, 1)
    assert after(blocked, Resume()).is_runnable


def test_resuming_waits_for_the_retries_that_are_scheduled():
    instance = after(opened(items=[1]), Block(reason="why"), call(0, Fail(retry_after=timedelta(seconds=60))), second=4)
    assert (instance.status, instance.due_at) == (Status.BLOCKED, None)
    assert after(instance, Resume(), second=5).due_at == at(64)


def test_a_failing_group_is_not_ended_while_the_instance_is_blocked():
    instance = after(opened(fail_fast=True), call(1, failing()), Block(reason="why"))
    assert decide(instance, END, at(5)) == []
    assert kinds(decide(after(instance, Resume()), END, at(5))) == ["GroupFailed"]


def test_an_event_during_a_group_is_kept():
    instance = after(opened(), DeliverEvent(event="paid", data_json=b"{}"))
    assert (len(instance.inbox), instance.group.unfinished_count, instance.is_runnable) == (1, 3, True)
    assert after(given(received("paid")), answer(RESIZE)).group is not None


def test_the_group_that_ended_is_what_the_next_record_depends_on():
    instance = after(opened(), call(0), call(1), call(2), answer(StepComplete(step_name="b")))
    assert [record.depends_on for record in instance.steps] == [(), ("resize",)]


def test_transitions_of_members_are_small_and_tell_all():
    assert decide(opened(), call(0, failing("no")), at(4)) == [
        MemberFailed(at=at(4), index=0, failures=1, error="no", started_at=at(2), completed_at=at(4), duration_ms=2000)
    ]
    assert kinds(decide(opened(), call(0, Diverged(position=0, expected="a", got="b")), at(4))) == [
        InstanceBlocked.__name__
    ]
    assert GroupSucceeded(at=at(0), key="resize", position=0)
