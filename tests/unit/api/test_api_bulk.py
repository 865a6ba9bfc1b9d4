import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows.definitions import WorkflowDefinition
from runner_protocol.messages import Complete


@pytest.fixture(autouse=True)
async def instances(engine: StillEngine) -> None:
    engine.register(WorkflowDefinition("billing"))
    for number in range(5):
        name = "onboarding" if number % 2 == 0 else "billing"
        await engine.start(name, {"n": number}, id=f"i{number}", tags={"n": str(number)}, parent_id="i0")
    await engine.block("i3")
    await engine.apply("i4", Complete())


async def statuses(client: httpx.AsyncClient) -> dict[str, str]:
    return {item["id"]: item["status"] for item in (await client.get("/")).json()}


async def test_cancel_takes_a_filter_and_answers_how_many(client: httpx.AsyncClient) -> None:
    answer = await client.post("/cancel", json={"name": "onboarding"})
    assert (answer.status_code, answer.json()) == (200, {"count": 2, "failures": [], "after": None})
    assert await statuses(client) == {
        "i0": "cancelled", "i1": "pending", "i2": "cancelled", "i3": "blocked", "i4": "completed"
    }  # fmt: skip


async def test_the_words_are_those_of_a_list_and_pages_follow_the_cursor(client: httpx.AsyncClient) -> None:
    body = {
        "status": ["Pending", "waiting", "blocked"], "started_after": "2026-01-01T00:00:00Z", "parent_id": "i0",
        "started_before": "2999-01-01T00:00:00Z", "limit": 3,
    }  # fmt: skip
    counted = (await client.post("/cancel", json={**body, "dry_run": True})).json()
    assert counted == {"count": 3, "failures": [], "after": "i1"}
    first = (await client.post("/cancel", json=body)).json()
    assert first == counted
    assert (await client.post("/cancel", json={**body, "after": first["after"]})).json()["count"] == 1


async def test_resume_lets_the_blocked_go_on(client: httpx.AsyncClient) -> None:
    assert (await client.post("/resume", json={"tags": {"n": "2"}})).json()["count"] == 0
    assert (await client.post("/resume", json={"status": "blocked", "tags": {"n": "3"}})).json()["count"] == 1
    assert (await statuses(client))["i3"] == "running"


async def test_everything_must_be_asked_for(client: httpx.AsyncClient) -> None:
    for empty in ({}, {"all": False}, {"status": None}, {"tags": {}}, {"status": []}):
        answer = await client.post("/cancel", json=empty)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-input")
        assert answer.json()["detail"].startswith("all:")
    assert (await client.post("/cancel", json={"all": True})).json()["count"] == 4


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"nam": "billing", "all": True}, "nam"),
        ({"all": True, "name": "billing"}, "all"),
        ({"all": "yes"}, "all"),
        ({"status": "runing"}, "status"),
        ({"status": "completed"}, "status"),
        ({"status": 1}, "status"),
        ({"tags": {"n": 1}}, "tags.n"),
        ({"tags": {"a b": "1"}}, "tags"),
        ({"started_after": "yesterday"}, "started_after"),
        ({"parent_id": "a b"}, "parent_id"),
        ({"name": "billing", "limit": 0}, "limit"),
        ({"name": "billing", "limit": 201}, "limit"),
        ({"name": "billing", "after": "a b"}, "after"),
    ],
)
async def test_what_is_not_understood_changes_nothing(
    client: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    before = await statuses(client)
    answer = await client.post("/cancel", json=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(field)
    assert await statuses(client) == before


async def test_other_methods_are_told(client: httpx.AsyncClient) -> None:
    for word in ("cancel", "resume"):
        assert (await client.get(f"/{word}")).status_code == 405
