import asyncio
import io
import json
import logging
import re
from contextvars import ContextVar

import httpx
import pytest

from pylon_workflows import WorkflowDefinition
from pylon_workflows.api.app import create_app
from pylon_workflows.api.sharing import Sharing
from pylon_workflows.errors import RunnerUnavailableError
from pylon_workflows.logs import JsonFormatter, request_id
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, wait_until
from runner_protocol.messages import Action, Complete, TurnRequest

caller: ContextVar[str] = ContextVar("caller")


async def test_the_callers_id_comes_back(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"X-Request-Id": "order-7.a:b_c"})
    assert answer.headers.get_list("x-request-id") == ["order-7.a:b_c"]
    assert request_id.get() is None


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "x" * 129, "é".encode()])
async def test_an_odd_id_is_not_taken(client: httpx.AsyncClient, given: str | bytes) -> None:
    answer = await client.get(
        "/nothing/here", headers=[(b"x-request-id", given.encode() if isinstance(given, str) else given)]
    )
    assert answer.status_code == 404
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


async def test_each_request_has_its_own(client: httpx.AsyncClient) -> None:
    seen = {(await client.get("/healthz")).headers["x-request-id"] for _ in range(3)}
    assert len(seen) == 3


async def test_an_instance_is_driven_as_nobodys_request_and_its_log_lines_name_it_alone() -> None:
    asked: list[tuple[str, str | None, str]] = []

    def answer(request: TurnRequest) -> Action | RunnerUnavailableError:
        asked.append((request.workflow_id, request_id.get(), caller.get()))
        return RunnerUnavailableError("it is away") if len(asked) == 1 else Complete()

    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("pylon_workflows").addHandler(handler)
    caller.set("who opened the engine")
    engine = engine_in_memory(ScriptedRunner(answer), clock=(clock := FakeClock()))
    engine.register(WorkflowDefinition("order"))
    transport = httpx.ASGITransport(create_app(engine))
    try:
        async with engine, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            caller.set("who started it")
            started = await client.post("/start", json={"name": "order", "id": "a"}, headers={"X-Request-Id": "req-7"})
            assert (started.status_code, started.headers["x-request-id"]) == (201, "req-7")
            await wait_until(lambda: len(asked) == 1 and not engine._engine.is_driving)
            clock.advance(3600)
            await engine.wait("a", 5)
    finally:
        logging.getLogger("pylon_workflows").removeHandler(handler)
    assert asked == [("a", None, "who opened the engine")] * 2
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    about = [line for line in lines if line.get("instance_id") == "a"]
    assert about
    assert not [line for line in about if "request_id" in line]


async def test_what_is_asked_once_for_several_requests_is_none_of_theirs() -> None:
    async def ask() -> str | None:
        return request_id.get()

    before = request_id.set("req-7")
    try:
        assert await Sharing[str, str | None]().ask("key", ask) is None
        assert await asyncio.create_task(ask()) == "req-7"
    finally:
        request_id.reset(before)
