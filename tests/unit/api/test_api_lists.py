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
        "id", "name", "version", "run", "revision", "status", "error", "current_step", "waiting_for", "wake_at",
        "retry_at", "blocked_reason", "max_retries", "created_at", "started_at", "completed_at", "parent_id", "tags",
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


async def test_tags_filter_and_of_several_an_instance_has_all(client: httpx.AsyncClient, engine: StillEngine) -> None:
    await engine.start("billing", id="a", tags={"customer": "7", "env": "test"})
    await engine.start("billing", id="b", tags={"customer": "7", "env": "a:b ü"})
    await engine.start("billing", id="c", tags={"customer": "8"})
    assert await listed(client, "?tag=customer:7") == ["b", "a"]
    assert await listed(client, "?tag=customer:7&tag=env:test") == ["a"]
    assert await listed(client, "?tag=env:a:b%20%C3%BC&name=billing&status=pending") == ["b"]
    assert await listed(client, "?tag=customer:7&name=onboarding") == []
    assert await listed(client, "?tag=customer:") == []
    items = (await client.get("/?tag=env:test")).json()
    assert items[0]["tags"] == {"customer": "7", "env": "test"}


async def test_the_parent_and_the_time_of_creation_filter(client: httpx.AsyncClient, engine: StillEngine) -> None:
    await engine.start("billing", id="child", parent_id="i1")
    assert await listed(client, "?parent_id=i1") == ["child"]
    assert (await client.get("/?parent_id=i1")).json()[0]["parent_id"] == "i1"
    assert await listed(client, "?parent_id=i2") == []
    created = {item["id"]: item["created_at"] for item in (await client.get("/")).json()}
    assert await listed(client, f"?started_after={created['i3']}") == ["child", "i4", "i3"]
    assert await listed(client, f"?started_before={created['i1']}") == ["i0"]
    assert await listed(client, f"?started_after={created['i1']}&started_before={created['i3']}") == ["i2", "i1"]


async def test_the_link_keeps_the_whole_filter(client: httpx.AsyncClient, engine: StillEngine) -> None:
    for number in range(5):
        tags = {"customer": "a&b:c", "even": str(number % 2 == 0)}
        await engine.start("billing", id=f"t{number}", tags=tags, parent_id="i0")
    query = "tag=customer:a%26b:c&tag=even:True&parent_id=i0&status=Pending&started_after=2026-01-01T00:00:00Z&limit=1"
    url: httpx.URL | None = httpx.URL(f"http://localhost/?{query}")
    found = []
    while url is not None:
        answer = await client.get(url)
        found += [item["id"] for item in answer.json()]
        url = url.join(answer.links["next"]["url"]) if answer.links else None
    assert found == ["t4", "t2", "t0"]


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
        ("tag=customer", "tag"),
        ("tag=customer:7&tag=customer:8", "tag"),
        ("tag=:7", "tags"),
        ("tag=a%00:7", "tags"),
        ("tag=a:%07", "tags.a"),
        ("tag=a:" + "x" * 257, "tags.a"),
        ("started_after=yesterday", "started_after"),
        ("started_before=2026-01-01", "started_before"),
        ("started_before=2026-01-01T00:00:00Z&started_before=2026-01-01T00:00:00Z", "started_before"),
        ("parent_id=a%20b", "parent_id"),
        ("name=", "name"),
        ("name=" + "x" * 129, "name"),
    ],
)
async def test_a_bad_parameter_is_400_and_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await client.get(f"/?{query}")
    codes = {"limit": "list-limit", "after": "invalid-id", "parent_id": "invalid-id", "name": "name-too-long"}
    code = "tag-limit" if "tag=a:xx" in query else codes.get(field, "invalid-input")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-input" if query == "name=" else code)
    assert answer.json()["detail"].startswith(f"{field}:")
