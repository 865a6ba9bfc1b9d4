"""What an instance shows of its variables, its cost, its group and its family."""

import asyncio
from decimal import Decimal
from typing import Any

import httpx
from still_engine import StillEngine

from pylon_workflows.api.schemas import InstanceAnswer
from runner_protocol.messages import (
    Complete,
    ContinueAsNew,
    Fail,
    Map,
    Progress,
    StartChild,
    StepComplete,
    StepSkip,
    Usage,
)


async def shown(client: httpx.AsyncClient, instance_id: str) -> dict[str, Any]:
    answer = await client.get(f"/{instance_id}")
    InstanceAnswer.model_validate_json(answer.content)
    value: dict[str, Any] = answer.json()
    return value


async def test_variables_usage_and_progress_are_the_latest(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    first = StepComplete(
        step_name="a",
        vars={"n": 1, "é": None},
        usage=Usage(cost_usd="0.10", input_tokens=5),
        progress=Progress(percent=40, message="charged"),
    )
    await engine.apply(instance_id, first)
    await engine.apply(instance_id, StepComplete(step_name="b", vars={"n": [2.0]}, usage=Usage(cost_usd="0.2")))
    value = await shown(client, instance_id)
    assert value["vars"] == {"n": [2.0], "é": None}
    assert value["usage"] == {"cost_usd": "0.3", "input_tokens": 5, "output_tokens": 0}
    assert Decimal(value["usage"]["cost_usd"]) == Decimal("0.3")
    assert value["progress"] == {"percent": 40.0, "message": "charged"}


async def test_records_tell_their_kind_input_and_what_they_came_after(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await engine.apply(instance_id, StepComplete(step_name="list", kind="http", input={"url": "x"}, output=[1]))
    await engine.apply(instance_id, StepComplete(step_name="a", after=1))
    await engine.apply(instance_id, StepComplete(step_name="b", after=1))
    await engine.apply(instance_id, StepSkip(step_name="c", reason="done by hand", after=3))
    steps = (await shown(client, instance_id))["steps"]
    assert [(step["kind"], step["status"]) for step in steps] == [
        ("http", "completed"),
        ("step", "completed"),
        ("step", "completed"),
        ("step", "skipped"),
    ]
    assert steps[0]["input"] == {"url": "x"}
    assert [step.get("depends_on", []) for step in steps] == [[], ["list"], ["list"], ["a", "b"]]


async def test_a_parent_shows_its_open_children_and_a_child_its_parent(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await engine.apply(instance_id, ContinueAsNew(input={"user": "alice"}))
    child = StartChild(name="mail", workflow="onboarding", id="wf_child", on_parent_close="abandon")
    await engine.apply(instance_id, child)
    value = await shown(client, instance_id)
    assert (value["run"], value["status"], value["waiting_for"]) == (2, "waiting_for_child", "wf_child")
    assert value["children"] == [
        {"workflow_id": "wf_child", "key": "child:mail", "run": 2, "on_parent_close": "abandon"}
    ]
    assert (await shown(client, "wf_child"))["parent"] == {
        "workflow_id": instance_id,
        "key": "child:mail",
        "run": 2,
    }
    await engine.apply("wf_child", Complete(output={"sent": True}, usage=Usage(output_tokens=3)))
    while (value := await shown(client, instance_id))["children"]:  # noqa: ASYNC110 -- an app in this process
        await asyncio.sleep(0)  # nothing on the way through it lets the engine go on
    assert (value["status"], value["steps"][0]["output"]) == ("running", {"sent": True})
    assert value["steps"][0]["usage"]["output_tokens"] == value["usage"]["output_tokens"] == 3


async def test_a_group_shows_how_far_it_is(client: httpx.AsyncClient, engine: StillEngine, instance_id: str) -> None:
    await engine.apply(instance_id, Map(name="resize", items=[1, 2, 3], fail_fast=False))
    await engine.apply(instance_id, StepComplete(key="resize[2]", output="c"))
    await engine.apply(instance_id, Fail(key="resize[0]", error="no", retryable=False))
    value = await shown(client, instance_id)
    group = {"key": "resize", "kind": "map", "name": "resize", "total": 3, "succeeded": 1, "failed": 1}
    assert (value["group"], value["status"], value["steps"]) == (group, "running", [])
