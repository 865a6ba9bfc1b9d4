"""PROTOCOL.md section 3: events are stored first and matched second."""

from datetime import timedelta

import pytest
from histories import answer, at, event, failed, given, pending, received, sleeping, waiting

from pylon_workflows.core.commands import MAX_UNREAD_EVENTS, Cancel, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import evolve
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import (
    EventReceived,
    EventTaken,
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceFailed,
    WaitStarted,
    WaitTimedOut,
)
from pylon_workflows.errors import InboxFullError, InstanceFinishedError
from runner_protocol.messages import WaitEvent

FOR_PAID = answer(WaitEvent(event="paid"))


def after(instance, transitions):
    for transition in transitions:
        instance = evolve(instance, transition)
    return instance


def test_a_wait_without_a_timeout_waits_without_end():
    instance = given(waiting("paid"))
    assert (instance.status, instance.waiting_for, instance.due_at) == (Status.WAITING_FOR_EVENT, "paid", None)
    assert decide(instance, WakeUp(), at(1e9)) == []


def test_an_event_that_is_waited_for_is_stored_and_taken_at_once():
    instance = given(waiting("paid", second=1))
    assert decide(instance, event("paid", {"ok": True}, event_id="e1"), at(5)) == [
        EventReceived(at=at(5), event="paid", event_id="e1", data_json=b'{"ok":true}'),
        EventTaken(at=at(5), source=4, key="event:paid", position=0, started_at=at(1)),
    ]


def test_a_taken_event_is_a_record_that_shows_how_long_the_wait_was():
    instance = given(waiting("paid", second=1))
    instance = after(instance, decide(instance, event("paid", {"ok": True}), at(5)))
    [record] = instance.steps
    assert (record.name, record.key, record.kind, record.status) == ("event:paid", "event:paid", "event", "completed")
    assert (record.started_at, record.completed_at, record.duration_ms) == (at(1), at(5), 4000)
    assert (record.output, record.timed_out, record.position) == ({"ok": True}, False, 0)
    assert (instance.inbox, instance.wait, instance.is_runnable) == ((), None, True)


def test_an_event_that_came_early_is_not_lost():
    early = received("paid", {"n": 1}, second=2)
    instance = given(early)
    assert [(unread.event, unread.data_json) for unread in instance.inbox] == [("paid", b'{"n":1}')]
    assert decide(instance, FOR_PAID, at(7)) == [
        EventTaken(at=at(7), source=3, key="event:paid", position=0, started_at=at(7))
    ]
    instance = after(instance, decide(instance, FOR_PAID, at(7)))
    assert (instance.inbox, instance.steps[0].output, instance.is_runnable) == ((), {"n": 1}, True)


def test_an_event_may_come_before_the_first_turn():
    instance = after(pending(), [received("paid", 1)])
    assert instance.status is Status.PENDING
    assert instance.is_runnable
    [run_started, taken] = decide(instance, FOR_PAID, at(1))
    assert (type(run_started).__name__, taken.source) == ("RunStarted", 2)


def test_early_events_of_one_name_are_taken_first_in_first_out():
    instance = given(received("paid", 1), received("other", "x"), received("paid", 2))
    instance = after(instance, decide(instance, FOR_PAID, at(0)))
    instance = after(instance, decide(instance, FOR_PAID, at(0)))
    assert [record.output for record in instance.steps] == [1, 2]
    assert [unread.event for unread in instance.inbox] == ["other"]
    assert [type(each).__name__ for each in decide(instance, FOR_PAID, at(0))] == ["WaitStarted"]


def test_an_event_of_another_name_stays_in_the_inbox_and_does_not_wake():
    instance = given(waiting("paid"))
    transitions = decide(instance, event("refunded", 1), at(1))
    assert transitions == [EventReceived(at=at(1), event="refunded", event_id=None, data_json=b"1")]
    instance = after(instance, transitions)
    assert (instance.status, len(instance.inbox)) == (Status.WAITING_FOR_EVENT, 1)


def test_a_wait_never_takes_an_event_of_another_name_from_the_inbox():
    assert decide(given(received("refunded")), FOR_PAID, at(0)) == [
        WaitStarted(at=at(0), event="paid", key="event:paid", due_at=None)
    ]


@pytest.mark.parametrize(
    "state",
    [
        pending(),
        given(),
        given(sleeping(0)),
        given(failed("a", 1, retry_at=9)),
        given(InstanceBlocked(at=at(0), reason="why")),
    ],
    ids=["pending", "running", "asleep", "backing off", "blocked"],
)
def test_an_event_disturbs_nothing_that_goes_on(state):
    transitions = decide(state, event("paid"), at(1))
    assert [type(each).__name__ for each in transitions] == ["EventReceived"]
    later = after(state, transitions)
    assert (later.status, later.due_at, later.current_step) == (state.status, state.due_at, state.current_step)


def test_an_event_id_that_is_known_decides_nothing():
    instance = given(received("paid", 1, event_id="e1"))
    assert decide(instance, event("paid", 2, event_id="e1"), at(0)) == []
    assert decide(instance, event("other", 1, event_id="e1"), at(0)) == []
    assert len(decide(instance, event("paid", 1, event_id="e2"), at(0))) == 1


def test_an_event_id_is_remembered_after_its_event_was_taken():
    instance = given(waiting("paid"))
    instance = after(instance, decide(instance, event("paid", 1, event_id="e1"), at(1)))
    instance = after(instance, decide(instance, FOR_PAID, at(2)))
    assert decide(instance, event("paid", 1, event_id="e1"), at(3)) == []
    assert instance.status is Status.WAITING_FOR_EVENT


def test_events_without_an_id_are_all_different():
    instance = given(received("paid", 1))
    assert len(decide(instance, event("paid", 1), at(0))) == 1


@pytest.mark.parametrize(
    "end",
    [
        InstanceCompleted(at=at(0), output_json=b"null"),
        InstanceFailed(at=at(0), error="boom"),
        InstanceCancelled(at=at(0)),
    ],
    ids=["completed", "failed", "cancelled"],
)
def test_a_finished_instance_takes_no_more_events_but_knows_those_it_took(end):
    instance = given(received("paid", event_id="e1"), end)
    assert decide(instance, event("paid", event_id="e1"), at(1)) == []
    with pytest.raises(InstanceFinishedError, match=f"wf_1 is {instance.status} and takes no more events"):
        decide(instance, event("paid", event_id="e2"), at(1))


def test_a_full_inbox_refuses_events_but_still_knows_duplicates():
    instance = given(*(received("noise", event_id=f"e{n}") for n in range(MAX_UNREAD_EVENTS)))
    with pytest.raises(InboxFullError, match="2000 unread events"):
        decide(instance, event("noise"), at(0))
    assert decide(instance, event("noise", event_id="e7"), at(0)) == []


def test_a_full_inbox_does_not_keep_the_awaited_event_away():
    instance = given(*(received("noise") for _ in range(MAX_UNREAD_EVENTS)), waiting("paid"))
    transitions = decide(instance, event("paid", 1), at(0))
    assert [type(each).__name__ for each in transitions] == ["EventReceived", "EventTaken"]
    assert len(after(instance, transitions).inbox) == MAX_UNREAD_EVENTS


def test_a_wait_times_out_with_null_and_goes_on():
    instance = given(waiting("paid", second=1, until=61))
    assert (instance.wake_at, instance.retry_at) == (at(61), None)
    assert decide(instance, WakeUp(), at(60.999)) == []
    transitions = decide(instance, WakeUp(), at(62))
    assert transitions == [WaitTimedOut(at=at(62), event="paid", key="event:paid", position=0, started_at=at(1))]
    instance = after(instance, transitions)
    [record] = instance.steps
    assert (record.output, record.timed_out, record.status, record.kind) == (None, True, "completed", "event")
    assert (record.started_at, record.completed_at) == (at(1), at(62))
    assert (instance.is_runnable, instance.wait, instance.current_step) == (True, None, 1)


def test_the_deadline_of_a_wait_is_counted_from_its_beginning():
    [wait] = decide(given(), answer(WaitEvent(event="paid", timeout=timedelta(days=3)), turn_began=0), at(5))
    assert wait.due_at == at(5) + timedelta(days=3)


def test_an_event_that_is_committed_before_the_timeout_wins_even_when_it_is_late():
    instance = given(waiting("paid", until=60))
    instance = after(instance, decide(instance, event("paid", 1), at(61)))
    assert (instance.steps[0].timed_out, instance.steps[0].output) == (False, 1)
    assert decide(instance, WakeUp(), at(61)) == []


def test_an_event_that_comes_after_the_timeout_stays_in_the_inbox_for_the_next_wait():
    instance = given(waiting("paid", until=60))
    instance = after(instance, decide(instance, WakeUp(), at(60)))
    instance = after(instance, decide(instance, event("paid", 1), at(60)))
    assert (len(instance.steps), len(instance.inbox)) == (1, 1)
    instance = after(instance, decide(instance, FOR_PAID, at(61)))
    assert [record.output for record in instance.steps] == [None, 1]
    assert [record.key for record in instance.steps] == ["event:paid", "event:paid#2"]


def test_a_timeout_of_zero_looks_into_the_inbox_first():
    no_time = answer(WaitEvent(event="paid", timeout=timedelta(0)))
    assert [type(each).__name__ for each in decide(given(received("paid")), no_time, at(0))] == ["EventTaken"]
    instance = after(given(), decide(given(), no_time, at(0)))
    assert instance.due_at == at(0)
    assert [type(each).__name__ for each in decide(instance, WakeUp(), at(0))] == ["WaitTimedOut"]


def test_cancelling_ends_a_wait():
    instance = given(waiting("paid", until=60))
    instance = after(instance, decide(instance, Cancel(), at(1)))
    assert (instance.wait, instance.waiting_for, instance.due_at) == (None, None, None)
    assert decide(instance, WakeUp(), at(61)) == []
