"""How an instance ends, is parked, goes on and is woken; and that an end is an end (P9)."""

import pytest
from histories import (
    answer,
    at,
    event,
    failed,
    finally_failed,
    given,
    instance_started,
    no_answer,
    pending,
    sleeping,
    succeeded,
    waiting,
)

from pylon_workflows.core.commands import Block, Cancel, Resume, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import begin, evolve, replay
from pylon_workflows.core.instance import FINISHED, Status
from pylon_workflows.core.transitions import (
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceFailed,
    InstanceResumed,
    RunStarted,
    WokeUp,
)
from pylon_workflows.errors import InstanceFinishedError, InstanceNotBlockedError
from runner_protocol.messages import Complete, Defer, Diverged, Fail, Sleep, StepComplete, WaitEvent

COMPLETED = given(InstanceCompleted(at=at(9), output_json=b'{"ok":true}'))
FAILED = given(finally_failed("a", 1), InstanceFailed(at=at(9), error="boom"))
CANCELLED = given(InstanceCancelled(at=at(9)))
BLOCKED = given(succeeded("a", 0), InstanceBlocked(at=at(9), reason="the disk of the moon"))


def test_a_new_instance_is_pending_and_runnable():
    instance = begin(instance_started(input_json=b'{"user":"alice"}', version="7"))
    assert (instance.status, instance.is_runnable, instance.revision, instance.run) == (Status.PENDING, True, 1, 1)
    assert (instance.id, instance.name, instance.version, instance.created_at) == ("wf_1", "order", "7", at(0))
    assert (instance.input, instance.output, instance.error, instance.steps) == ({"user": "alice"}, None, None, ())
    assert (instance.started_at, instance.completed_at, instance.max_retries) == (None, None, 2)
    assert (instance.waiting_for, instance.wake_at, instance.retry_at) == (None, None, None)
    assert not instance.is_finished


def test_completing_ends_the_instance_with_its_output():
    assert decide(given(), answer(Complete(output={"ok": True})), at(9)) == [
        InstanceCompleted(at=at(9), output_json=b'{"ok":true}')
    ]
    assert (COMPLETED.status, COMPLETED.output, COMPLETED.completed_at) == (Status.COMPLETED, {"ok": True}, at(9))


def test_a_workflow_without_steps_completes_in_its_first_turn():
    assert decide(pending(), answer(Complete(), turn_began=1), at(2)) == [
        RunStarted(at=at(1)),
        InstanceCompleted(at=at(2), output_json=b"null"),
    ]


@pytest.mark.parametrize("ended", [COMPLETED, FAILED, CANCELLED], ids=["completed", "failed", "cancelled"])
@pytest.mark.parametrize(
    "command",
    [
        answer(StepComplete(step_name="late")),
        answer(Complete(output=2)),
        answer(Fail(step_name="late", retryable=False)),
        answer(Sleep(duration="1s")),
        answer(WaitEvent(event="paid")),
        answer(Diverged(position=0, expected="a", got="b")),
        no_answer(),
        WakeUp(),
        Block(reason="late"),
    ],
    ids=lambda command: type(getattr(command, "action", command)).__name__,
)
def test_a_terminal_state_never_changes(ended, command):
    assert ended.status in FINISHED
    assert ended.is_finished
    assert not ended.is_runnable
    assert decide(ended, command, at(10)) == []


@pytest.mark.parametrize("ended", [COMPLETED, FAILED], ids=["completed", "failed"])
def test_what_has_completed_or_failed_cannot_be_cancelled_and_the_caller_hears_it(ended):
    with pytest.raises(InstanceFinishedError, match=f"wf_1 is {ended.status} and cannot be cancelled"):
        decide(ended, Cancel(), at(10))


@pytest.mark.parametrize("ended", [COMPLETED, FAILED, CANCELLED], ids=["completed", "failed", "cancelled"])
def test_what_has_ended_cannot_be_resumed_and_the_caller_hears_it(ended):
    with pytest.raises(InstanceNotBlockedError, match=f"wf_1 is {ended.status}, not blocked"):
        decide(ended, Resume(), at(10))


@pytest.mark.parametrize(
    "state",
    [
        pending(),
        pending(due_at=at(60)),
        given(),
        given(sleeping(0)),
        given(waiting("paid")),
        given(failed("a", 1, retry_at=9)),
        BLOCKED,
    ],
    ids=["pending", "delayed", "running", "asleep", "waiting", "backing off", "blocked"],
)
def test_whatever_lives_can_be_cancelled(state):
    assert decide(state, Cancel(), at(3)) == [InstanceCancelled(at=at(3))]
    cancelled = evolve(state, InstanceCancelled(at=at(3)))
    assert (cancelled.status, cancelled.completed_at, cancelled.due_at) == (Status.CANCELLED, at(3), None)
    assert (cancelled.wait, cancelled.blocked_reason) == (None, None)
    assert cancelled.steps == state.steps


def test_cancelling_again_decides_nothing():
    assert decide(CANCELLED, Cancel(), at(10)) == []


def test_an_answer_to_a_turn_that_a_cancel_ended_decides_nothing():
    assert decide(CANCELLED, answer(StepComplete(step_name="a")), at(10)) == []


def test_blocking_parks_what_is_driven_with_a_reason():
    assert decide(given(), Block(reason="it dies"), at(2)) == [InstanceBlocked(at=at(2), reason="it dies")]
    assert (BLOCKED.status, BLOCKED.blocked_reason) == (Status.BLOCKED, "the disk of the moon")
    assert (BLOCKED.is_runnable, BLOCKED.is_finished, BLOCKED.due_at) == (False, False, None)
    assert decide(BLOCKED, WakeUp(), at(99)) == []


def test_what_has_never_been_answered_can_be_blocked_too_and_is_pending_again_when_resumed():
    [blocked] = decide(pending(), Block(reason="it dies"), at(2))
    instance = evolve(pending(), blocked)
    assert instance.status is Status.BLOCKED
    assert evolve(instance, InstanceResumed(at=at(3))).status is Status.PENDING


@pytest.mark.parametrize(
    "state",
    [given(sleeping(0)), given(waiting("paid")), BLOCKED],
    ids=["asleep", "waiting", "blocked"],
)
def test_blocking_what_is_not_driven_decides_nothing(state):
    assert decide(state, Block(reason="late"), at(1)) == []


def test_resuming_lets_a_blocked_instance_go_on_where_it_was():
    assert decide(BLOCKED, Resume(), at(12)) == [InstanceResumed(at=at(12))]
    resumed = evolve(BLOCKED, InstanceResumed(at=at(12)))
    assert (resumed.status, resumed.blocked_reason, resumed.is_runnable) == (Status.RUNNING, None, True)
    assert resumed.steps == BLOCKED.steps


@pytest.mark.parametrize("state", [pending(), given(), given(sleeping(0))], ids=["pending", "running", "asleep"])
def test_what_is_not_blocked_cannot_be_resumed_and_the_caller_hears_it(state):
    with pytest.raises(InstanceNotBlockedError, match="not blocked"):
        decide(state, Resume(), at(10))


def test_an_answer_for_a_blocked_instance_decides_nothing():
    assert decide(BLOCKED, answer(Complete()), at(10)) == []


def test_code_that_no_longer_fits_its_records_blocks_with_both_sides_named():
    diverged = answer(Diverged(position=0, expected="charge", got="email"))
    [blocked] = decide(given(succeeded("charge", 0)), diverged, at(3))
    assert blocked == InstanceBlocked(
        at=at(3),
        reason="the workflow's code no longer fits its records: "
        "at position 0 the record is 'charge', the code asks for 'email'",
    )


def test_a_deferral_changes_nothing_not_even_that_the_run_has_begun():
    deferral = answer(Defer(retry_after=at(5) - at(0)))
    assert decide(given(), deferral, at(1)) == []
    assert decide(pending(), deferral, at(1)) == []


def test_a_delayed_start_is_pending_until_its_time_comes():
    instance = pending(due_at=at(60))
    assert (instance.status, instance.is_runnable, instance.wake_at) == (Status.PENDING, False, at(60))
    assert decide(instance, WakeUp(), at(59)) == []
    assert decide(instance, WakeUp(), at(60)) == [WokeUp(at=at(60))]
    woken = evolve(instance, WokeUp(at=at(60)))
    assert (woken.status, woken.is_runnable, woken.started_at) == (Status.PENDING, True, None)


def test_waking_ends_a_sleep_and_is_due_only_once():
    woken = evolve(given(sleeping(0, until=60)), WokeUp(at=at(61)))
    assert (woken.status, woken.is_runnable, woken.due_at) == (Status.RUNNING, True, None)
    assert decide(woken, WakeUp(), at(62)) == []


def test_a_clock_that_was_set_back_wakes_nothing_early_and_repeats_nothing():
    asleep = given(sleeping(0, second=0, until=60))
    assert decide(asleep, WakeUp(), at(-3600)) == []
    woken = evolve(asleep, WokeUp(at=at(60)))
    assert decide(woken, WakeUp(), at(-3600)) == []


def test_replay_is_the_fold_of_the_history():
    history = [instance_started(), RunStarted(at=at(0)), succeeded("a", 0), sleeping(1)]
    assert replay(history) == given(succeeded("a", 0), sleeping(1))
    assert replay(history).revision == 4


@pytest.mark.parametrize("history", [[], [RunStarted(at=at(0))]], ids=["empty", "headless"])
def test_a_history_begins_with_its_start(history):
    with pytest.raises(ValueError, match="a history begins with InstanceStarted"):
        replay(history)


def test_a_start_begins_the_state_anew():
    assert evolve(given(succeeded("a", 0)), instance_started()) == pending()


def test_every_transition_counts_as_one_revision():
    instance = given(succeeded("a", 0), sleeping(1), WokeUp(at=at(60)), waiting("paid"))
    transitions = decide(instance, event("paid"), at(70))
    for transition in transitions:
        instance = evolve(instance, transition)
    assert instance.revision == 6 + len(transitions)


def test_the_size_of_a_history_counts_outputs_errors_and_names():
    assert given(succeeded("abc", 0, output="12345")).history_bytes == len("abc") + len('"12345"')
    assert given(failed("abc", 1, error="four")).history_bytes == len("abc") + len("null") + len("four")
