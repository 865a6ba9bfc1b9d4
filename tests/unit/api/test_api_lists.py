import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows.definitions import WorkflowDefinition
from runner_protocol.messages import Complete, Sleep, WaitEvent


@pytest.fixture(autouse=True)
async def instances(engine: StillEngine) -> None:
    engine.register(WorkflowDefinition("billing"))
    for number in range(5):
        await engine.start_or_find("onboarding" if number % 2 == 0 else "billing", {"n": number}, id=f"i{number}")
    await engine.apply("i1", WaitEvent(event="paid"))
    await engine.apply("i2", Sleep(duration="1h"))
    await engine.apply("i3", Complete())


async def listed(client: httpx.AsyncClient, query: str = "") -> list[str]:
    answer = await client.get(f"/{query}")
    assert answer.status_code == 200
    return [item["id"] for item in answer.json()]


async def test_the_newest_come_first_without_input_output_and_steps(client: httpx.AsyncClient) -> None:
    items = (await client.get("/")).json()
    assert [item["id"] for item in items] == ["i4", "i3", "i2", "i1", "i0"]
    assert list(items[0]) == [
        "id", "name", "version", "run", "status", "error", "current_step", "waiting_for", "wake_at", "retry_at",
        "blocked_reason", "max_retries", "created_at", "started_at", "completed_at",
    ]  # fmt: skip
    assert items[3]["waiting_for"] == "paid"
    assert items[2]["wake_at"] is not None


@pytest.mark.parametrize(
    ("word", "ids"),
    [
        ("pending", ["i4", "i0"]),
        ("PENDING", ["i4", "i0"]),
        ("Waiting", ["i1"]),
        ("waiting_for_event", ["i1"]),
        ("sleeping", ["i2"]),
        ("completed", ["i3"]),
        ("running", []),
        ("failed", []),
        ("cancelled", []),
        ("blocked", []),
    ],
)
async def test_status_words_filter_in_any_case(client: httpx.AsyncClient, word: str, ids: list[str]) -> None:
    assert await listed(client, f"?status={word}") == ids


async def test_a_name_filters(client: httpx.AsyncClient) -> None:
    assert await listed(client, "?name=billing") == ["i3", "i1"]
    assert await listed(client, "?name=billing&status=waiting") == ["i1"]
    assert await listed(client, "?name=nobody") == []


async def test_the_link_leads_through_all_pages_and_ends(client: httpx.AsyncClient) -> None:
    url: httpx.URL | None = httpx.URL("http://localhost/?name=onboarding&limit=2")
    pages = []
    while url is not None:
        answer = await client.get(url)
        pages.append([item["id"] for item in answer.json()])
        url = url.join(answer.links["next"]["url"]) if answer.links else None
    assert pages == [["i4", "i2"], ["i0"]]


async def test_a_page_that_is_just_full_names_no_next_one(client: httpx.AsyncClient) -> None:
    assert "link" not in (await client.get("/?limit=5")).headers
    assert "link" in (await client.get("/?limit=1&status=Pending")).headers


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=runing", "status"),
        ("status=", "status"),
        ("status=running&status=failed", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1_0", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=99999999999", "limit"),
        ("limit=", "limit"),
        ("after=a%20b", "after"),
        ("after=", "after"),
        ("name=", "name"),
        ("name=" + "x" * 129, "name"),
    ],
)
async def test_a_bad_parameter_is_400_and_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await client.get(f"/?{query}")
    code = {"limit": "list-limit", "after": "invalid-id", "name": "name-too-long"}.get(field, "invalid-input")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-input" if query == "name=" else code)
    assert answer.json()["detail"].startswith(f"{field}:")
