import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows.core.commands import MAX_UNREAD_EVENTS
from runner_protocol.messages import Complete


async def test_an_event_is_accepted(client: httpx.AsyncClient, engine: StillEngine, instance_id: str) -> None:
    answer = await client.post(f"/{instance_id}/event", json={"event": "paid", "data": {"sum": 5}})
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "duplicate": False})
    [unread] = (await engine.get(instance_id)).inbox
    assert (unread.event, unread.data_json) == ("paid", b'{"sum":5}')


async def test_data_is_an_empty_object_when_absent_and_null_when_null(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await client.post(f"/{instance_id}/event", json={"event": "paid"})
    await client.post(f"/{instance_id}/event", json={"event": "paid", "data": None})
    assert [unread.data_json for unread in (await engine.get(instance_id)).inbox] == [b"{}", b"null"]


@pytest.mark.parametrize("header", ["webhook-id", "Idempotency-Key"])
async def test_a_known_event_id_is_acknowledged_and_dropped(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str, header: str
) -> None:
    first = await client.post(f"/{instance_id}/event", json={"event": "paid", "event_id": "evt_1"})
    again = await client.post(f"/{instance_id}/event", json={"event": "paid"}, headers={header: "evt_1"})
    assert first.json()["duplicate"] is False
    assert (again.status_code, again.json()) == (200, {"ok": True, "duplicate": True})
    assert len((await engine.get(instance_id)).inbox) == 1


async def test_the_body_goes_before_webhook_id_and_that_before_idempotency_key(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    headers = {"webhook-id": "from-webhook", "Idempotency-Key": "from-key"}
    await client.post(f"/{instance_id}/event", json={"event": "a", "event_id": "from-body"}, headers=headers)
    await client.post(f"/{instance_id}/event", json={"event": "a"}, headers=headers)
    assert list((await engine.get(instance_id)).event_ids) == ["from-body", "from-webhook"]


async def test_a_finished_instance_takes_no_event_but_one_that_it_had_accepted(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await client.post(f"/{instance_id}/event", json={"event": "paid", "event_id": "evt_1"})
    await engine.apply(instance_id, Complete())
    refused = await client.post(f"/{instance_id}/event", json={"event": "paid", "event_id": "evt_2"})
    assert (refused.status_code, refused.json()["code"]) == (409, "instance-finished")
    again = await client.post(f"/{instance_id}/event", json={"event": "paid", "event_id": "evt_1"})
    assert (again.status_code, again.json()["duplicate"]) == (200, True)


async def test_a_full_inbox_is_429(client: httpx.AsyncClient, instance_id: str) -> None:
    for _ in range(MAX_UNREAD_EVENTS):
        await client.post(f"/{instance_id}/event", json={"event": "paid"})
    answer = await client.post(f"/{instance_id}/event", json={"event": "paid"})
    assert (answer.status_code, answer.json()["code"]) == (429, "inbox-full")


async def test_data_beyond_256_kib_is_413_and_named(client: httpx.AsyncClient, instance_id: str) -> None:
    answer = await client.post(f"/{instance_id}/event", json={"event": "e", "data": "x" * 256 * 1024})
    assert (answer.status_code, answer.json()["code"]) == (413, "event-too-large")
    assert answer.json()["detail"].startswith("data:")


async def test_an_event_name_may_be_any_text(client: httpx.AsyncClient, engine: StillEngine, instance_id: str) -> None:
    name = 'päid/"now"\n\u0000'
    await client.post(f"/{instance_id}/event", json={"event": name})
    assert (await engine.get(instance_id)).inbox[0].event == name
