"""What a person reads who wonders why nothing happens: once an outage, with the instance's id, without bodies."""

import logging

import pytest

from pylon_workflows import WorkflowDefinition
from pylon_workflows.errors import RunnerUnavailableError
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, script, wait_until
from runner_protocol.messages import Complete, Defer


async def messages_of(caplog: pytest.LogCaptureFixture, *answers) -> list[str]:
    clock = FakeClock()
    engine = engine_in_memory(ScriptedRunner(script(*answers)), clock=clock)
    engine.register(WorkflowDefinition("order"))
    with caplog.at_level(logging.INFO, logger="pylon_workflows.turns"):
        async with engine:
            await engine.start("order", {"secret": 1}, id="wf_1")

            async def is_finished() -> bool:
                clock.advance(60)
                return (await engine.get("wf_1")).is_finished

            await wait_until(is_finished)
    return [record.getMessage() for record in caplog.records if record.name == "pylon_workflows.turns"]


async def test_an_outage_is_told_when_it_begins_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    down = RunnerUnavailableError("the runner answered 502 Bad Gateway; the body begins '<html>secret'")
    said = await messages_of(caplog, down, down, down, Complete())
    assert said == [
        "wf_1: the runner is unavailable, it is asked again and again: the runner answered 502 Bad Gateway",
        "wf_1: the runner answers again",
    ]


async def test_an_instance_that_is_put_off_is_told_once_with_the_runners_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    later = Defer(retry_after="5s", reason="unknown workflow 'order'")
    said = await messages_of(caplog, later, later, Complete())
    assert said == ["wf_1: the runner puts it off, it is asked again and again: unknown workflow 'order'"]
