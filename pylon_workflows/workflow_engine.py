"""The engine as users meet it: builds the parts from plain arguments; its calls are `EngineCalls`."""

import os
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pylon_workflows.announcements import FinishedCallback
from pylon_workflows.api.link import create_link_app
from pylon_workflows.clock import SystemClock
from pylon_workflows.declared_types import check_has, check_type
from pylon_workflows.definitions import Definitions, WorkflowDefinition
from pylon_workflows.engine import LocalEngine
from pylon_workflows.engine_calls import EngineCalls
from pylon_workflows.errors import InvalidInputError, StoreError, WorkflowError
from pylon_workflows.outbound_webhooks import OutboundWebhook, receivers_of
from pylon_workflows.ownership.access import Access, SharedAccess, SoleAccess
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.ownership.one_loop import OneLoopAccess
from pylon_workflows.ownership.standby import Standby
from pylon_workflows.ownership.worker import Worker
from pylon_workflows.ports import Clock, Describer, PayloadCodec, Role, Runner, Store
from pylon_workflows.runner.auth import RunnerAuth
from pylon_workflows.runner.http import HttpRunner
from pylon_workflows.runner.routing import RoutingRunner
from pylon_workflows.settings import DEFAULT_RUNNER_URL, RUNNER_URL_VARIABLE, EngineSettings, Synchronous
from pylon_workflows.store.file_reads import SqliteFileReads
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.watch import Check

FROM_ENVIRONMENT = f"${RUNNER_URL_VARIABLE}"
"""The runner's URL is the environment's, or http://127.0.0.1:9876/run."""


class WorkflowEngine(EngineCalls):
    """Durable workflows in this process: their state in one SQLite file, their code in a runner.

    `runner` is a URL, a `Runner` such as `LocalRunner`, or None: then nothing is driven and `apply` gives the answers.
    One that is an async context manager, as `HttpRunner` and `LocalRunner` are, is this engine's alone: it is entered
    when the engine starts and left after the last turn. Any other is its maker's to open and close. `runners` are asked
    about some workflows instead: `{"orders": url}` about all instances of `orders`, `{"orders@2": url}` about those
    whose run began with version 2. `runner_auth` is how the runners that are given as URLs know this engine, and it
    them; one with an `auth` of its own is given as `HttpRunner(url, auth=...)`.
    `webhooks` are told, at least once, when an instance completes, fails, is cancelled or blocked.
    `database` is the file's path; the file is created on first use and belongs to one engine at a time.
    `synchronous="full"` survives a power cut, `"normal"` only a crash (PROMISES.md P1, P2). `codec` encrypts what
    users put into workflows before it is written (docs/security.md); each process on the file has it. `settings` are
    the other knobs; `store`, `clock` and `jitter` are for tests.

    Nothing happens before `async with engine:`, or before the web app's lifespan (`engine.lifespan`) begins. From then
    on it is called in that event loop only: a call from another one raises OtherLoopError and does nothing.

    Raises:
        InvalidInputError: a value of another type; a URL that is none, a key of `runners` that is no name or
        name@version, `runner_auth` without a URL that it could be for, two `webhooks` with one URL.
    """

    def __init__(
        self,
        *,
        runner: str | Runner | None = FROM_ENVIRONMENT,
        runners: Mapping[str, str | Runner] | None = None,
        runner_auth: RunnerAuth | None = None,
        webhooks: Sequence[OutboundWebhook] = (),
        database: str | os.PathLike[str] = "workflows.db",
        synchronous: Synchronous = "full",
        codec: PayloadCodec | None = None,
        settings: EngineSettings | None = None,
        store: Store | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        check_type(settings, EngineSettings | None, "settings")
        check_type(database, str | os.PathLike, "database")
        if runner == FROM_ENVIRONMENT:
            runner = os.environ.get(RUNNER_URL_VARIABLE) or DEFAULT_RUNNER_URL
        self._runner, describers = _connected(runner, {} if runners is None else runners, runner_auth)
        settings = EngineSettings() if settings is None else settings
        self._definitions = Definitions()
        path = Path(database)
        self._guard: FileGuard | None = None
        checks: Sequence[Check] = ()
        if store is None:
            self._guard = FileGuard(path)
            path = path.absolute()  # the program may be in another folder when the engine is entered, and later
            store = file = SqliteStore(path, synchronous=synchronous, codec=codec)
            checks = (self._guard.check, file.check)
        elif codec is not None:
            raise InvalidInputError("codec: is for the database file, and there is a store in its place")
        clock = SystemClock() if clock is None else clock
        engine = LocalEngine(
            store,
            self._runner,
            clock,
            self._definitions,
            settings,
            checks=checks,
            describers=describers if settings.has_discovery else (),
            own_runners=self._runner.routes if isinstance(self._runner, RoutingRunner) else (),
            receivers=receivers_of(webhooks, clock),
            jitter=jitter,
        )
        super().__init__(engine, OneLoopAccess(self._access_to(engine, settings, path, codec)), settings)

    def _access_to(
        self, engine: LocalEngine, settings: EngineSettings, path: Path, codec: PayloadCodec | None
    ) -> Access:
        if self._guard is None:
            return SoleAccess(engine, self._runner)
        standby = Standby(path, SqliteFileReads(path, codec=codec), self._definitions, engine.clock)
        link = create_link_app(engine, settings)
        timeout_s = settings.forward_timeout_s
        worker = Worker(engine, standby, self._guard, link, path=path, runner=self._runner, patience_s=timeout_s)
        return SharedAccess(worker, engine, standby, timeout_s=timeout_s)

    def register(self, definition: WorkflowDefinition) -> None:
        """Make a workflow known; it goes before one of the same name that came over HTTP."""
        self._definitions.register(definition)

    def on_finished(self, callback: FinishedCallback) -> FinishedCallback:
        """Call this function, plain or async, with each finished instance: after the commit, at least once.

        One for which it raises, or which a crash cuts off, is announced again after the next start. Register before
        the engine starts. Usable as a decorator.
        """
        check_type(callback, Callable[..., Any], "callback")
        self._engine.on_finished(callback)
        return callback

    async def __aenter__(self) -> Self:
        """Take the file, go on with everything in it, and drive; or stand by, when another process has the file.

        A standby does all that an owner does but drive: it reads from the file, forwards changes to the owner, and
        takes the owner's place when that goes.

        Raises:
            DatabaseInUseError: an engine of this process has the file, or this one runs already. NewerDatabaseError,
            CorruptDatabaseError: see the message. WrongCodecError: the file is encrypted, and not with this codec.
        """
        await self._access.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let turns in flight finish within the grace time, then let go of the file."""
        await self._access.stop()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """The lifespan of a web app that embeds the engine: `FastAPI(lifespan=engine.lifespan)`."""
        async with self:
            yield

    @property
    def is_running(self) -> bool:
        """Whether it takes work."""
        return self.refusal is None

    @property
    def role(self) -> Role:
        """`"owner"` when this process drives the file's instances, `"standby"` when another does."""
        return self._access.role

    @property
    def refusal(self) -> WorkflowError | None:
        """What every call raises now; None while it takes work. OwnershipLostError: its file was taken from it."""
        return self._access.refusal

    async def until_failed(self) -> StoreError:
        """Wait until the engine has stopped by itself, which it logs, and tell why; while it is well, for ever."""
        return await self._access.until_failed()


def _connected(
    default: str | Runner | None, others: Mapping[str, str | Runner], auth: RunnerAuth | None
) -> tuple[Runner | None, Sequence[Describer]]:
    """What takes the turns, with connections of its own for each URL, and what can be asked for its workflows."""
    _check_runners(default, others)
    check_type(auth, RunnerAuth | None, "runner_auth")
    made: dict[str, Runner] = {}
    if auth is not None and not any(isinstance(runner, str) for runner in (default, *others.values())):
        raise InvalidInputError("runner_auth: is for runners that are given as URLs, and none is")
    runner = made.setdefault(default, HttpRunner(default, auth=auth)) if isinstance(default, str) else default
    if not others:
        return runner, [runner] if isinstance(runner, Describer) else []
    routes: dict[str, Runner] = {}
    for route, other in others.items():
        try:
            routes[route] = made.setdefault(other, HttpRunner(other, auth=auth)) if isinstance(other, str) else other
        except InvalidInputError as error:
            raise InvalidInputError(f"runners: {route[:140]!r}: {error}") from None
    routing = RoutingRunner(runner, routes)
    return routing, routing.describers


def _check_runners(default: object, others: Mapping[str, object]) -> None:
    wanted = "a URL as a text, such as str(url), or an object with take_turn, such as LocalRunner(...)"
    if default is not None and not isinstance(default, str):
        check_has(default, "take_turn", "runner", f"{wanted}, or None")
    check_type(others, Mapping[str, Any], "runners")
    for route, other in others.items():
        check_type(route, str, "runners: a key")
        if not isinstance(other, str):
            check_has(other, "take_turn", f"runners: {route[:140]!r}", wanted)
