import json

import httpx
import pytest
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


async def test_a_start_may_have_tags_a_parent_and_a_time(client: httpx.AsyncClient, engine: StillEngine) -> None:
    body = {"name": "onboarding", "id": "a", "tags": {"b": "2", "a": "ü 1"}, "parent_id": "order-1", "delay": "1h"}
    assert (await client.post("/start", json=body)).status_code == 201
    value = (await client.get("/a")).json()
    assert value["tags"] == {"a": "ü 1", "b": "2"}
    assert value["parent_id"] == "order-1"
    assert value["parent"] == {"workflow_id": "order-1", "key": None, "run": None}
    assert (value["status"], value["wake_at"]) == ("pending", engine.clock.now().timestamp() + 3600)
    for later in ({"delay": 90}, {"delay": 1.5}, {"at": "2026-11-21T12:00:00+01:00"}, {"delay": None, "at": None}):
        assert (await client.post("/start", json={"name": "onboarding", **later})).status_code == 201


async def test_a_repeated_start_leaves_the_first_ones_tags_and_time(client: httpx.AsyncClient) -> None:
    first = await client.post("/start", json={"name": "onboarding", "id": "a", "tags": {"n": "1"}, "delay": "1h"})
    again = await client.post("/start", json={"name": "onboarding", "id": "a", "tags": {"n": "2"}, "parent_id": "x"})
    assert (first.status_code, again.status_code) == (201, 200)
    value = (await client.get("/a")).json()
    assert (value["tags"], value["parent_id"]) == ({"n": "1"}, None)
    assert value["wake_at"] is not None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tags": ["a"]}, "tags"),
        ({"tags": {"a": 1}}, "tags.a"),
        ({"tags": {"a": "x" * 257}}, "tags.a"),
        ({"tags": {"a": "\n"}}, "tags.a"),
        ({"tags": {"": "x"}}, "tags"),
        ({"tags": {"a b": "x"}}, "tags"),
        ({"tags": {"x" * 65: "x"}}, "tags"),
        ({"tags": {f"t{number}": "" for number in range(33)}}, "tags"),
        ({"delay": "soon"}, "delay"),
        ({"delay": -1}, "delay"),
        ({"delay": True}, "delay"),
        ({"delay": "101y"}, "delay"),
        ({"delay": 1e300}, "delay"),
        ({"delay": []}, "delay"),
        ({"delay": 1, "at": "2026-11-21T12:00:00Z"}, "delay"),
        ({"at": "2026-11-21"}, "at"),
        ({"at": "2026-11-21T12:00:00"}, "at"),
        ({"at": 1796202000}, "at"),
        ({"at": "2200-11-21T12:00:00Z"}, "at"),
        ({"parent_id": "a b"}, "parent_id"),
        ({"parent_id": 7}, "parent_id"),
    ],
)
async def test_a_bad_option_is_400_and_named_and_starts_nothing(
    client: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    answer = await client.post("/start", json={"name": "onboarding", **body})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{field}")
    assert (await client.get("/")).json() == []
