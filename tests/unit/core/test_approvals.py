"""PROTOCOL.md section 2: a person decides; a rejection is a value, not a failure."""

from dataclasses import replace
from datetime import timedelta

import pytest
from histories import after, answer, at, event, given, pending, received, succeeded

from pylon_workflows.core.commands import Block, Cancel, DecideApproval, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.instance import ApprovalWait, Status
from pylon_workflows.core.transitions import ApprovalDecided, ApprovalRequested, ApprovalTimedOut, InstanceCompleted
from pylon_workflows.errors import ApprovalConflictError, MalformedAnswerError
from runner_protocol.messages import Approval, ContinueAsNew, StepComplete

KEY = "approval:ship-gate"
ASKED = Approval(
    name="ship-gate",
    key=KEY,
    message="Ship to production?",
    data={"commit": "abc"},
    timeout=timedelta(days=2),
    on_timeout="reject",
)
YES = DecideApproval(key=KEY, is_approved=True, by="alice", comment="fine", data_json=b'{"ticket":7}')
NO = DecideApproval(key=KEY, is_approved=False)


def gate(**changes):
    """An instance that has been waiting since second 5."""
    return after(given(), answer(ASKED.model_copy(update=changes)), second=5)


def test_a_decision_about_a_run_is_refused_in_another():
    first = gate()
    second = after(after(after(first, YES), answer(ContinueAsNew(), terms=first.terms)), answer(ASKED))
    assert decide(first, replace(YES, seed=first.seed), at(0))
    assert decide(second, replace(YES, seed=second.seed), at(0))
    assert decide(second, YES, at(0))
    with pytest.raises(ApprovalConflictError, match="the run in which 'approval:ship-gate' was to be decided is over"):
        decide(second, replace(YES, seed=first.seed), at(0))


def test_an_approval_waits_for_a_persons_decision():
    assert decide(given(succeeded("a", 0)), answer(ASKED), at(5)) == [
        ApprovalRequested(
            at=at(5),
            key=KEY,
            name="ship-gate",
            message="Ship to production?",
            due_at=at(5) + timedelta(days=2),
            on_timeout="reject",
            data_json=b'{"commit":"abc"}',
        )
    ]
    instance = gate()
    assert (instance.status, instance.waiting_for, instance.wake_at) == (
        Status.AWAITING_APPROVAL,
        KEY,
        at(5) + timedelta(days=2),
    )
    assert instance.wait == ApprovalWait(
        key=KEY,
        name="ship-gate",
        message="Ship to production?",
        data_json=b'{"commit":"abc"}',
        started_at=at(5),
        on_timeout="reject",
    )
    assert not instance.is_runnable


def test_a_gate_without_a_timeout_waits_without_end():
    assert gate(timeout=None).due_at is None
    assert decide(gate(timeout=None), WakeUp(), at(1e9)) == []


def test_a_gate_without_a_key_gets_one_from_its_name():
    assert decide(given(), answer(Approval(name="gate")), at(0))[0].key == "approval:gate"
    instance = after(gate(), YES)
    assert decide(instance, answer(Approval(name="ship-gate")), at(0))[0].key == "approval:ship-gate#2"


def test_a_decision_is_the_gates_output():
    assert decide(gate(), YES, at(65)) == [
        ApprovalDecided(
            at=at(65),
            key=KEY,
            position=0,
            started_at=at(5),
            is_approved=True,
            by="alice",
            comment="fine",
            data_json=b'{"ticket":7}',
        )
    ]
    instance = after(gate(), YES, second=65)
    [record] = instance.steps
    assert record.output == {
        "approved": True,
        "by": "alice",
        "comment": "fine",
        "data": {"ticket": 7},
        "at": "2026-01-01T00:01:05.000Z",
        "timed_out": False,
    }
    assert (record.kind, record.name, record.key, record.status) == ("approval", KEY, KEY, "completed")
    assert (record.started_at, record.completed_at, record.duration_ms) == (at(5), at(65), 60_000)
    assert (instance.is_runnable, instance.wait, instance.due_at, instance.current_step) == (True, None, None, 1)


def test_a_rejection_is_a_value_and_not_a_failure():
    instance = after(gate(), NO, second=6)
    [record] = instance.steps
    assert (record.status, record.output["approved"], record.output["by"]) == ("completed", False, None)
    assert instance.is_runnable


def test_nobody_in_time_is_a_rejection():
    instance = gate(timeout=timedelta(seconds=60))
    assert decide(instance, WakeUp(), at(64)) == []
    assert decide(instance, WakeUp(), at(65)) == [
        ApprovalTimedOut(at=at(65), key=KEY, position=0, started_at=at(5), is_failure=False)
    ]
    [record] = after(instance, WakeUp(), second=65).steps
    assert (record.status, record.timed_out, record.final) == ("completed", True, False)
    assert record.output == {
        "approved": False,
        "by": None,
        "comment": None,
        "data": None,
        "at": "2026-01-01T00:01:05.000Z",
        "timed_out": True,
    }


def test_nobody_in_time_is_a_failure_thrown_into_the_code_where_the_code_says_so():
    instance = after(gate(timeout=timedelta(seconds=60), on_timeout="fail"), WakeUp(), second=65)
    [record] = instance.steps
    assert (record.status, record.final, record.timed_out, record.position) == ("failed", True, True, 0)
    assert (record.error, record.output) == ("timed out waiting for approval 'ship-gate'", None)
    assert (instance.is_runnable, instance.wait) == (True, None)


def test_several_gates_pause_one_by_one():
    instance = after(given(), answer(Approval(name="one")), DecideApproval(key="approval:one", is_approved=True))
    instance = after(instance, answer(Approval(name="two")))
    with pytest.raises(ApprovalConflictError):
        decide(instance, DecideApproval(key="approval:three", is_approved=True), at(0))
    instance = after(instance, DecideApproval(key="approval:two", is_approved=False))
    assert [(record.key, record.output["approved"]) for record in instance.steps] == [
        ("approval:one", True),
        ("approval:two", False),
    ]


@pytest.mark.parametrize("is_approved", [True, False])
def test_the_same_decision_again_decides_nothing_and_another_is_refused(is_approved):
    same, other = (YES, NO) if is_approved else (NO, YES)
    decided = after(gate(), same)
    later = after(decided, answer(StepComplete()))
    for instance in (decided, later, after(decided, Cancel())):
        assert decide(instance, same, at(99)) == []
        word = "approved" if is_approved else "rejected"
        with pytest.raises(ApprovalConflictError, match=f"'approval:ship-gate' has been {word} already"):
            decide(instance, other, at(99))


def test_a_decision_that_comes_before_the_timeout_is_committed_wins_although_it_is_late():
    instance = after(gate(timeout=timedelta(seconds=1)), YES, second=100)
    assert instance.steps[0].output["approved"] is True
    assert decide(instance, WakeUp(), at(101)) == []


def test_a_decision_about_a_gate_that_has_timed_out_is_refused():
    for on_timeout in ("reject", "fail"):
        instance = after(gate(timeout=timedelta(seconds=1), on_timeout=on_timeout), WakeUp(), second=6)
        for decision in (YES, NO):
            with pytest.raises(ApprovalConflictError, match="nobody had decided 'approval:ship-gate' in time"):
                decide(instance, decision, at(7))


@pytest.mark.parametrize(
    "state",
    [
        pending(),
        given(),
        given(succeeded(KEY, 0)),
        after(gate(), Cancel()),
        given(InstanceCompleted(at=at(0), output_json=b"null")),
        after(gate(), YES, answer(ContinueAsNew(), terms=given().terms)),
    ],
    ids=["pending", "running", "a step of that name", "cancelled", "completed", "in another run"],
)
def test_a_decision_about_a_gate_that_is_not_there_is_refused(state):
    with pytest.raises(ApprovalConflictError, match="wf_1 asks for no decision 'approval:ship-gate' now"):
        decide(state, YES, at(9))


def test_events_do_not_disturb_a_gate_and_stay_unread():
    instance = after(gate(), event(KEY), event("ship-gate"))
    assert (instance.status, len(instance.inbox)) == (Status.AWAITING_APPROVAL, 2)
    assert after(given(received(KEY)), answer(ASKED)).status is Status.AWAITING_APPROVAL


def test_a_gate_can_be_cancelled_and_not_blocked():
    assert decide(gate(), Block(reason="late"), at(9)) == []
    cancelled = after(gate(), Cancel(), second=9)
    assert (cancelled.status, cancelled.wait, cancelled.due_at) == (Status.CANCELLED, None, None)


def test_a_gate_whose_key_is_recorded_is_malformed():
    with pytest.raises(MalformedAnswerError, match="key: 'approval:ship-gate' is already recorded"):
        decide(after(gate(), YES), answer(ASKED), at(9))
