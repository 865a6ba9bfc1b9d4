"""A history that cannot have happened, for its rows were damaged, does not fold; its instance is parked for it."""

import pytest
from histories import RUN_STARTED, after, answer, at, given, instance_started, waiting

from pylon_workflows.core.evolution import evolve
from pylon_workflows.core.transitions import (
    ApprovalDecided,
    ApprovalTimedOut,
    ChildFinished,
    EventTaken,
    GroupSucceeded,
    MemberSucceeded,
    StepSucceeded,
    WaitTimedOut,
)
from pylon_workflows.errors import UnreadableInstanceError
from pylon_workflows.histories import folded
from runner_protocol.messages import Map

END = {"at": at(1), "key": "k", "position": 0}
MEMBER = {"at": at(1), "started_at": at(0), "completed_at": at(1), "duration_ms": 0, "output_json": b"1"}
CHILD = ChildFinished(
    at=at(1), key="k", child_id="c", position=0, started_at=at(0), status="completed", error=None, output_json=b"1"
)
GATE = {"is_approved": True, "by": None, "comment": None, "data_json": b"null"}

IMPOSSIBLE = {
    "a decision without a gate": ApprovalDecided(**END, started_at=at(0), **GATE),
    "a gate that was none times out": ApprovalTimedOut(**END, started_at=at(0), is_failure=False),
    "a wait that was none times out": WaitTimedOut(**END, event="paid", started_at=at(0)),
    "an event that nobody sent": EventTaken(**END, source=1, started_at=at(0)),
    "the end of a child that was never started": CHILD,
    "a member without a group": MemberSucceeded(index=0, **MEMBER),
    "the end of no group": GroupSucceeded(**END),
    "more positions handed out than taken": StepSucceeded(**{**MEMBER, **END}, name="k", after=3),
    "notes that are no object": StepSucceeded(**{**MEMBER, **END}, name="k", notes_json=b'"vars"'),
    "a cost that is no number": StepSucceeded(**{**MEMBER, **END}, name="k", notes_json=b'{"usage":{"cost_usd":"x"}}'),
}


@pytest.mark.parametrize("transition", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
async def test_what_cannot_have_happened_is_the_instances_own_trouble(transition):
    with pytest.raises(UnreadableInstanceError, match="wf_1: its history does not fold"):
        await folded("wf_1", [instance_started(), RUN_STARTED, transition])


def test_a_wait_of_another_kind_is_not_taken_for_it():
    with pytest.raises(ValueError, match="it was waiting for no such thing"):
        evolve(given(waiting("paid")), IMPOSSIBLE["a decision without a gate"])


def test_a_member_that_there_is_not_does_not_fold():
    group = after(given(), answer(Map(name="m", items=[1])))
    with pytest.raises(IndexError):
        evolve(group, MemberSucceeded(index=7, **MEMBER))
