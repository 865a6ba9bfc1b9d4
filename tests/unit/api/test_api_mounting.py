import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from still_engine import StillEngine

from pylon_workflows.api.app import create_app


def in_starlette(api: ASGIApp) -> ASGIApp:
    return Starlette(routes=[Mount("/deep", routes=[Mount("/api/workflows", app=api)])])


def in_fastapi(api: ASGIApp) -> ASGIApp:
    app = FastAPI()
    app.mount("/deep/api/workflows", api)
    return app


def by_hand(api: ASGIApp) -> ASGIApp:
    """As a Django project does it: beside the project's own application, with a root path."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await api({**scope, "root_path": "/deep/api/workflows"}, receive, send)

    return app


@pytest.fixture(params=[in_starlette, in_fastapi, by_hand])
def app(request: pytest.FixtureRequest, engine: StillEngine) -> ASGIApp:
    mounted: ASGIApp = request.param(create_app(engine))
    return mounted


async def test_it_works_under_any_prefix(client: httpx.AsyncClient) -> None:
    prefix = "/deep/api/workflows"
    started = [(await client.post(f"{prefix}/start", json={"name": "onboarding"})).json()["id"] for _ in range(3)]
    assert (await client.get(f"{prefix}/{started[0]}")).json()["id"] == started[0]
    assert (await client.get(f"{prefix}/healthz")).status_code == 200
    assert (await client.get(f"{prefix}/a/b/c")).json()["code"] == "unknown-route"
    assert (await client.get(f"{prefix}/openapi.json")).json()["servers"] == [{"url": prefix}]
    page = await client.get(f"{prefix}/?limit=2")
    following = await client.get(page.url.join(page.links["next"]["url"]))
    assert [item["id"] for item in page.json() + following.json()] == started[::-1]


async def test_the_token_and_the_probe_work_under_a_prefix(engine: StillEngine) -> None:
    app = in_starlette(create_app(engine, token="t"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.get("/deep/api/workflows/healthz")).status_code == 200
        assert (await client.get("/deep/api/workflows/")).status_code == 401
