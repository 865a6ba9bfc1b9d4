import json

import httpx
from still_engine import StillEngine


async def test_a_start_answers_201_with_the_id(client: httpx.AsyncClient, engine: StillEngine) -> None:
    answer = await client.post("/start", json={"name": "onboarding", "input": {"user": "alice"}})
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert (await engine.get(answer.json()["id"])).input == {"user": "alice"}


async def test_the_input_is_an_empty_object_when_absent_and_null_when_null(
    client: httpx.AsyncClient, engine: StillEngine
) -> None:
    absent = await client.post("/start", json={"name": "onboarding"})
    null = await client.post("/start", json={"name": "onboarding", "input": None})
    assert (await engine.get(absent.json()["id"])).input == {}
    assert (await engine.get(null.json()["id"])).input is None


async def test_a_start_takes_an_id_of_the_callers(client: httpx.AsyncClient) -> None:
    answer = await client.post("/start", json={"name": "onboarding", "id": "order:7.a-B_c"})
    assert answer.json() == {"id": "order:7.a-B_c"}
    assert (await client.get("/order:7.a-B_c")).json()["name"] == "onboarding"


async def test_a_repeated_start_answers_200_with_the_first_ones_id(client: httpx.AsyncClient) -> None:
    body = {"name": "onboarding", "input": {"a": 1, "b": 2}, "idempotency_key": "signup-42"}
    first = await client.post("/start", json=body)
    again = await client.post("/start", json={**body, "input": {"b": 2, "a": 1.0}})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


async def test_a_repeated_start_with_another_input_is_409(client: httpx.AsyncClient) -> None:
    await client.post("/start", json={"name": "onboarding", "idempotency_key": "k"})
    answer = await client.post("/start", json={"name": "onboarding", "idempotency_key": "k", "input": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "start-conflict")


async def test_the_idempotency_key_may_stand_in_the_header(client: httpx.AsyncClient) -> None:
    header = await client.post("/start", json={"name": "onboarding"}, headers={"Idempotency-Key": "k-1"})
    body = await client.post("/start", json={"name": "onboarding", "idempotency_key": "k-1"})
    both = await client.post(
        "/start", json={"name": "onboarding", "idempotency_key": "k-1"}, headers={"Idempotency-Key": "k-1"}
    )
    assert [answer.status_code for answer in (header, body, both)] == [201, 200, 200]


async def test_two_different_idempotency_keys_are_400(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/start", json={"name": "onboarding", "idempotency_key": "a"}, headers={"Idempotency-Key": "b"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-input")
    assert "idempotency_key" in answer.json()["detail"]


async def test_an_unknown_workflow_is_404_and_the_known_ones_are_named(client: httpx.AsyncClient) -> None:
    answer = await client.post("/start", json={"name": "onbording"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-workflow")
    assert "onboarding" in answer.json()["detail"]


async def test_any_content_type_and_unknown_fields_are_tolerated(client: httpx.AsyncClient) -> None:
    body = json.dumps({"name": "onboarding", "later": True})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"):
        answer = await client.post("/start", content=body, headers={"content-type": kind})
        assert answer.status_code == 201


async def test_json_comes_back_equal(client: httpx.AsyncClient) -> None:
    text = '{"b":[18446744073709551615,-9223372036854775808,1e300,0.1],"a":"\\u0000\\ud83d\\ude00 é","":{}}'
    started = await client.post("/start", content=f'{{"name":"onboarding","input":{text}}}')
    answer = await client.get(f"/{started.json()['id']}")
    assert json.loads(text) == answer.json()["input"]
    assert list(answer.json()["input"]) == ["b", "a", ""]


async def test_a_value_may_nest_to_the_limit_whatever_the_envelope(client: httpx.AsyncClient) -> None:
    answer = await client.post("/start", content='{"name":"onboarding","input":' + "[" * 64 + "]" * 64 + "}")
    assert answer.status_code == 201


async def test_a_large_body_is_read_whole(client: httpx.AsyncClient, engine: StillEngine) -> None:
    answer = await client.post("/start", json={"name": "onboarding", "input": "é" * 100_000})
    assert (await engine.get(answer.json()["id"])).input == "é" * 100_000
