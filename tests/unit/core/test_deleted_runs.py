"""Earlier runs may be deleted: one transition at their end says all that they have come to."""

from dataclasses import replace
from datetime import timedelta

import pytest
from histories import after, answer, at, event, given, pending, succeeded

from pylon_workflows.core.commands import ApplyAction
from pylon_workflows.core.deleted_runs import deletion_before
from pylon_workflows.core.evolution import evolve, replay
from pylon_workflows.core.instance import Instance, Terms
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.revisions import last_revision, numbered, since, until
from pylon_workflows.core.transitions import EarlierRunsDeleted, InstanceStarted, RunStarted
from runner_protocol.messages import Complete, ContinueAsNew, Progress, StartChild, StepComplete, Usage, WaitEvent

NEXT = answer(
    ContinueAsNew(input={"cursor": 900}),
    terms=Terms(input_json=b"null", version="2", policy=RetryPolicy(max_retries=9), step_timeout=timedelta(seconds=5)),
)


def child(id: str) -> ApplyAction:
    started = InstanceStarted(
        at=at(0),
        id=id,
        name="ship",
        version=None,
        input_json=b"null",
        idempotency_key=None,
        seed="",
        policy=RetryPolicy(),
        step_timeout=timedelta(1),
    )
    return answer(StartChild(name="s", workflow="ship", id=id, wait=False, on_parent_close="abandon"), child=started)


def at_the_beginning_of_its_third_run() -> Instance:
    """It has done everything that outlives a run."""
    usage = Usage(cost_usd="0.1", input_tokens=3)
    step = StepComplete(vars={"a": 1.0, "ü": [None]}, usage=usage, progress=Progress(percent=1.5), noted=1)
    instance = after(given(version="1"), answer(step), child("ship-1"), event("x", {"n": 1}, event_id="e-1"))
    return after(instance, NEXT, child("ship-2"), event("y", None, event_id="e-2"), event("x"), NEXT, second=5)


def test_the_state_is_the_same_afterwards():
    instance = at_the_beginning_of_its_third_run()
    again = evolve(replay([instance.origin]), deletion_before(instance))
    assert again == instance
    assert (list(again.vars), list(again.inbox), list(again.event_ids)) == (
        list(instance.vars),
        list(instance.inbox),
        list(instance.event_ids),
    )
    assert (again.seed, list(again.children.items())) == (instance.seed, list(instance.children.items()))


def test_what_happens_next_is_the_same():
    instance = at_the_beginning_of_its_third_run()
    again = evolve(replay([instance.origin]), deletion_before(instance))
    what = (event("y", event_id="e-2"), answer(WaitEvent(event="x")), answer(Complete(output=1)))
    assert after(again, *what) == after(instance, *what)
    assert after(instance, what[1]).steps[0].output == {"n": 1}


def test_only_at_the_beginning_of_a_later_run_is_all_of_the_state_in_it():
    for instance in (
        pending(),
        given(),
        after(at_the_beginning_of_its_third_run(), answer(StepComplete())),
        after(at_the_beginning_of_its_third_run(), answer(WaitEvent(event="z"))),
        after(at_the_beginning_of_its_third_run(), answer(Complete())),
    ):
        with pytest.raises(ValueError, match="no later run has just begun"):
            deletion_before(instance)


@pytest.mark.parametrize("field", ["children_json", "inbox_json", "event_ids_json", "vars_json", "usage_json"])
def test_one_that_holds_something_else_cannot_be_folded(field):
    instance = at_the_beginning_of_its_third_run()
    deletion = replace(deletion_before(instance), **{field: b"[7]" if field != "event_ids_json" else b"7"})
    with pytest.raises((ValueError, TypeError, LookupError, ArithmeticError, AttributeError)):
        evolve(replay([instance.origin]), deletion)


def test_revisions_are_counted_on_behind_the_gap():
    deletion = deletion_before(at_the_beginning_of_its_third_run())
    assert isinstance(deletion, EarlierRunsDeleted)
    number = deletion.replaces
    history = [pending().origin, deletion, succeeded("a", 0), RunStarted(at=at(9))]
    assert [revision for revision, _ in numbered(history)] == [1, number, number + 1, number + 2]
    assert (last_revision(history), last_revision(history[:1]), last_revision([], after=7)) == (number + 2, 1, 7)
    assert last_revision(history[2:], after=number) == number + 2
    assert (until(history, number), since(history, number)) == (history[:2], history[2:])
    assert (until(history, number - 1), since(history, 1)) == (history[:1], history[1:])
    assert until(history[2:], number + 1, after=number) == history[2:3]
