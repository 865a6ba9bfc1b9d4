from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from hook_signing import AT, SECRET, MakeClient

from pylon_workflows import WorkflowDefinition, WorkflowEngine
from pylon_workflows.hooks import HookSource, Stripe, create_hooks_app
from pylon_workflows.testing import FakeClock, engine_in_memory


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime.fromtimestamp(AT, UTC))


@pytest.fixture
async def engine(clock: FakeClock) -> AsyncIterator[WorkflowEngine]:
    """Without a runner: a test gives the answers, with `apply`."""
    engine = engine_in_memory(None, clock=clock)
    engine.register(WorkflowDefinition("order"))
    async with engine:
        yield engine


@pytest.fixture
async def instance_id(engine: WorkflowEngine) -> str:
    return await engine.start("order", id="order-7")


@pytest.fixture
async def client_of(engine: WorkflowEngine, clock: FakeClock) -> AsyncIterator[MakeClient]:
    """A client of the webhooks of some sources; it does not raise what the application raises."""
    clients = []

    def make(*sources: HookSource, **options: object) -> httpx.AsyncClient:
        app = create_hooks_app(engine, sources, clock=clock, **options)  # type: ignore[arg-type]
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.example")
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def stripe_source() -> HookSource:
    return HookSource("stripe", Stripe(SECRET), instance="{data.order}")
