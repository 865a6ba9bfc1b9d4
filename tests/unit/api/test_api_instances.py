import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows.core.instance import Instance
from runner_protocol.messages import Complete, ErrorDetail, Fail, Sleep, StepComplete, StepRecord, WaitEvent


async def instance(client: httpx.AsyncClient, instance_id: str) -> dict[str, Any]:
    answer = await client.get(f"/{instance_id}")
    assert answer.status_code == 200
    value: dict[str, Any] = answer.json()
    return value


async def test_a_new_instance_has_every_member_in_the_documented_order(
    client: httpx.AsyncClient, instance_id: str
) -> None:
    value = await instance(client, instance_id)
    assert list(value) == [
        "id", "name", "version", "run", "revision", "input", "status", "output", "error", "error_detail",
        "current_step", "steps", "waiting_for", "approval", "group", "wake_at", "retry_at", "waiting_for_runner",
        "blocked_reason", "max_retries", "vars", "usage", "progress", "tags", "parent_id", "parent", "children",
        "created_at", "started_at", "completed_at",
    ]  # fmt: skip
    assert value == {
        "id": "wf_alice",
        "name": "onboarding",
        "version": "7",
        "run": 1,
        "revision": 1,
        "input": {"user": "alice"},
        "status": "pending",
        "output": None,
        "error": None,
        "error_detail": None,
        "current_step": 0,
        "steps": [],
        "waiting_for": None,
        "approval": None,
        "group": None,
        "wake_at": None,
        "retry_at": None,
        "waiting_for_runner": None,
        "blocked_reason": None,
        "max_retries": 3,
        "vars": {},
        "usage": {"cost_usd": "0", "input_tokens": 0, "output_tokens": 0},
        "progress": None,
        "tags": {},
        "parent_id": None,
        "parent": None,
        "children": [],
        "created_at": "2026-11-21T09:00:01.000Z",
        "started_at": None,
        "completed_at": None,
    }


LEFT_OUT = {"input", "usage", "vars", "unset", "depends_on"}
"""What version 1 does not have stands in a record only when there is something to say."""


async def test_steps_are_the_wires_records(client: httpx.AsyncClient, engine: StillEngine, instance_id: str) -> None:
    await engine.apply(instance_id, StepComplete(step_name='charge "é"', output={"id": 1, "at": [1.5]}))
    await engine.apply(instance_id, Fail(step_name="mail", error="no \n route"))
    value = await instance(client, instance_id)
    charged, failed = value["steps"]
    assert charged == {
        "step_id": "step_0",
        "name": 'charge "é"',
        "status": "completed",
        "output": {"id": 1, "at": [1.5]},
        "error": None,
        "started_at": "2026-11-21T09:00:02.000Z",
        "completed_at": "2026-11-21T09:00:02.000Z",
        "duration_ms": 0,
        "retry_count": 0,
        "key": 'charge "é"',
        "kind": "step",
        "position": 0,
        "final": False,
        "timed_out": False,
    }
    assert (failed["step_id"], failed["status"], failed["error"]) == ("step_1", "failed", "no \n route")
    assert (failed["retry_count"], failed["position"], failed["output"]) == (1, None, None)
    assert failed["depends_on"] == ['charge "é"']
    for record in value["steps"]:
        assert set(StepRecord.model_fields) - LEFT_OUT <= set(record) <= set(StepRecord.model_fields)
        StepRecord.model_validate(record)


async def test_between_attempts_retry_at_is_set_and_wake_at_is_not(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    state = await engine.apply(instance_id, Fail(step_name="mail", error="x", retry_after=None))
    value = await instance(client, instance_id)
    assert (value["status"], value["wake_at"]) == ("running", None)
    assert value["retry_at"] == due(state)


async def test_a_sleep_shows_when_it_ends_in_unix_seconds(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    state = await engine.apply(instance_id, Sleep(duration="1500ms"))
    value = await instance(client, instance_id)
    assert (value["status"], value["retry_at"]) == ("sleeping", None)
    assert value["wake_at"] == due(state) == 1795251603.5


async def test_a_wait_shows_the_event_and_its_deadline(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await engine.apply(instance_id, WaitEvent(event="paid"))
    value = await instance(client, instance_id)
    assert (value["status"], value["waiting_for"], value["wake_at"]) == ("waiting_for_event", "paid", None)


async def test_a_completed_instance_has_its_output_as_it_was_stored(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await engine.apply(instance_id, Complete(output={"z": 1, "a": 2**64 - 1}))
    answer = await client.get(f"/{instance_id}")
    assert b'"output":{"z":1,"a":18446744073709551615}' in answer.content
    assert answer.json()["completed_at"] == "2026-11-21T09:00:02.000Z"


async def test_an_errors_object_stands_apart_from_its_sentence(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    error = ErrorDetail(type="CardError", message="declined", code=402)
    await engine.apply(instance_id, Fail(step_name="charge", error=error, retryable=False))
    value = await instance(client, instance_id)
    assert (value["status"], value["error"]) == ("failed", "declined")
    assert value["error_detail"]["code"] == 402


async def test_a_blocked_instance_tells_why(client: httpx.AsyncClient, engine: StillEngine, instance_id: str) -> None:
    await engine.block(instance_id)
    value = await instance(client, instance_id)
    assert value["status"] == "blocked"
    assert "'charge'" in value["blocked_reason"]


async def test_the_history_tells_all_transitions(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await engine.send_event(instance_id, "paid", {"sum": 5}, event_id="evt_1")
    await engine.apply(instance_id, Fail(step_name="charge", error="x"))
    engine.clock.jump(timedelta(hours=1))
    await engine.advance(instance_id)
    await engine.apply(instance_id, Complete(output=[1]))
    history = (await client.get(f"/{instance_id}/history")).json()
    assert [(entry["revision"], entry["type"]) for entry in history] == [
        (1, "instance_started"),
        (2, "event_received"),
        (3, "run_started"),
        (4, "attempt_failed"),
        (5, "woke_up"),
        (6, "instance_completed"),
    ]
    assert history[0]["input"] == {"user": "alice"}
    assert history[0]["policy"] == {"max_retries": 3, "initial_backoff_s": 1, "maximum_backoff_s": 300}
    assert history[0]["step_timeout_s"] == 30
    assert history[1] == {
        "revision": 2,
        "type": "event_received",
        "at": "2026-11-21T09:00:02.000Z",
        "event": "paid",
        "event_id": "evt_1",
        "data": {"sum": 5},
    }
    assert "detail" not in history[3], "there is none: null would be another"
    assert history[5]["output"] == [1]


async def test_a_long_history_is_written_as_a_short_one_is(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    for number in range(501):
        await engine.apply(instance_id, StepComplete(step_name="n", output=number))
    value, history = await instance(client, instance_id), (await client.get(f"/{instance_id}/history")).json()
    assert [record["output"] for record in value["steps"]] == list(range(501))
    assert [entry["output"] for entry in history[2:]] == list(range(501))


async def test_cancel_again_is_the_same_and_a_completed_one_is_409(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    for _ in range(2):
        answer = await client.post(f"/{instance_id}/cancel")
        assert (answer.status_code, answer.json()) == (200, {"cancelled": True})
    other = (await engine.start_or_find("onboarding")).id
    await engine.apply(other, Complete())
    refused = await client.post(f"/{other}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "instance-finished")


async def test_resume_lets_a_blocked_one_go_on_and_refuses_others(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    refused = await client.post(f"/{instance_id}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "instance-not-blocked")
    await engine.block(instance_id)
    answer = await client.post(f"/{instance_id}/resume")
    assert (answer.status_code, answer.json()) == (200, {"status": "running"})


async def test_advance_tells_the_status_and_reads_no_body(client: httpx.AsyncClient, instance_id: str) -> None:
    answer = await client.post(f"/{instance_id}/advance", content=b"{not json")
    assert (answer.status_code, answer.json()) == (200, {"status": "pending"})


async def test_only_a_finished_instance_is_deleted(client: httpx.AsyncClient, instance_id: str) -> None:
    refused = await client.delete(f"/{instance_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "instance-not-finished")
    await client.post(f"/{instance_id}/cancel")
    answer = await client.delete(f"/{instance_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(f"/{instance_id}")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/history"),
        ("POST", "/cancel"),
        ("POST", "/advance"),
        ("POST", "/resume"),
        ("DELETE", ""),
        ("POST", "/event"),
    ],
)
@pytest.mark.parametrize("id", ["wf_nobody", "a%20b", "%C3%A9", "x" * 129, "%00", "%2E%2E", "a%0A", "Start", "%FF"])
async def test_an_id_that_nobody_has_is_404(client: httpx.AsyncClient, method: str, path: str, id: str) -> None:
    body = json.dumps({"event": "e"}) if path == "/event" else None
    answer = await client.request(method, f"/{id}{path}", content=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-instance")


def due(state: Instance) -> float:
    assert state.due_at is not None
    return round(state.due_at.timestamp(), 3)
