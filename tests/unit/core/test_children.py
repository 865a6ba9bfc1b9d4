"""PROTOCOL.md section 2, `start_child`: what a parent knows of its children."""

import json

import pytest
from histories import after, answer, at, event, given, instance_started, kinds, succeeded

from pylon_workflows.core.children import Child, Children
from pylon_workflows.core.commands import Cancel, FinishChild, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.deciding.children import child_key
from pylon_workflows.core.instance import ChildWait, Status
from pylon_workflows.core.transitions import ChildFinished, ChildStarted, StepFailed
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.messages import Complete, ContinueAsNew, StartChild, StepComplete, Usage

SHIP = StartChild(name="ship", key="child:ship", workflow="shipping", input={"x": 1}, on_parent_close="abandon")
APART = SHIP.model_copy(update={"wait": False})
CHILD = instance_started(id="ship-7", name="shipping", parent_id="wf_1", parent_key="child:ship", parent_run=1)
COST = b'{"cost_usd":"0.25","input_tokens":10,"output_tokens":1}'


def start(action=SHIP, child_id="ship-7"):
    return answer(action, child=instance_started(id=child_id, name="shipping"))


def finish(status="completed", child_id="ship-7", **changes):
    fields = {"run": 1, "key": "child:ship", "output_json": b'{"sent":true}' if status == "completed" else None}
    return FinishChild(child_id=child_id, status=status, **{**fields, **changes})


def waiting():
    """A parent that has been waiting since second 5."""
    return after(given(succeeded("a", 0)), start(), second=5)


def test_a_child_that_is_waited_for_makes_its_parent_wait():
    assert decide(given(succeeded("a", 0)), start(), at(5)) == [
        ChildStarted(
            at=at(5),
            key="child:ship",
            name="ship",
            child_id="ship-7",
            workflow="shipping",
            is_awaited=True,
            on_parent_close="abandon",
            position=None,
        )
    ]
    instance = waiting()
    assert (instance.status, instance.waiting_for, instance.due_at) == (Status.WAITING_FOR_CHILD, "ship-7", None)
    assert instance.wait == ChildWait(key="child:ship", name="ship", child_id="ship-7", started_at=at(5))
    child = Child(id="ship-7", run=1, key="child:ship", on_parent_close="abandon")
    assert dict(instance.children) == {"ship-7": child}
    assert decide(instance, WakeUp(), at(1e9)) == []


def test_the_key_of_a_child_is_known_before_it_is_started():
    assert child_key(given(), StartChild(name="ship", workflow="w")) == "child:ship"
    assert child_key(given(succeeded("child:ship", 0)), StartChild(name="ship", workflow="w")) == "child:ship#2"
    with pytest.raises(MalformedAnswerError, match="key: 'child:ship' is already recorded"):
        child_key(given(succeeded("child:ship", 0)), SHIP)


def test_the_output_of_the_child_is_the_records():
    assert decide(waiting(), finish(usage_json=COST), at(9)) == [
        ChildFinished(
            at=at(9),
            key="child:ship",
            child_id="ship-7",
            position=1,
            started_at=at(5),
            status="completed",
            error=None,
            output_json=b'{"sent":true}',
            usage_json=COST,
        )
    ]
    instance = after(waiting(), finish(usage_json=COST), second=9)
    record = instance.steps[-1]
    assert (record.key, record.name, record.kind, record.status) == ("child:ship", "child:ship", "child", "completed")
    assert (record.output, record.position, record.started_at, record.duration_ms) == ({"sent": True}, 1, at(5), 4000)
    assert (instance.is_runnable, instance.wait, dict(instance.children)) == (True, None, {})


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [("failed", "no stock", "child 'ship' failed: no stock"), ("cancelled", None, "child 'ship' was cancelled")],
)
def test_a_child_that_did_not_complete_is_a_final_failure_thrown_into_the_code(status, error, told):
    instance = after(waiting(), finish(status, error=error), second=9)
    record = instance.steps[-1]
    assert (record.status, record.final, record.position, record.retry_count) == ("failed", True, 1, 1)
    assert (record.error, record.output) == (told, None)
    assert (instance.is_runnable, dict(instance.children)) == (True, {})


def test_what_a_child_has_cost_is_its_parents_too():
    action = SHIP.model_copy(update={"usage": Usage(cost_usd="1"), "vars": {"v": 1}})
    action = StartChild.model_validate({**SHIP.model_dump(), "usage": {"cost_usd": "1"}, "vars": {"v": 1}})
    instance = after(given(), start(action))
    assert (f"{instance.usage.cost_usd}", instance.vars) == ("1", {"v": 1})
    instance = after(instance, finish(usage_json=COST))
    assert (f"{instance.usage.cost_usd}", instance.usage.input_tokens) == ("1.25", 10)
    assert json.loads(instance.steps[0].notes_json) == {
        "usage": {"cost_usd": "1.25", "input_tokens": 10, "output_tokens": 1},
        "vars": {"v": 1},
    }


def test_a_child_that_is_not_waited_for_is_recorded_at_once_with_its_id():
    instance = after(given(), start(APART), second=5)
    [record] = instance.steps
    assert (record.output, record.kind, record.position, record.key) == (
        {"workflow_id": "ship-7"},
        "child",
        0,
        "child:ship",
    )
    assert (instance.is_runnable, instance.wait, list(instance.children)) == (True, None, ["ship-7"])


def test_the_end_of_a_child_that_is_not_waited_for_only_counts_its_cost():
    instance = after(given(), start(APART))
    [finished] = decide(instance, finish("failed", error="no stock", usage_json=COST), at(9))
    assert (finished.position, finished.error, finished.status) == (None, "no stock", "failed")
    instance = after(instance, finish("failed", error="no stock", usage_json=COST), second=9)
    assert (len(instance.steps), instance.current_step, dict(instance.children)) == (1, 1, {})
    assert (f"{instance.usage.cost_usd}", instance.is_runnable) == ("0.25", True)
    assert after(after(given(), start(APART)), finish()).usage.input_tokens == 0


def test_a_child_may_finish_while_its_parent_waits_for_another():
    instance = after(given(), start(APART, "first"), start(StartChild(name="b", workflow="w"), "second"))
    later = after(instance, finish(child_id="first"), second=9)
    assert (later.status, later.waiting_for, list(later.children)) == (Status.WAITING_FOR_CHILD, "second", ["second"])


def test_the_end_of_a_child_is_told_once_however_often_it_is_told():
    instance = after(waiting(), finish())
    assert decide(instance, finish(), at(9)) == []
    assert decide(given(), finish(), at(9)) == []


def test_a_parent_that_has_finished_hears_nothing_but_still_knows_its_children():
    for end in (Cancel(), answer(Complete())):
        instance = after(given(), start(APART), end)
        assert instance.is_finished
        assert list(instance.children) == ["ship-7"]
        assert decide(instance, finish(usage_json=COST), at(9)) == []
    cancelled = after(waiting(), Cancel())
    assert (cancelled.wait, list(cancelled.children)) == (None, ["ship-7"])
    assert decide(cancelled, finish(), at(9)) == []


def test_open_children_keep_their_parent_across_runs_and_the_next_run_may_use_the_same_key():
    instance = after(given(), start(APART), answer(ContinueAsNew(), terms=given().terms), start(SHIP, "ship-8"))
    assert [(child.id, child.run, child.key) for child in instance.children.values()] == [
        ("ship-7", 1, "child:ship"),
        ("ship-8", 2, "child:ship"),
    ]
    late = after(instance, finish(usage_json=COST))
    assert (late.status, late.waiting_for, list(late.children)) == (Status.WAITING_FOR_CHILD, "ship-8", ["ship-8"])
    assert late.usage.input_tokens == 10
    assert after(late, finish(child_id="ship-8", run=2)).is_runnable


def test_a_child_that_cannot_be_started_is_a_final_failure_thrown_into_the_code():
    action = SHIP.model_copy(update={"after": 0})
    refused = answer(action, child_refusal="the id 'ship-7' belongs to another instance")
    assert decide(given(succeeded("a", 0)), refused, at(5)) == [
        StepFailed(
            at=at(5),
            key="child:ship",
            name="child:ship",
            position=1,
            failures=1,
            error="the id 'ship-7' belongs to another instance",
            started_at=at(5),
            completed_at=at(5),
            duration_ms=0,
            kind="child",
            after=0,
        )
    ]
    instance = after(given(), answer(SHIP, child_refusal="no"))
    assert (instance.steps[0].kind, instance.steps[0].final, instance.is_runnable) == ("child", True, True)
    assert dict(instance.children) == {}


def test_a_child_that_nobody_would_start_is_refused():
    with pytest.raises(MalformedAnswerError, match="'start_child' cannot be applied here: nobody starts the child"):
        decide(given(), answer(SHIP), at(0))


def test_events_stay_unread_while_a_child_is_waited_for():
    instance = after(waiting(), event("ship-7"))
    assert (instance.status, len(instance.inbox)) == (Status.WAITING_FOR_CHILD, 1)
    assert kinds(decide(instance, finish(), at(9))) == ["ChildFinished"]
    assert decide(instance, answer(StepComplete()), at(9)) == []


def test_children_are_values_and_older_versions_do_not_see_later_ones():
    def child(name):
        return Child(id=name, run=1, key=name, on_parent_close="cancel")

    none = Children()
    one = none.add(child("a"))
    two = one.add(child("b"))
    left = two.remove("a")
    assert [list(each) for each in (none, one, two, left)] == [[], ["a"], ["a", "b"], ["b"]]
    assert [len(each) for each in (none, one, two, left)] == [0, 1, 2, 1]
    assert ("a" in two, "a" in left, "b" in one) == (True, False, False)
    branch = one.add(child("c"))
    assert (list(branch), list(two), list(left)) == (["a", "c"], ["a", "b"], ["b"])
    again = left.add(child("a"))
    assert (sorted(again), list(two), list(left)) == (["a", "b"], ["a", "b"], ["b"])
    assert again == two
    assert hash(again) == hash(two)
    assert again != left
    with pytest.raises(KeyError):
        left["a"]
    with pytest.raises(KeyError):
        left.remove("nobody")
    assert repr(one) == f"Children({{'a': {child('a')!r}}})"
