"""An application in another event loop than its engine answers each request with a problem that says so."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from pylon_workflows import WorkflowDefinition, WorkflowEngine, create_app
from pylon_workflows.api.openapi import OPERATIONS

BODIES: dict[str, dict[str, Any]] = {
    "/definitions": {"name": "mail"},
    "/start": {"name": "order", "wait_s": 1},
    "/events": {"event": "paid", "correlation": "order:1"},
    "/schedules": {"cron": "0 9 * * *", "name": "order"},
    "/cancel": {"all": True},
    "/resume": {"all": True},
    "/{id}/event": {"event": "paid"},
    "/{id}/approvals/{key}": {"decision": "approve"},
}


@contextmanager
def served_elsewhere(app: ASGIApp) -> Iterator[str]:
    """The URL of a server that has a thread and a loop of its own."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def engine(tmp_path) -> WorkflowEngine:
    engine = WorkflowEngine(database=tmp_path / "orders.db", runner=None)
    engine.register(WorkflowDefinition("order"))
    return engine


@pytest.mark.parametrize("token", [None, "t"])
async def test_each_request_is_answered_with_the_problem_and_the_engine_goes_on(engine, token, caplog):
    caplog.set_level(logging.WARNING)
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with engine, httpx.AsyncClient(headers=headers, timeout=10) as client:
        await engine.start("order", id="order-1")
        before = await engine.history("order-1"), await engine.definitions()
        with served_elsewhere(create_app(engine, token=token)) as url:
            for path, method in OPERATIONS:
                if path == "/openapi.json":
                    continue
                at = url + path.format(id="order-1", key="approval:ship")
                answer = await client.request(method, at, json=BODIES.get(path))
                told = f"{method} {path}: {answer.status_code} {answer.text}"
                assert answer.status_code == 503, told
                assert answer.json()["code"] == "other-loop", told
                assert "another event loop" in answer.json()["detail"]
                assert "retry-after" not in answer.headers  # it does not pass by itself
        assert "asyncio.run_coroutine_threadsafe" in caplog.text
        assert (await engine.history("order-1"), await engine.definitions()) == before
        assert [summary.id for summary in await engine.list()] == ["order-1"]
