"""Children: started with their parent's record, told of and cancelled as their family goes, also through crashes."""

import asyncio
from datetime import timedelta

import pytest
from engine_parts import TroubledStore, settled

from pylon_workflows import WorkflowDefinition
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import ChildFinished, ChildStarted
from pylon_workflows.discovery import LEAST_PAUSE_S
from pylon_workflows.errors import (
    InvalidInputError,
    StorageFullError,
    StoreError,
    UnknownInstanceError,
    UnknownWorkflowError,
)
from pylon_workflows.ids import check_instance_id
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, wait_for_status, wait_until
from runner_protocol.messages import (
    Complete,
    DescribedWorkflow,
    Description,
    Fail,
    StartChild,
    StepComplete,
    Usage,
    WaitEvent,
)

SHIP = StartChild(name="ship", workflow="shipping", input={"n": 1}, id="ship-1")


def engine_with(plan, *, clock=None, store=None, workflows=("order", "shipping"), **settings):
    """`plan` is by workflow: the actions of its turns, one after the other; then it completes."""

    def answer(request):
        actions = plan[request.workflow_name]
        answered = sum(record.position is not None for record in request.completed_steps)
        if callable(actions):
            return actions(request)
        if answered < len(actions):
            return actions[answered]
        return Complete(output=[record.error or record.output for record in request.completed_steps])

    engine = engine_in_memory(
        ScriptedRunner(answer) if plan else None,
        clock=clock,
        store=store or TroubledStore(),
        settings=EngineSettings(**{"shutdown_grace_s": 0, **settings}),
    )
    for workflow in workflows:
        engine.register(WorkflowDefinition(workflow, version=f"{workflow} 1"))
    return engine


async def until(engine, instance_id, status):
    """Wait until an instance that need not be there yet has this status."""

    async def is_so():
        try:
            return (await engine.get(instance_id)).status is status
        except UnknownInstanceError:
            return False

    await wait_until(is_so)


async def test_the_childs_output_is_the_records():
    async with engine_with({"order": [SHIP], "shipping": [StepComplete(step_name="pack", output="box")]}) as engine:
        await engine.start("order", id="a")
        instance = await engine.wait("a", 10)
        child = await engine.get("ship-1")
    assert instance.output == [["box"]]
    [record] = instance.steps
    assert (record.key, record.name, record.kind, record.status) == ("child:ship", "child:ship", "child", "completed")
    assert (child.name, child.input, child.version) == ("shipping", {"n": 1}, "shipping 1")
    assert (child.parent_id, child.origin.parent_key, child.origin.parent_run) == ("a", "child:ship", 1)
    assert child.origin.depth == 1
    assert instance.children == {}


async def test_while_it_waits_the_parent_shows_its_child():
    async with engine_with({"order": [SHIP], "shipping": [WaitEvent(event="packed")]}) as engine:
        await engine.start("order", id="a")
        instance = await wait_for_status(engine, "a", Status.WAITING_FOR_CHILD)
        assert instance.waiting_for == "ship-1"
        assert [(child.id, child.key) for child in instance.children.values()] == [("ship-1", "child:ship")]
        await until(engine, "ship-1", Status.WAITING_FOR_EVENT)
        await engine.send_event("ship-1", "packed", 7)
        assert (await engine.wait("a", 10)).output == [[7]]


async def test_a_child_that_fails_or_is_cancelled_is_a_final_failure_that_the_code_may_catch():
    plan = {
        "order": [SHIP, StartChild(name="ship", workflow="shipping", input={"n": 2}, id="ship-2")],
        "shipping": lambda request: (
            Fail(error="lost", retryable=False) if request.input["n"] == 1 else WaitEvent(event="never")
        ),
    }
    async with engine_with(plan) as engine:
        await engine.start("order", id="a")
        await until(engine, "ship-2", Status.WAITING_FOR_EVENT)
        await engine.cancel("ship-2")
        instance = await engine.wait("a", 10)
    assert instance.output == ["child 'ship' failed: lost", "child 'ship' was cancelled"]
    assert [(record.key, record.final) for record in instance.steps] == [("child:ship", True), ("child:ship#2", True)]


async def test_without_an_id_a_child_has_one_of_its_parents_record():
    child = StartChild(name="ship", workflow="shipping")
    store = TroubledStore()
    async with engine_with({"order": [child, child], "shipping": []}, store=store) as engine:
        await engine.start("order", id="a")
        await engine.wait("a", 10)
        started = [each.child_id for each in await engine.history("a") if isinstance(each, ChildStarted)]
    assert len(set(started)) == 2
    for child_id in started:
        assert check_instance_id(child_id) == child_id
        assert (child_id[:3], len(child_id)) == ("wf_", 29)


async def test_a_child_that_is_not_waited_for_is_recorded_at_once_and_its_usage_counts_when_it_ends():
    async def shipped(request):
        await may_ship.wait()
        return Complete(output=1, usage=Usage(cost_usd="0.30", output_tokens=5))

    may_ship = asyncio.Event()
    child = StartChild(name="ship", workflow="shipping", id="ship-1", wait=False)
    plan = {"order": [child, StepComplete(step_name="pay", usage=Usage(cost_usd="0.1")), WaitEvent(event="e")]}
    async with engine_with({**plan, "shipping": shipped}) as engine:
        await engine.start("order", id="a")
        instance = await wait_for_status(engine, "a", Status.WAITING_FOR_EVENT)
        assert instance.steps[0].output == {"workflow_id": "ship-1"}
        assert list(instance.children) == ["ship-1"]
        may_ship.set()
        await engine.wait("ship-1", 10)
        await wait_until(lambda: not engine._engine._live._entries["a"].instance.children)
        instance = await engine.get("a")
        assert str(instance.usage.cost_usd) == "0.4"
        assert instance.usage.output_tokens == 5
        await engine.send_event("a", "e")
        assert len((await engine.wait("a", 10)).steps) == 3


async def test_the_usage_of_grandchildren_is_rolled_up_exactly():
    plan = {
        "order": [StartChild(name="ship", workflow="shipping")],
        "shipping": [
            StepComplete(step_name="s", usage=Usage(cost_usd="0.1", input_tokens=1)),
            StartChild(name="pack", workflow="packing"),
        ],
        "packing": [StepComplete(step_name="s", usage=Usage(cost_usd="0.2", input_tokens=2))],
    }
    async with engine_with(plan, workflows=plan) as engine:
        await engine.start("order", id="a")
        instance = await engine.wait("a", 10)
    assert (str(instance.usage.cost_usd), instance.usage.input_tokens) == ("0.3", 3)


async def test_an_id_that_is_taken_is_a_refusal_thrown_into_the_code():
    async with engine_with({"order": [SHIP], "shipping": []}) as engine:
        await engine.start("shipping", id="ship-1")
        await engine.wait("ship-1", 10)
        instance = await engine.wait(await engine.start("order"), 10)
    assert instance.output == ["start-conflict: the id ship-1 belongs to another instance"]
    assert (instance.steps[0].kind, instance.steps[0].final) == ("child", True)


async def test_one_answer_does_not_start_two_children_of_one_id():
    def order(request):
        if request.current_step == 0:
            other = StartChild(name="other", workflow="shipping", id="ship-1", wait=False)
            return [SHIP.model_copy(update={"wait": False}), other, StepComplete(step_name="s")]
        return Complete(output=[record.error for record in request.completed_steps])

    async with engine_with({"order": order, "shipping": []}) as engine:
        instance = await engine.wait(await engine.start("order"), 10)
    assert instance.output == [None, "start-conflict: the id ship-1 belongs to another instance", None]


async def test_what_came_before_a_refused_child_in_the_answer_is_applied_once():
    def order(request):
        if request.current_step == 0:
            return [StepComplete(step_name="first", output=1), SHIP]
        return Complete(output=[record.key for record in request.completed_steps])

    async with engine_with({"order": order, "shipping": []}) as engine:
        await engine.start("shipping", id="ship-1")
        instance = await engine.wait(await engine.start("order"), 10)
    assert instance.output == ["first", "child:ship"]


async def test_a_child_of_an_earlier_life_of_its_parent_is_found_again():
    child = StartChild(name="ship", workflow="shipping")
    async with engine_with({"order": [child], "shipping": [StepComplete(step_name="s", output=1)]}) as engine:
        for _ in range(2):
            await engine.start("order", id="a")
            assert (await engine.wait("a", 10)).output == [[1]]
            await engine.delete("a")
        assert len(await engine.list(name="shipping")) == 1


@pytest.mark.parametrize(
    ("child", "reason"),
    [
        (StartChild(name="c", workflow="shipping", id="start"), "reserved-id: id: 'start' is a reserved word"),
        (
            StartChild(name="c", workflow="shipping", input="x" * 99),
            "input-too-large: input: has 101 bytes, the limit is 100",
        ),
    ],
)
async def test_a_child_that_cannot_be_is_a_failure_with_the_reason(child, reason):
    async with engine_with({"order": [child], "shipping": []}, max_input_bytes=100) as engine:
        assert (await engine.wait(await engine.start("order"), 10)).output == [reason]


async def test_children_are_at_most_32_deep():
    def order(request):
        if not request.completed_steps:
            return StartChild(name="next", workflow="order")
        return Complete(output=request.completed_steps[0].output or request.completed_steps[0].error)

    async with engine_with({"order": order}) as engine:
        instance = await engine.wait(await engine.start("order"), 10)
        assert len(await engine.list(limit=200)) == 33
    assert instance.output == "child-too-deep: children are at most 32 deep"


async def test_an_unknown_workflow_puts_the_parent_off_until_it_is_registered():
    clock = FakeClock()
    plan = {"order": [StepComplete(step_name="first"), SHIP], "shipping": []}
    async with engine_with(plan, clock=clock, workflows=["order"]) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: engine._engine._dispatcher._postponed)
        instance = await engine.get("a")
        assert (instance.status, len(instance.steps), instance.failures_here) == (Status.RUNNING, 1, 0)
        assert "no workflow is named 'shipping'" in engine.waiting_for_runner(instance).reason
        engine.register(WorkflowDefinition("shipping"))
        for _ in range(5):
            clock.advance(1)
            await settled()
        assert (await engine.wait("a", 10)).status is Status.COMPLETED


async def test_a_cancel_goes_down_to_all_children_but_those_abandoned():
    plan = {
        "order": [
            StartChild(name="kept", workflow="packing", id="kept", wait=False, on_parent_close="abandon"),
            StartChild(name="ship", workflow="shipping", id="ship"),
        ],
        "shipping": [StartChild(name="pack", workflow="packing", id="pack")],
        "packing": [WaitEvent(event="never")],
    }
    async with engine_with(plan, workflows=plan) as engine:
        await engine.start("order", id="a")
        await until(engine, "pack", Status.WAITING_FOR_EVENT)
        await until(engine, "kept", Status.WAITING_FOR_EVENT)
        await engine.cancel("a")
        for instance_id in ("a", "ship", "pack"):
            assert (await engine.wait(instance_id, 10)).status is Status.CANCELLED
        await settled()
        assert (await engine.get("kept")).status is Status.WAITING_FOR_EVENT
        assert await engine._engine._store.unannounced(limit=9) == []


@pytest.mark.parametrize("end", [Complete(output=1), Fail(error="no", retryable=False)])
async def test_a_parent_that_ends_cancels_the_children_that_it_did_not_wait_for(end):
    child = StartChild(name="ship", workflow="shipping", id="ship-1", wait=False)
    plan = {"order": [child, end], "shipping": [WaitEvent(event="never")]}
    async with engine_with(plan) as engine:
        await engine.start("order", id="a")
        await engine.wait("a", 10)
        assert (await engine.wait("ship-1", 10)).status is Status.CANCELLED


async def test_callbacks_hear_of_parents_and_children_once():
    told = []
    engine = engine_with({"order": [SHIP], "shipping": []})
    engine.on_finished(lambda instance: told.append(instance.id))
    async with engine:
        await engine.start("order", id="a")
        await engine.wait("a", 10)
        await wait_until(lambda: len(told) == 2)
        await settled()
        assert sorted(told) == ["a", "ship-1"]
        assert await engine._engine._store.unannounced(limit=9) == []


class Crashing(TroubledStore):
    """Dies as soon as it has stored what `when` says: nothing that follows reaches it."""

    def __init__(self, when):
        super().__init__()
        self.when = when
        self.is_dead = False

    def append(self, instance, transitions, **options):
        if self.is_dead:
            raise StoreError("dead")
        self.is_dead = any(self.when(each) for each in transitions)
        return super().append(instance, transitions, **options)

    async def mark_announced(self, instance_ids):
        if self.is_dead:
            raise StoreError("dead")
        await super().mark_announced(instance_ids)

    async def create(self, instance):
        if self.is_dead:
            raise StoreError("dead")
        return await super().create(instance)


@pytest.mark.parametrize("when", ["ChildStarted", "StepSucceeded", "InstanceCompleted", "ChildFinished"])
async def test_a_crash_at_any_moment_loses_no_child_and_no_end_of_one(when):
    store = Crashing(lambda transition: type(transition).__name__ == when)
    plan = {"order": [SHIP], "shipping": [StepComplete(step_name="s", output=1, usage=Usage(cost_usd="0.1"))]}
    async with engine_with(plan, store=store) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: store.is_dead)
        await settled()
    store.is_dead, store.when = False, lambda _: False
    async with engine_with(plan, store=store) as engine:
        instance = await engine.wait("a", 10)
        history = await engine.history("a")
        await wait_until(lambda: is_settled(engine))
    assert instance.output == [[1]]
    assert [type(each) for each in history].count(ChildFinished) == 1
    assert str(instance.usage.cost_usd) == "0.1"


async def test_a_crash_before_the_children_of_a_cancelled_one_are_cancelled_leaves_none_alone():
    store = Crashing(lambda transition: type(transition).__name__ == "InstanceCancelled")
    plan = {"order": [SHIP], "shipping": [WaitEvent(event="never")]}
    async with engine_with(plan, store=store) as engine:
        await engine.start("order", id="a")
        await until(engine, "ship-1", Status.WAITING_FOR_EVENT)
        await engine.cancel("a")
        await settled()
    store.is_dead, store.when = False, lambda _: False
    async with engine_with(plan, store=store) as engine:
        assert (await engine.wait("ship-1", 10)).status is Status.CANCELLED
        await wait_until(lambda: is_settled(engine))


async def is_settled(engine):
    return not await engine._engine._store.unannounced(limit=9)


async def test_while_the_disk_is_full_the_parent_hears_later():
    clock, store = FakeClock(), TroubledStore()
    async with engine_with({"order": [SHIP], "shipping": [WaitEvent(event="e")]}, clock=clock, store=store) as engine:
        await engine.start("order", id="a")
        await until(engine, "ship-1", Status.WAITING_FOR_EVENT)
        append, full = store.append, False

        def append_to_children(instance, transitions, **options):
            store.write_trouble = StorageFullError("full") if full and instance.id == "a" else None
            return append(instance, transitions, **options)

        store.append, full = append_to_children, True
        await engine.send_event("ship-1", "e", 3)
        await engine.wait("ship-1", 10)
        await settled()
        assert (await engine.get("a")).status is Status.WAITING_FOR_CHILD
        full = False
        clock.advance(1)
        assert (await engine.wait("a", 10)).output == [[3]]


async def test_a_child_that_is_deleted_at_once_has_told_its_parent():
    engine = engine_with({})
    async with engine:
        await engine.start("order", id="a")
        await engine.apply("a", SHIP)
        await engine.apply("ship-1", Complete(output=5))
        await engine.delete("ship-1")
        instance = await engine.get("a")
        assert (instance.status, instance.steps[0].output) == (Status.RUNNING, 5)


async def test_a_child_whose_parent_is_gone_ends_alone():
    engine = engine_with({})
    async with engine:
        await engine.start("order", id="a")
        child = StartChild(name="ship", workflow="shipping", id="c", wait=False, on_parent_close="abandon")
        await engine.apply("a", child)
        await engine.apply("a", Complete())
        await engine.delete("a")
        await engine.apply("c", Complete())
        await wait_until(lambda: is_settled(engine))


async def test_canned_children_are_started_and_refused_as_a_runners():
    engine = engine_with({})
    async with engine:
        await engine.start("order", id="a")
        await engine.start("order", id="ship-1")
        instance = await engine.apply("a", SHIP)
        assert instance.steps[0].error.startswith("start-conflict")
        instance = await engine.apply("a", StartChild(name="ship", workflow="shipping", id="ship-2"))
        assert instance.status is Status.WAITING_FOR_CHILD
        with pytest.raises(UnknownWorkflowError):
            await engine.apply("ship-2", StartChild(name="x", workflow="nobody's"))
        with pytest.raises(InvalidInputError, match="already recorded"):
            await engine.apply("ship-1", StepComplete(step_name="s", key="s"))
            await engine.apply("ship-1", StartChild(name="ship", key="s", workflow="shipping"))


async def test_many_children_that_end_at_once_are_all_told():
    children = [StartChild(name=f"c{n}", workflow="shipping", wait=False) for n in range(150)]

    def order(request):
        return children if not request.completed_steps else WaitEvent(event="e", timeout=timedelta(days=1))

    async with engine_with({"order": order, "shipping": []}) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.WAITING_FOR_EVENT)
        await wait_until(lambda: not engine._engine._live._entries["a"].instance.children)
        history = await engine.history("a")
    assert [type(each) for each in history].count(ChildFinished) == 150


async def test_a_childs_workflow_that_only_the_runner_knows_is_found_at_once():
    def answer(request):
        return SHIP if request.workflow_name == "order" and not request.completed_steps else Complete(output=1)

    clock = FakeClock()
    runner = ScriptedRunner(answer, description=Description(workflows=[DescribedWorkflow(name="order")]))
    async with engine_in_memory(runner, clock=clock) as engine:
        await wait_until(lambda: engine._engine._definitions.told("order"))
        runner.description = Description(workflows=[DescribedWorkflow(name="shipping")])
        clock.advance(LEAST_PAUSE_S)
        instance = await engine.wait(await engine.start("order"), 10)
    assert instance.status is Status.COMPLETED
