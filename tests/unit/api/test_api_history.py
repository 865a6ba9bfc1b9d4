import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows.exports import read_export
from pylon_workflows.ports import HistoryPage
from runner_protocol.messages import Complete, Sleep, StepComplete


@pytest.fixture(autouse=True)
async def steps(engine: StillEngine, instance_id: str) -> None:
    for number in range(5):
        await engine.apply(instance_id, StepComplete(step_name="n", output={"n": number}))
    await engine.apply(instance_id, Complete(output="done"))


async def test_the_link_leads_through_all_pages(client: httpx.AsyncClient) -> None:
    url: httpx.URL | None = httpx.URL("http://localhost/wf_alice/history?limit=3")
    pages = []
    while url is not None:
        answer = await client.get(url)
        assert answer.status_code == 200
        pages.append([entry["revision"] for entry in answer.json()])
        url = url.join(answer.links["next"]["url"]) if answer.links else None
    assert pages == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert (await client.get("/wf_alice/history?after=8")).json() == []
    assert (await client.get("/wf_alice/history?after=6")).json()[0]["output"] == {"n": 4}


async def test_an_instance_is_shown_as_it_was_at_a_revision(client: httpx.AsyncClient) -> None:
    now = (await client.get("/wf_alice")).json()
    assert (now["revision"], now["status"]) == (8, "completed")
    assert (await client.get("/wf_alice?as_of=8")).json() == now
    then = (await client.get("/wf_alice?as_of=4")).json()
    assert (then["revision"], then["status"], then["output"]) == (4, "running", None)
    assert [step["output"] for step in then["steps"]] == [{"n": 0}, {"n": 1}]
    first = (await client.get("/wf_alice?as_of=1")).json()
    assert (first["status"], first["steps"], first["started_at"]) == ("pending", [], None)


async def test_a_history_tells_times_to_the_microsecond(client: httpx.AsyncClient, engine: StillEngine) -> None:
    await engine.start("onboarding", id="late")
    engine.clock.advance(0.000001)
    await engine.apply("late", Sleep(duration="1.5ms"))
    sleep = (await client.get("/late/history")).json()[-1]
    assert (sleep["at"][-8:], sleep["due_at"][-8:]) == (".000001Z", ".001501Z")


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("history?limit=0", "history-limit", "limit:"),
        ("history?limit=1001", "history-limit", "limit:"),
        ("history?limit=x", "history-limit", "limit:"),
        ("history?after=-1", "invalid-input", "after:"),
        ("history?after=x", "invalid-input", "after:"),
        ("history?after=1&after=2", "invalid-input", "after:"),
        ("?as_of=0", "invalid-input", "as_of: must be from 1 to 8"),
        ("?as_of=9", "invalid-input", "as_of: must be from 1 to 8"),
        ("?as_of=now", "invalid-input", "as_of:"),
        ("?as_of=", "invalid-input", "as_of:"),
    ],
)
async def test_a_bad_parameter_is_400_and_named(client: httpx.AsyncClient, query: str, code: str, words: str) -> None:
    answer = await client.get(f"/wf_alice/{query}" if query.startswith("history") else f"/wf_alice{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["detail"].startswith(words)


async def test_an_unknown_instance_is_404(client: httpx.AsyncClient) -> None:
    for path in ("/nobody/history?limit=1", "/nobody?as_of=1"):
        assert (await client.get(path)).json()["code"] == "unknown-instance"


async def test_an_export_is_the_whole_history_whatever_its_pages(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, engine: StillEngine
) -> None:
    answer = await client.get("/wf_alice/export")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'attachment; filename="wf_alice.json"'
    assert answer.json()["history"] == (await client.get("/wf_alice/history")).json()
    instance, history = read_export(answer.content)
    assert (instance, history) == (await engine.get("wf_alice"), await engine.history("wf_alice"))
    whole = engine.history_page

    async def short(instance_id: str, *, after: int = 0, limit: int = 3) -> HistoryPage:
        return await whole(instance_id, after=after, limit=3)

    monkeypatch.setattr(engine, "history_page", short)
    assert (await client.get("/wf_alice/export")).json()["history"] == answer.json()["history"]
    head = await client.head("/wf_alice/export")
    assert (head.status_code, head.content) == (200, b"")
    assert (await client.get("/nobody/export")).status_code == 404
