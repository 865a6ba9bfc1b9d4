"""What `pylon_workflows.testing` says when a test waits in vain."""

import pytest

from pylon_workflows import WorkflowDefinition
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, script, wait_for_status
from runner_protocol.messages import Sleep


async def test_a_status_that_does_not_come_is_named_with_the_one_there_is_and_with_what_the_clock_waits_for():
    engine = engine_in_memory(ScriptedRunner(script(Sleep(duration="1m"))), clock=FakeClock())
    engine.register(WorkflowDefinition("order"))
    async with engine:
        instance_id = await engine.start("order")
        await wait_for_status(engine, instance_id, "sleeping")
        with pytest.raises(TimeoutError, match=r"is sleeping after .*, not completed, due at .*: a FakeClock moves"):
            await wait_for_status(engine, instance_id, "completed", timeout_s=0.05)


async def test_a_status_that_there_is_not_is_refused_at_once():
    async with engine_in_memory(ScriptedRunner(script())) as engine:
        with pytest.raises(ValueError, match="status: 'sleping' is none of pending, running, sleeping"):
            await wait_for_status(engine, "any", "sleping")
