"""The host application's own judgement of who may call."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from still_engine import StillEngine

from pylon_workflows.api.app import create_app


async def ask(
    engine: StillEngine, authorize: Any, method: str = "GET", path: str = "/", *, token: str | None = None, **more: Any
) -> httpx.Response:
    app = create_app(engine, token=token, authorize=authorize, cors_origins=["https://app.example"])
    transport = httpx.ASGITransport(app, client=("203.0.113.9", 5), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example") as client:
        return await client.request(method, path, **more)


async def aware(request: Request) -> bool:
    await asyncio.sleep(0)
    return request.cookies.get("session") == "alice"


class Session:
    async def __call__(self, request: Request) -> bool:
        return await aware(request)


@pytest.mark.parametrize("authorize", [aware, Session(), lambda request: request.cookies.get("session") == "alice"])
async def test_a_function_of_the_application_decides(engine: StillEngine, authorize: Any) -> None:
    assert (await ask(engine, authorize, headers={"cookie": "session=alice"})).status_code == 200
    refused = await ask(engine, authorize, headers={"cookie": "session=mallory"})
    assert (refused.status_code, refused.json()["code"]) == (403, "not-allowed")


async def test_a_plain_function_may_wait_without_holding_up_others(engine: StillEngine) -> None:
    is_asked, may_go = threading.Event(), threading.Event()

    def slow(_request: Request) -> bool:
        is_asked.set()
        return may_go.wait(10)

    asking = asyncio.create_task(ask(engine, slow))
    assert await asyncio.to_thread(is_asked.wait, 10)
    may_go.set()
    assert (await asking).status_code == 200


@pytest.mark.parametrize("granted", [["read"], {"read"}, ("read", "start"), frozenset({"read"})])
async def test_it_may_grant_scopes(engine: StillEngine, granted: Any) -> None:
    assert (await ask(engine, lambda _: granted)).status_code == 200
    refused = await ask(engine, lambda _: granted, "POST", "/cancel", json={"all": True})
    assert (refused.status_code, refused.json()["code"]) == (403, "missing-scope")


async def test_no_scopes_is_somebody_who_may_do_nothing(engine: StillEngine) -> None:
    answer = await ask(engine, lambda _: [])
    assert (answer.status_code, answer.json()["detail"]) == (
        403,
        "this wants a token with the scope read; this one has none",
    )


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "not-allowed"), (429, "refused")])
async def test_it_may_raise_what_is_answered(engine: StillEngine, status: int, code: str) -> None:
    def refuse(_request: Request) -> bool:
        raise HTTPException(status, "log in first", headers={"www-authenticate": "Cookie"})

    answer = await ask(engine, refuse)
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (status, code, "log in first")
    assert answer.headers["www-authenticate"] == "Cookie"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("decided", ["read", 1, 0, "yes", object(), ["everything"], {"read": True}])
async def test_an_answer_that_is_none_lets_nobody_in(engine: StillEngine, decided: Any) -> None:
    answer = await ask(engine, lambda _: decided)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "onboarding" not in answer.text


async def test_an_error_of_its_own_lets_nobody_in_and_is_logged(
    engine: StillEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_request: Request) -> bool:
        raise KeyError("session")

    answer = await ask(engine, fail)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "KeyError" in caplog.text


async def test_tokens_count_before_it_is_asked(engine: StillEngine) -> None:
    def never(_request: Request) -> bool:
        raise AssertionError("it was asked")

    text = await engine.create_token(["read"])
    for each in (text, "s3cret"):
        answer = await ask(engine, never, token="s3cret", headers={"authorization": f"Bearer {each}"})
        assert answer.status_code == 200


async def test_it_is_asked_about_a_token_that_is_not_ours(engine: StillEngine) -> None:
    def knows(request: Request) -> bool:
        return request.headers["authorization"] == "Bearer eyJhbGciOi"

    await engine.create_token(["read"])
    assert (await ask(engine, knows, headers={"authorization": "Bearer eyJhbGciOi"})).status_code == 200
    assert (await ask(engine, knows, headers={"authorization": "Bearer other"})).status_code == 403


async def test_it_sees_the_head_and_leaves_the_body_to_the_api(engine: StillEngine) -> None:
    seen = []

    async def look(request: Request) -> bool:
        seen.append((request.method, request.url.path, request.headers["content-length"]))
        with pytest.raises(RuntimeError):
            await request.body()
        return True

    answer = await ask(engine, look, "POST", "/start", json={"name": "onboarding"})
    assert (answer.status_code, seen) == (201, [("POST", "/start", "21")])


async def test_a_probe_is_not_asked_about(engine: StillEngine) -> None:
    assert (await ask(engine, lambda _: False, path="/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://api.example", 201),
        ("https://app.example", 201),
        (None, 201),
        ("https://evil.example", 403),
        ("https://api.example.evil.example", 403),
        ("null", 403),
    ],
)
async def test_a_page_of_another_site_cannot_use_the_visitors_session(
    engine: StillEngine, origin: str | None, status: int
) -> None:
    headers = {"cookie": "session=alice", "content-type": "text/plain"} | ({"origin": origin} if origin else {})
    answer = await ask(engine, aware, "POST", "/start", content='{"name":"onboarding"}', headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "foreign-origin"
    reading = await ask(engine, aware, headers=headers)
    assert (reading.status_code, "access-control-allow-origin" in reading.headers) == (
        200,
        origin == "https://app.example",
    )
