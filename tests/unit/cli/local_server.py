"""A real engine and its API in a thread, for commands to talk to."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import uvicorn
from click.testing import Result

from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.server import serving_app
from pylon_workflows.testing import ScriptedRunner, engine_in_memory
from pylon_workflows.workflow_engine import WorkflowEngine
from runner_protocol.messages import (
    Action,
    Approval,
    Complete,
    Diverged,
    ErrorDetail,
    Fail,
    Sleep,
    StepComplete,
    TurnRequest,
    WaitEvent,
)

T = TypeVar("T")
Run = Callable[..., Result]


STEPS: dict[str, list[Action]] = {
    "onboarding": [
        StepComplete(step_name="create account", output={"id": 7}),
        StepComplete(step_name="mail", output="sent"),
        Sleep(duration="10ms", name="settle"),
        WaitEvent(event="confirmed"),
    ],
    "broken": [Fail(step_name="charge", error="declined", retryable=False)],
    "raising": [
        Fail(error=ErrorDetail(type="KeyError", message="KeyError: 'skus'", stack="Traceback"), retryable=False)
    ],
    "lost": [Diverged(position=0, expected="charge", got="mail")],
    "patient": [WaitEvent(event="paid", timeout=timedelta(hours=1))],
    "gated": [Approval(name="ship gate"), Approval(name="pay")],
    "echo": [],
}


def play(request: TurnRequest) -> Action:
    """The workflows of these tests, one step a turn; the mail fails at first."""
    steps = STEPS[request.workflow_name]
    if request.workflow_name == "onboarding" and request.current_step == 1 and request.attempt.number == 1:
        return Fail(step_name="mail", error="no route\x1b[2J")
    if request.current_step < len(steps):
        return steps[request.current_step]
    return Complete(output={"input": request.input})


class LocalServer:
    """The API over an engine in memory, in a thread with a loop of its own."""

    def __init__(self, token: str | None = None) -> None:
        self.engine: WorkflowEngine
        self.url = ""
        self._token = token
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def __enter__(self) -> "LocalServer":
        self._thread.start()
        assert self._is_up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the engine's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self) -> None:
        self.engine = engine_in_memory(ScriptedRunner(play))
        for name in STEPS:
            self.engine.register(WorkflowDefinition(name, initial_backoff=timedelta(milliseconds=5)))
        async with self.engine:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/workflows"
                config = uvicorn.Config(
                    serving_app(self.engine, token=self._token), lifespan="off", log_config=None, log_level="critical"
                )
                self._server = uvicorn.Server(config)
                self._is_up.set()
                await self._server.serve(sockets=[listener])
