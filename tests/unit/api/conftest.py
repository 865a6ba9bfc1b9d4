from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import ASGIApp
from still_engine import StillEngine

from pylon_workflows.api.app import create_app
from pylon_workflows.definitions import WorkflowDefinition


@pytest.fixture
async def engine() -> AsyncIterator[StillEngine]:
    engine = StillEngine()
    engine.register(WorkflowDefinition("onboarding", version="7", description="Welcome"))
    async with engine:
        yield engine


@pytest.fixture
def app(engine: StillEngine) -> ASGIApp:
    return create_app(engine)


@pytest.fixture
async def client(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def instance_id(engine: StillEngine) -> str:
    return (await engine.start_or_find("onboarding", {"user": "alice"}, id="wf_alice")).id
