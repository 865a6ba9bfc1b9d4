"""An owner in the test's own process: it holds the lock as another process would, and can die at any moment."""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from pylon_workflows import EngineSettings, WorkflowDefinition, WorkflowEngine
from pylon_workflows.api.link import create_link_app
from pylon_workflows.clock import SystemClock
from pylon_workflows.definitions import Definitions
from pylon_workflows.engine import LocalEngine
from pylon_workflows.ownership.owner_server import served
from pylon_workflows.ownership.socket_file import socket_path
from pylon_workflows.store.sqlite import SqliteStore


class Owner:
    """Like the owner's process; `async with` it. `wrap` is put around the application on its socket."""

    def __init__(self, path, wrap: Callable[[Any], Any] = lambda app: app) -> None:
        definitions = Definitions()
        definitions.register(WorkflowDefinition("order"))
        settings = EngineSettings(shutdown_grace_s=0)
        self.engine = LocalEngine(SqliteStore(path), None, SystemClock(), definitions, settings)
        self._app = wrap(create_link_app(self.engine, settings))
        self._path = path
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> "Owner":
        # A lock of an open file, not of a process: this one is as foreign to the guard as another process's.
        self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._resources.callback(os.close, self._lock)
        await self._resources.enter_async_context(served(self._app, socket_path(self._path)))
        self._resources.push_async_callback(self.engine.close)
        await self.engine.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    def let_go_of_its_lock(self) -> None:
        """Lose the lock at once, as a process that is killed does; the rest goes later."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    async def die(self) -> None:
        """Go, in the order in which a process that ends lets go of things; whoever waits for an answer has none."""
        await self._resources.aclose()


class Mute:
    """Around an application: what is asked for under a path that ends so is done, and never answered."""

    def __init__(self, matches: str) -> None:
        self.matches = matches
        self.has_done = asyncio.Event()

    def __call__(self, app: Any) -> Any:
        async def mute(scope, receive, send):
            if not scope["path"].endswith(self.matches):
                await app(scope, receive, send)
                return

            async def drop(_message):
                pass

            await app(scope, receive, drop)
            self.has_done.set()
            await asyncio.Event().wait()

        return mute


class Lossy:
    """Around an application: the first answer to a path that has this in it is cut off, once the work is done.

    What `then` does happens before the asker hears of it. `count` is how often that path was asked for.
    """

    def __init__(self, part: str, then: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.part = part
        self.then = then
        self.count = 0

    def __call__(self, app: Any) -> Any:
        async def lossy(scope, receive, send):
            is_first = self.part in scope["path"] and self.count == 0
            self.count += self.part in scope["path"]
            if not is_first:
                await app(scope, receive, send)
                return

            async def drop(_message):
                pass

            await app(scope, receive, drop)
            if self.then is not None:
                await self.then()
            # uvicorn hangs up on whoever was promised a body that does not come
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})

        return lossy


def worker(path, **settings: Any) -> WorkflowEngine:
    """An engine of the process under test."""
    engine = WorkflowEngine(
        runner=settings.pop("runner", None),
        clock=settings.pop("clock", None),
        database=path,
        settings=EngineSettings(shutdown_grace_s=0, **settings),
    )
    engine.register(WorkflowDefinition("order"))
    return engine
