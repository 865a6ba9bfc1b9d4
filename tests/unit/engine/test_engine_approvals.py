"""Gates at which a person decides: each pauses the instance, and is decided once."""

import asyncio
from datetime import timedelta

import pytest

from pylon_workflows import ApprovalReceipt, WorkflowDefinition
from pylon_workflows.core.instance import Status
from pylon_workflows.errors import (
    ApprovalConflictError,
    ApprovalTooLargeError,
    CommentTooLongError,
    InvalidInputError,
    NameTooLongError,
    UnknownInstanceError,
)
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, wait_for_status
from runner_protocol.messages import Approval, Complete, WaitEvent

SHIP = Approval(name="ship gate", message="Ship?", data={"total": 7}, timeout=timedelta(days=2))
PAY = Approval(name="pay", on_timeout="fail", timeout=timedelta(days=1))


def engine_with(*gates, clock=None, store=None):
    def answer(request):
        if request.current_step < len(gates):
            return gates[request.current_step]
        return Complete(output=[record.output for record in request.completed_steps])

    engine = engine_in_memory(ScriptedRunner(answer), clock=clock, store=store)
    engine.register(WorkflowDefinition("order"))
    return engine


async def test_a_decision_is_the_records_output_and_the_workflow_goes_on():
    async with engine_with(SHIP) as engine:
        await engine.start("order", id="a")
        instance = await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
        assert instance.waiting_for == "approval:ship gate"
        receipt = await engine.approve("a", "approval:ship gate", by="alice", comment="go", data=[1])
        assert receipt == ApprovalReceipt(is_duplicate=False)
        [output] = (await engine.wait("a", 10)).output
    assert {key: output[key] for key in ("approved", "by", "comment", "data", "timed_out")} == {
        "approved": True,
        "by": "alice",
        "comment": "go",
        "data": [1],
        "timed_out": False,
    }


async def test_a_rejection_is_a_value_and_not_a_failure():
    async with engine_with(SHIP) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
        await engine.reject("a", "approval:ship gate")
        instance = await engine.wait("a", 10)
    assert instance.status is Status.COMPLETED
    [output] = instance.output
    assert (output["approved"], output["by"], output["comment"], output["data"]) == (False, None, None, None)


async def test_several_gates_pause_one_by_one():
    async with engine_with(SHIP, SHIP, PAY) as engine:
        await engine.start("order", id="a")
        for key in ("approval:ship gate", "approval:ship gate#2", "approval:pay"):
            instance = await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
            assert instance.waiting_for == key
            await engine.approve("a", key)
        assert len((await engine.wait("a", 10)).output) == 3


async def test_the_same_decision_again_is_a_duplicate_and_another_one_a_conflict_also_after_the_end():
    async with engine_with(SHIP, WaitEvent(event="paid")) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
        await engine.approve("a", "approval:ship gate", by="alice")
        for _ in range(2):
            assert (await engine.approve("a", "approval:ship gate", by="bob")).is_duplicate
            with pytest.raises(ApprovalConflictError, match="has been approved already"):
                await engine.reject("a", "approval:ship gate")
            await engine.send_event("a", "paid") if not (await engine.get("a")).is_finished else None
            await engine.wait("a", 10)
        assert (await engine.get("a")).steps[0].output["by"] == "alice"


async def test_of_simultaneous_decisions_one_counts():
    async with engine_with(SHIP) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
        key = "approval:ship gate"
        calls = [engine.approve("a", key), engine.reject("a", key), engine.approve("a", key)]
        first, other, again = await asyncio.gather(*calls, return_exceptions=True)
        assert (first.is_duplicate, again.is_duplicate) == (False, True)
        assert isinstance(other, ApprovalConflictError)


async def test_a_gate_that_there_is_not_is_a_conflict():
    async with engine_with(SHIP, PAY) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
        for key in ("approval:pay", "ship gate", "", "approval:ship gate#2"):
            with pytest.raises(ApprovalConflictError):
                await engine.approve("a", key)
        with pytest.raises(UnknownInstanceError):
            await engine.approve("b", "approval:ship gate")


@pytest.mark.parametrize(
    ("decision", "refusal"),
    [
        ({"by": ""}, InvalidInputError),
        ({"by": "x" * 129}, NameTooLongError),
        ({"by": 7}, InvalidInputError),
        ({"comment": "x" * 10_001}, CommentTooLongError),
        ({"comment": 7}, InvalidInputError),
        ({"comment": "\ud800"}, InvalidInputError),
        ({"data": float("nan")}, InvalidInputError),
        ({"data": "x" * 256 * 1024}, ApprovalTooLargeError),
    ],
)
async def test_what_is_no_decision_is_refused_and_the_gate_stays_open(decision, refusal):
    async with engine_with(SHIP) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
        with pytest.raises(refusal, match=next(iter(decision))):
            await engine.approve("a", "approval:ship gate", **decision)
        assert (await engine.get("a")).status is Status.AWAITING_APPROVAL


async def test_a_gate_that_nobody_decides_in_time_is_rejected_or_fails():
    clock = FakeClock()
    async with engine_with(SHIP, PAY, clock=clock) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
        clock.advance(timedelta(days=2))
        instance = await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
        while instance.waiting_for != "approval:pay":
            await asyncio.sleep(0)
            instance = await engine.get("a")
        with pytest.raises(ApprovalConflictError, match="in time"):
            await engine.reject("a", "approval:ship gate")
        clock.advance(timedelta(days=1))
        instance = await engine.wait("a", 10)
    ship, pay = instance.steps
    assert (ship.output["approved"], ship.output["timed_out"]) == (False, True)
    assert (pay.status, pay.final, pay.error) == ("failed", True, "timed out waiting for approval 'pay'")


async def test_a_gate_outlasts_a_restart():
    store = MemoryStore()
    async with engine_with(SHIP, store=store) as engine:
        await engine.start("order", id="a")
        await wait_for_status(engine, "a", Status.AWAITING_APPROVAL)
    async with engine_with(SHIP, store=store) as engine:
        await engine.approve("a", "approval:ship gate")
        assert (await engine.wait("a", 10)).output[0]["approved"]


async def test_a_canned_gate_of_an_engine_without_a_runner():
    engine = engine_in_memory(None)
    engine.register(WorkflowDefinition("order"))
    async with engine:
        await engine.start("order", id="a")
        await engine.apply("a", SHIP)
        await engine.approve("a", "approval:ship gate")
        assert (await engine.apply("a", Complete())).status is Status.COMPLETED
