import httpx
import pytest
from still_engine import StillEngine

DAILY = {"cron": "0 9 * * *", "name": "onboarding"}
MADE = {
    "id": "daily",
    "cron": "0 9 * * *",
    "timezone": "Europe/Berlin",
    "name": "onboarding",
    "input": {"kind": "säles", "n": 12345678901234567},
    "missed": "skip",
    "tags": {"team": "blue"},
    "paused": False,
    "next_at": "2026-11-22T08:00:00.000Z",
    "last_at": None,
    "last_instance_id": None,
    "created_at": "2026-11-21T09:00:00.000Z",
}


async def test_a_schedule_is_made_shown_listed_paused_resumed_and_removed(
    client: httpx.AsyncClient, engine: StillEngine
) -> None:
    terms = {key: MADE[key] for key in ("id", "cron", "timezone", "name", "input", "missed", "tags")}
    made = await client.post("/schedules", json=terms)
    assert (made.status_code, made.json()) == (201, MADE)
    again = await client.post("/schedules", json=terms)
    assert (again.status_code, again.json()) == (200, MADE)
    assert (await client.get("/schedules/daily")).json() == MADE
    assert (await client.get("/schedules")).json() == [MADE]
    paused = await client.post("/schedules/daily/pause")
    assert (paused.status_code, paused.json()) == (200, {**MADE, "paused": True, "next_at": None})
    resumed = await client.post("/schedules/daily/resume")
    assert (resumed.status_code, resumed.json()) == (200, MADE)
    assert (await client.delete("/schedules/daily")).status_code == 204
    assert (await client.get("/schedules")).json() == []


async def test_the_name_and_the_cron_text_are_enough(client: httpx.AsyncClient) -> None:
    made = (await client.post("/schedules", json=DAILY)).json()
    assert (made["timezone"], made["missed"], made["input"], made["tags"]) == ("UTC", "once", {}, {})
    assert made["id"].startswith("sch_")
    with_nulls = {**DAILY, "id": None, "timezone": None, "missed": None, "tags": None}
    again = await client.post("/schedules", json=with_nulls)
    assert (again.status_code, again.json()) == (200, made)


async def test_a_null_input_stays_null(client: httpx.AsyncClient) -> None:
    assert (await client.post("/schedules", json={**DAILY, "input": None})).json()["input"] is None


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("cron", None, "invalid-input"),
        ("cron", 9, "invalid-input"),
        ("cron", "0 9 * *", "invalid-input"),
        ("cron", "0 25 * * *", "invalid-input"),
        ("cron", "9" * 300, "invalid-input"),
        ("timezone", "Mars/Olympus", "invalid-input"),
        ("timezone", "", "invalid-input"),
        ("timezone", 1, "invalid-input"),
        ("missed", "twice", "invalid-input"),
        ("missed", True, "invalid-input"),
        ("name", "", "invalid-input"),
        ("name", 7, "invalid-input"),
        ("id", "", "invalid-id"),
        ("id", "a b", "invalid-id"),
        ("id", "x" * 65, "invalid-id"),
        ("id", 7, "invalid-input"),
        ("tags", ["x"], "invalid-input"),
        ("tags", {"x": 1}, "invalid-input"),
        ("tags", {"schedule": "x"}, "invalid-input"),
        ("tags", {"a b": "x"}, "invalid-input"),
    ],
)
async def test_a_bad_field_is_400_and_named(client: httpx.AsyncClient, field: str, value: object, code: str) -> None:
    answer = await client.post("/schedules", json={**DAILY, field: value})
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["detail"].startswith(field)


async def test_a_missing_field_is_400_and_named(client: httpx.AsyncClient) -> None:
    for field in DAILY:
        answer = await client.post("/schedules", json={key: DAILY[key] for key in DAILY if key != field})
        assert (answer.status_code, answer.json()["detail"]) == (400, f"{field}: Field required")


async def test_an_unknown_workflow_is_404_and_a_large_input_413(client: httpx.AsyncClient) -> None:
    unknown = await client.post("/schedules", json={**DAILY, "name": "nobody"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown-workflow")
    large = await client.post("/schedules", json={**DAILY, "input": "x" * 1024 * 1024})
    assert large.status_code == 413


@pytest.mark.parametrize("schedule_id", ["nobody", "a%20b", "x" * 200, "history"])
async def test_one_that_there_is_not_is_404(client: httpx.AsyncClient, schedule_id: str) -> None:
    path = f"/schedules/{schedule_id}"
    for answer in (
        await client.get(path),
        await client.delete(path),
        await client.post(f"{path}/pause"),
        await client.post(f"{path}/resume"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown-schedule")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/schedules", "GET, HEAD, POST"),
        ("POST", "/schedules/daily", "DELETE, GET, HEAD"),
        ("GET", "/schedules/daily/pause", "POST"),
        ("GET", "/schedules/daily/resume", "POST"),
    ],
)
async def test_another_method_is_405(client: httpx.AsyncClient, method: str, path: str, allow: str) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_one_too_many_is_429(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pylon_workflows.schedules.MAX_SCHEDULES", 1)
    assert (await client.post("/schedules", json=DAILY)).status_code == 201
    answer = await client.post("/schedules", json={**DAILY, "id": "another"})
    assert (answer.status_code, answer.json()["code"]) == (429, "too-many-schedules")
