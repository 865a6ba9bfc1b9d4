import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows.core.instance import Status
from pylon_workflows.testing import wait_until
from runner_protocol.messages import WaitEvent

PAID = {"event": "paid", "correlation": "order:7"}


async def settled(engine: StillEngine) -> None:
    await wait_until(lambda: engine._engine._matcher.is_idle)


async def test_an_event_goes_to_whoever_waits_with_its_key(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await engine.apply(instance_id, WaitEvent(event="paid", correlation="order:7"))
    answer = await client.post("/events", json={**PAID, "data": {"sum": 5}})
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "duplicate": False})
    await settled(engine)
    assert (await client.get(f"/{instance_id}")).json()["steps"][0]["output"] == {"sum": 5}


async def test_data_is_an_empty_object_when_absent_and_null_when_null(
    client: httpx.AsyncClient, engine: StillEngine, instance_id: str
) -> None:
    await client.post("/events", json=PAID)
    await client.post("/events", json={**PAID, "data": None, "event_id": None, "start": None})
    outputs = []
    for _ in range(2):
        await engine.apply(instance_id, WaitEvent(event="paid", correlation="order:7"))
        await settled(engine)
        outputs.append((await engine.get(instance_id)).steps[-1].output)
    assert outputs == [{}, None]


async def test_nobody_waiting_it_starts_what_the_body_says(client: httpx.AsyncClient, engine: StillEngine) -> None:
    start = {"name": "onboarding", "input": {"n": 7}, "id": "order-7", "tags": {"team": "blue"}}
    assert (await client.post("/events", json={**PAID, "start": start})).status_code == 200
    await settled(engine)
    instance = await engine.get("order-7")
    assert (instance.input, instance.tags, instance.status) == ({"n": 7}, {"team": "blue"}, Status.PENDING)
    await client.post("/events", json={**PAID, "start": {"name": "onboarding"}})
    await settled(engine)
    assert (await engine.list())[0].id.startswith("wf_")


@pytest.mark.parametrize("header", ["webhook-id", "Idempotency-Key"])
async def test_a_known_event_id_is_a_duplicate_within_its_source(client: httpx.AsyncClient, header: str) -> None:
    first = await client.post("/events", json={**PAID, "event_id": "evt_1"})
    again = await client.post("/events", json=PAID, headers={header: "evt_1"})
    other = await client.post("/events", json={**PAID, "source": "shop"}, headers={header: "evt_1"})
    found = [(answer.status_code, answer.json()["duplicate"]) for answer in (first, again, other)]
    assert found == [(200, False), (200, True), (200, False)]


async def test_the_body_goes_before_webhook_id_and_that_before_idempotency_key(client: httpx.AsyncClient) -> None:
    headers = {"webhook-id": "from-webhook", "Idempotency-Key": "from-key"}
    sent = [{**PAID, "event_id": "from-body"}, PAID, {**PAID, "event_id": "from-key"}]
    answers = [await client.post("/events", json=body, headers=headers) for body in sent]
    assert [answer.json()["duplicate"] for answer in answers] == [False, False, False]


@pytest.mark.parametrize(
    ("field", "value", "status", "code"),
    [
        ("event", "", 400, "invalid-input"),
        ("event", "x" * 129, 400, "name-too-long"),
        ("event", None, 400, "invalid-input"),
        ("correlation", "", 400, "invalid-input"),
        ("correlation", "x" * 513, 400, "correlation-too-long"),
        ("correlation", 7, 400, "invalid-input"),
        ("event_id", "", 400, "invalid-input"),
        ("event_id", "x" * 129, 400, "name-too-long"),
        ("source", "a/b", 400, "invalid-input"),
        ("source", None, 400, "invalid-input"),
        ("data", "x" * 256 * 1024, 413, "event-too-large"),
        ("start", [], 400, "invalid-input"),
        ("start", {}, 400, "invalid-input"),
        ("start", {"name": "onboarding", "id": "a b"}, 400, "invalid-id"),
        ("start", {"name": "onboarding", "id": "events"}, 400, "reserved-id"),
        ("start", {"name": "onboarding", "input": "x" * 1024 * 1024}, 413, "body-too-large"),
        ("start", {"name": "nobody"}, 404, "unknown-workflow"),
    ],
)
async def test_a_bad_field_is_named(
    client: httpx.AsyncClient, field: str, value: object, status: int, code: str
) -> None:
    answer = await client.post("/events", json={**PAID, field: value})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if status == 400:
        assert answer.json()["detail"].startswith(field)


@pytest.mark.parametrize("field", ["event", "correlation"])
async def test_a_missing_field_is_400_and_named(client: httpx.AsyncClient, field: str) -> None:
    answer = await client.post("/events", json={key: PAID[key] for key in PAID if key != field})
    assert (answer.status_code, answer.json()["detail"]) == (400, f"{field}: Field required")


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("place", ["data", "start"])
async def test_a_value_may_be_nested_64_deep_wherever_it_stands(client: httpx.AsyncClient, place: str) -> None:
    def body(depth: int) -> dict[str, object]:
        value = nested(depth)
        return {**PAID, place: value if place == "data" else {"name": "onboarding", "input": value}}

    assert (await client.post("/events", json=body(64))).status_code == 200
    for depth in (65, 66, 100):
        answer = await client.post("/events", json=body(depth))
        assert (answer.status_code, answer.json()["code"]) == (400, "too-deep")
        assert answer.json()["detail"].startswith(place)


async def test_one_too_many_for_a_key_is_429(client: httpx.AsyncClient, engine: StillEngine) -> None:
    engine._engine._publishing._most = 1
    assert (await client.post("/events", json=PAID)).status_code == 200
    answer = await client.post("/events", json=PAID)
    assert (answer.status_code, answer.json()["code"]) == (429, "kept-events-full")


async def test_another_method_is_405(client: httpx.AsyncClient) -> None:
    answer = await client.get("/events")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
