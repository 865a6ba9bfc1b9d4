from datetime import timedelta
from typing import Any

import httpx
import pytest
from still_engine import StillEngine

from runner_protocol.messages import Approval, Complete

GATE = "approval:ship/it #2?"
PATH = "approval%3Aship%2Fit%20%232%3F"


@pytest.fixture
async def gate(engine: StillEngine, instance_id: str) -> str:
    action = Approval(name="ship", key=GATE, message="Ship?", data={"sum": 1.0}, timeout=timedelta(hours=1))
    await engine.apply(instance_id, action)
    return f"/{instance_id}/approvals/{PATH}"


async def test_the_instance_shows_its_open_gate(client: httpx.AsyncClient, instance_id: str, gate: str) -> None:
    shown = (await client.get(f"/{instance_id}")).json()
    assert (shown["status"], shown["waiting_for"]) == ("awaiting_approval", GATE)
    assert shown["approval"] == {
        "key": GATE,
        "name": "ship",
        "message": "Ship?",
        "data": {"sum": 1.0},
        "requested_at": "2026-11-21T09:00:02.000Z",
        "expires_at": "2026-11-21T10:00:02.000Z",
    }
    for word in ("waiting", "awaiting_approval"):
        assert [each["id"] for each in (await client.get(f"/?status={word}")).json()] == [instance_id]


async def test_a_gate_whose_name_has_line_breaks_is_decided(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await engine.apply(instance_id, Approval(name="ship\nit\n", message="Ship?"))
    path = f"/{instance_id}/approvals/approval%3Aship%0Ait%0A"
    assert (await client.post(path, json={"decision": "approve", "by": "alice"})).status_code == 200
    for unknown in ("/start%0A", "/a/b/c%0Ad"):
        assert (await client.post(unknown, json={})).json()["code"] in ("unknown-route", "method-not-allowed")


@pytest.mark.parametrize(("decision", "approved"), [("approve", True), ("reject", False)])
async def test_a_gate_is_decided(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str, gate: str, decision: str, approved: bool
) -> None:
    body = {"decision": decision, "by": "alice", "comment": "é", "data": {"n": 1}}
    answer = await client.post(gate, json=body)
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "duplicate": False})
    [record] = (await client.get(f"/{instance_id}")).json()["steps"]
    assert record["output"]["approved"] is approved
    assert (record["output"]["by"], record["output"]["comment"], record["output"]["data"]) == ("alice", "é", {"n": 1})
    again = await client.post(gate, json={"decision": decision})
    assert (again.status_code, again.json()) == (200, {"ok": True, "duplicate": True})
    other = await client.post(gate, json={"decision": "reject" if approved else "approve"})
    assert (other.status_code, other.json()["code"]) == (409, "approval-conflict")


async def test_data_is_null_when_absent(client: httpx.AsyncClient, engine: StillEngine, gate: str) -> None:
    await client.post(gate, json={"decision": "approve"})
    assert (await engine.get("wf_alice")).steps[0].output["data"] is None


async def test_a_gate_that_there_is_not_is_409_and_an_unknown_instance_404(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str, gate: str
) -> None:
    for path in (f"/{instance_id}/approvals/other", f"/{instance_id}/approvals/", f"/{instance_id}/approvals/a%2F%2Fb"):
        refused = await client.post(path, json={"decision": "approve"})
        assert (refused.status_code, refused.json()["code"]) == (409, "approval-conflict")
    unknown = await client.post(f"/wf_nobody/approvals/{PATH}", json={"decision": "approve"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown-instance")
    await client.post(f"/{instance_id}/cancel")
    gone = await client.post(gate, json={"decision": "approve"})
    assert (gone.status_code, gone.json()["code"]) == (409, "approval-conflict")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({}, 400, "invalid-input", "decision"),
        ({"decision": "maybe"}, 400, "invalid-input", "decision"),
        ({"decision": True}, 400, "invalid-input", "decision"),
        ({"decision": "approve", "by": ""}, 400, "invalid-input", "by"),
        ({"decision": "approve", "by": "x" * 129}, 400, "name-too-long", "by"),
        ({"decision": "approve", "comment": 7}, 400, "invalid-input", "comment"),
        ({"decision": "approve", "comment": "x" * 10_001}, 400, "comment-too-long", "comment"),
        ({"decision": "approve", "data": "x" * 256 * 1024}, 413, "approval-too-large", "data"),
    ],
)
async def test_what_is_no_decision_is_refused_and_named(
    client: httpx.AsyncClient,
    engine: StillEngine,
    instance_id: str,
    gate: str,
    body: dict[str, Any],
    status: int,
    code: str,
    field: str,
) -> None:
    refused = await client.post(gate, json=body)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert refused.json()["detail"].startswith(f"{field}:")
    assert (await engine.get(instance_id)).waiting_for == GATE


async def test_a_finished_instance_has_no_gate(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await engine.apply(instance_id, Complete())
    refused = await client.post(f"/{instance_id}/approvals/approval%3Ax", json={"decision": "approve"})
    assert (refused.status_code, refused.json()["code"]) == (409, "approval-conflict")
    assert (await client.get(f"/{instance_id}")).json()["approval"] is None
