"""Tokens of the engine's file: what each may do, route by route."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from listening import reading
from starlette.applications import Starlette
from starlette.routing import Route
from still_engine import StillEngine, TroubledEngine

from pylon_workflows.api import auth, live_handlers
from pylon_workflows.api.app import create_app
from pylon_workflows.api.openapi import OPERATIONS
from pylon_workflows.api.scopes import OPEN, SCOPES, scope_of
from pylon_workflows.errors import EngineNotRunningError, InvalidInputError, NoOwnerError
from pylon_workflows.tokens import SCOPES as ALL_SCOPES
from runner_protocol.messages import StepComplete

OPERATIONS_OF_API = sorted((path, method.upper()) for path, method in OPERATIONS)
OUTSIDE = ("203.0.113.9", 5)


@pytest.fixture
async def outside(engine: StillEngine) -> AsyncIterator[httpx.AsyncClient]:
    """A caller on another machine, without a token of its own."""
    transport = httpx.ASGITransport(create_app(engine), client=OUTSIDE)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
        yield client


def bearing(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def test_every_route_of_the_api_has_exactly_one_scope_and_there_are_no_others() -> None:
    app = create_app(StillEngine())
    assert isinstance(app, Starlette)
    paths = {route.path.replace(":path", "") for route in app.routes if isinstance(route, Route)} - {"/{rest}"}
    assert set(SCOPES) | OPEN == set(OPERATIONS_OF_API)
    assert {path for path, _ in set(SCOPES) | OPEN} == paths
    assert not set(SCOPES) & OPEN
    assert set(SCOPES.values()) == set(ALL_SCOPES)


def test_a_route_that_the_table_does_not_have_wants_admin() -> None:
    assert scope_of("/new", "POST") == "admin"
    assert scope_of("/{id}/history", "HEAD") == "read"


@pytest.mark.parametrize(("path", "method"), OPERATIONS_OF_API)
async def test_a_route_opens_to_its_own_scope_and_to_admin_alone(
    engine: StillEngine, outside: httpx.AsyncClient, path: str, method: str
) -> None:
    wanted = scope_of(path, method)
    where = path.replace("{id}", "wf_nobody").replace("{key}", "approval:gate")
    asked = "HEAD" if path == "/stream" else method  # whose answer does not end
    for scope in ALL_SCOPES:
        text = await engine.create_token([scope])
        answer = await outside.request(asked, where, headers=bearing(text))
        if asked == "HEAD":
            assert (answer.status_code == 403) == (scope not in (wanted, "admin"))
        elif wanted in (None, scope) or scope == "admin":
            assert answer.status_code not in (401, 403), scope
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "missing-scope")
            assert answer.headers["www-authenticate"] == (
                f'Bearer realm="pylon-workflows", error="insufficient_scope", scope="{wanted}"'
            )
            assert answer.json()["detail"] == f"this wants a token with the scope {wanted}; this one has {scope}"


async def test_a_token_with_several_scopes_may_do_what_each_may(
    engine: StillEngine, outside: httpx.AsyncClient
) -> None:
    headers = bearing(await engine.create_token(["start", "event"]))
    started = await outside.post("/start", json={"name": "onboarding"}, headers=headers)
    assert started.status_code == 201
    sent = await outside.post(f"/{started.json()['id']}/event", json={"event": "paid"}, headers=headers)
    assert sent.status_code == 200
    assert (await outside.get(f"/{started.json()['id']}", headers=headers)).status_code == 403


async def test_to_publish_what_may_start_something_wants_the_scope_for_that_too(
    engine: StillEngine, outside: httpx.AsyncClient
) -> None:
    event = {"event": "paid", "correlation": "order:7"}
    for scopes, status in ((["event"], 403), (["event", "start"], 200), (["admin"], 200)):
        headers = bearing(await engine.create_token(scopes))
        assert (await outside.post("/events", json=event, headers=headers)).status_code == 200
        starting = await outside.post("/events", json=event | {"start": {"name": "onboarding"}}, headers=headers)
        assert starting.status_code == status


async def test_as_soon_as_there_is_a_token_nobody_is_answered_without(
    engine: StillEngine, client: httpx.AsyncClient
) -> None:
    assert (await client.get("/")).status_code == 200
    text = await engine.create_token(["read"])
    refused = await client.get("/")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert (await client.get("/", headers=bearing(text))).status_code == 200
    assert (await client.get("/healthz")).status_code == 200
    await engine.revoke_token(text)
    assert (await client.get("/")).status_code == 200


async def test_a_token_that_was_revoked_counts_no_more_at_once(engine: StillEngine, outside: httpx.AsyncClient) -> None:
    one, other = [await engine.create_token(["read"]) for _ in range(2)]
    await engine.revoke_token(one)
    assert [(await outside.get("/", headers=bearing(text))).status_code for text in (one, other)] == [401, 200]


@pytest.mark.parametrize("kind", ["revoked", "expired"])
async def test_a_stream_ends_when_its_token_counts_no_more(
    engine: StillEngine, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(live_handlers, "_QUIET_S", 0.0)
    text = await engine.create_token(["read"], expires_in=timedelta(minutes=1))
    await engine.start_or_find("onboarding", id="a")
    async with reading(create_app(engine), "/a/stream", authorization=f"Bearer {text}") as reader:
        await reader.read(1)
        await engine.apply("a", StepComplete(step_name="one"))
        await reader.read(2)
        assert not reader.is_over
        if kind == "revoked":
            await engine.revoke_token(text)
            engine.clock.advance(auth.LOOK_AGAIN_S)
        else:
            engine.clock.advance(timedelta(minutes=1))
        await engine.apply("a", StepComplete(step_name="secret"))
        await reader.until(lambda reader: reader.is_over)
        assert b"secret" not in reader.body


async def test_a_token_that_has_expired_lets_nobody_in_and_is_no_open_door(
    engine: StillEngine, outside: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    text = await engine.create_token(["read"], expires_in=timedelta(days=90))
    engine.clock.advance(timedelta(days=90, microseconds=-1))
    assert (await outside.get("/", headers=bearing(text))).status_code == 200
    engine.clock.advance(timedelta(microseconds=1))
    answer = await outside.get("/", headers=bearing(text))
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert "has expired" in answer.json()["detail"]
    assert (await client.get("/")).status_code == 401


async def test_whose_secret_is_wrong_hears_what_a_stranger_hears(
    engine: StillEngine, outside: httpx.AsyncClient
) -> None:
    text = await engine.create_token(["read"], expires_in=timedelta(days=1))
    engine.clock.advance(timedelta(days=1))
    _, token_id, secret = text.split("_")
    wrong = f"pw_{token_id}_{secret[::-1]}"
    strangers = f"pw_{token_id[::-1]}_{secret}"
    answers = [await outside.get("/", headers=bearing(each)) for each in (wrong, strangers, "pw_", "s3cret")]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert "expired" not in answers[0].text


async def test_the_programs_own_token_counts_beside_those_of_the_file(engine: StillEngine) -> None:
    text = await engine.create_token(["read"])
    transport = httpx.ASGITransport(create_app(engine, token="s3cret"), client=OUTSIDE)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
        for each, status in (("s3cret", 201), (text, 403), ("other", 401)):
            answer = await client.post("/start", json={"name": "onboarding"}, headers=bearing(each))
            assert answer.status_code == status


async def test_a_token_of_the_file_cannot_be_the_programs_own_which_no_revoking_ends(engine: StillEngine) -> None:
    text = await engine.create_token(["read"])
    with pytest.raises(InvalidInputError, match="token: is one of those that `token create` makes") as caught:
        create_app(engine, token=text)
    assert text not in str(caught.value)


@pytest.mark.parametrize("trouble", [EngineNotRunningError("not yet"), NoOwnerError("nobody")])
async def test_while_tokens_cannot_be_looked_up_nobody_is_let_in(trouble: Exception) -> None:
    engine: Any = TroubledEngine(trouble)
    engine.find_token = engine.has_tokens = engine._raise
    transport = httpx.ASGITransport(create_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for headers in ({}, bearing("pw_" + "a" * 12 + "_" + "b" * 43)):
            answer = await client.get("/definitions", headers=headers)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
