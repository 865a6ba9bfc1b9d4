"""The engine as users meet it: builds the parts from plain arguments and hands each call on."""

import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pylon_workflows.announcements import FinishedCallback
from pylon_workflows.api.link import create_link_app
from pylon_workflows.clock import SystemClock
from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.transitions import Transition
from pylon_workflows.definitions import Definitions, WorkflowDefinition
from pylon_workflows.engine import LocalEngine
from pylon_workflows.errors import StoreError, WorkflowCancelledError, WorkflowError, WorkflowFailedError
from pylon_workflows.ownership import owner_requests
from pylon_workflows.ownership.access import Access, SharedAccess, SoleAccess
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.ownership.standby import Standby
from pylon_workflows.ownership.worker import Worker
from pylon_workflows.ports import EMPTY, MAX_PAGE, Clock, EventReceipt, InstanceSummary, Role, Runner, Started, Store
from pylon_workflows.runner.http import HttpRunner
from pylon_workflows.settings import DEFAULT_RUNNER_URL, RUNNER_URL_VARIABLE, EngineSettings, Synchronous
from pylon_workflows.store.file_reads import SqliteFileReads
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.summaries import RunnerWait
from pylon_workflows.watch import Check
from runner_protocol.messages import Action

FROM_ENVIRONMENT = f"${RUNNER_URL_VARIABLE}"
"""The runner's URL is the environment's, or http://127.0.0.1:9876/run."""


class WorkflowEngine:
    """Durable workflows in this process: their state in one SQLite file, their code in a runner.

    `runner` is a URL, a `Runner` such as `LocalRunner`, or None: then nothing is driven and `apply` gives the answers.
    One that is an async context manager, as `HttpRunner` and `LocalRunner` are, is this engine's alone: it is entered
    when the engine starts and left after the last turn. Any other is its maker's to open and close.
    `database` is the file's path; the file is created on first use and belongs to one engine at a time.
    `synchronous="full"` survives a power cut, `"normal"` only a crash (PROMISES.md P1, P2). `settings` are the other
    knobs; `store`, `clock` and `jitter` are for tests.

    Nothing happens before `async with engine:`, or before the web app's lifespan (`engine.lifespan`) begins.

    Raises:
        InvalidInputError: a URL that is none.
    """

    def __init__(
        self,
        *,
        runner: str | Runner | None = FROM_ENVIRONMENT,
        database: str | os.PathLike[str] = "workflows.db",
        synchronous: Synchronous = "full",
        settings: EngineSettings | None = None,
        store: Store | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if runner == FROM_ENVIRONMENT:
            runner = os.environ.get(RUNNER_URL_VARIABLE) or DEFAULT_RUNNER_URL
        self._runner = HttpRunner(runner) if isinstance(runner, str) else runner
        self._settings = EngineSettings() if settings is None else settings
        self._definitions = Definitions()
        path = Path(database)
        self._guard: FileGuard | None = None
        checks: Sequence[Check] = ()
        if store is None:
            self._guard = FileGuard(path)
            path = path.absolute()  # the program may be in another folder when the engine is entered, and later
            store = file = SqliteStore(path, synchronous=synchronous)
            checks = (self._guard.check, file.check)
        self._engine = LocalEngine(
            store,
            self._runner,
            SystemClock() if clock is None else clock,
            self._definitions,
            self._settings,
            checks=checks,
            jitter=jitter,
        )
        self._access = self._access_to(path)

    def _access_to(self, path: Path) -> Access:
        if self._guard is None:
            return SoleAccess(self._engine, self._runner)
        standby = Standby(path, SqliteFileReads(path), self._definitions)
        link = create_link_app(self._engine, self._settings)
        timeout_s = self._settings.forward_timeout_s
        worker = Worker(self._engine, standby, self._guard, link, path=path, runner=self._runner, patience_s=timeout_s)
        return SharedAccess(worker, self._engine, standby, timeout_s=timeout_s)

    def register(self, definition: WorkflowDefinition) -> None:
        """Make a workflow known; it goes before one of the same name that came over HTTP."""
        self._definitions.register(definition)

    def on_finished(self, callback: FinishedCallback) -> FinishedCallback:
        """Call this function, plain or async, with each finished instance: after the commit, at least once.

        One for which it raises, or which a crash cuts off, is announced again after the next start. Register before
        the engine starts. Usable as a decorator.
        """
        self._engine.on_finished(callback)
        return callback

    async def __aenter__(self) -> Self:
        """Take the file, go on with everything in it, and drive; or stand by, when another process has the file.

        A standby does all that an owner does but drive: it reads from the file, forwards changes to the owner, and
        takes the owner's place when that goes.

        Raises:
            DatabaseInUseError: an engine of this process has the file, or this one runs already. NewerDatabaseError,
            CorruptDatabaseError: see the message.
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

    async def start(
        self, name: str, input: Any = EMPTY, *, id: str | None = None, idempotency_key: str | None = None
    ) -> str:
        """Start an instance and return its id, once that is committed.

        A repeated start with the same id or idempotency key, name and input returns the existing instance's id.

        Raises:
            UnknownWorkflowError, InvalidInputError, TooLargeError; StartConflictError when the id or key belongs to an
            instance with another name or input (PROMISES.md P13).
        """
        return (await self.start_or_find(name, input, id=id, idempotency_key=idempotency_key)).id

    async def start_or_find(
        self, name: str, input: Any = EMPTY, *, id: str | None = None, idempotency_key: str | None = None
    ) -> Started:
        """Like `start`, and tells whether the instance is new."""
        return await self._access.change(
            lambda: self._engine.start_or_find(name, input, id=id, idempotency_key=idempotency_key),
            lambda: owner_requests.start(self._settings, name, input, id, idempotency_key),
        )

    async def get(self, instance_id: str) -> Instance:
        """The instance as it was last committed; one that cannot be read is `blocked`. Raises UnknownInstanceError."""
        return await self._access.read(lambda source: source.get(instance_id))

    async def list(
        self,
        *,
        statuses: Sequence[Status] = (),
        name: str | None = None,
        after: str | None = None,
        limit: int = MAX_PAGE,
    ) -> Sequence[InstanceSummary]:
        """Instances, newest first, a page of at most 200; `after` is the last id of the page before.

        Raises:
            InvalidInputError: a limit that is not from 1 to 200.
        """
        return await self._access.read(
            lambda source: source.list(statuses=statuses, name=name, after=after, limit=limit)
        )

    async def history(self, instance_id: str) -> Sequence[Transition]:
        """All that has happened to an instance, in order. Raises UnknownInstanceError."""
        return await self._access.read(lambda source: source.history(instance_id))

    async def send_event(
        self, instance_id: str, event: str, data: Any = EMPTY, *, event_id: str | None = None
    ) -> EventReceipt:
        """Deliver an event; it may come before the workflow waits for it, and twice with one `event_id`.

        Raises:
            UnknownInstanceError, InvalidInputError, TooLargeError, InboxFullError; InstanceFinishedError, unless this
            `event_id` was accepted before.
        """
        return await self._access.change(
            lambda: self._engine.send_event(instance_id, event, data, event_id=event_id),
            lambda: owner_requests.event(self._settings, instance_id, event, data, event_id),
        )

    async def cancel(self, instance_id: str) -> None:
        """Cancel it; after this no further step starts. Raises UnknownInstanceError, InstanceFinishedError."""
        await self._access.change(lambda: self._engine.cancel(instance_id), lambda: owner_requests.cancel(instance_id))

    async def resume(self, instance_id: str) -> Status:
        """Let a blocked instance go on. One that is parked is read again, and goes on with what it was doing.

        Raises:
            UnknownInstanceError, InstanceNotBlockedError; UnreadableInstanceError: it still cannot be read.
        """
        return await self._access.change(
            lambda: self._engine.resume(instance_id), lambda: owner_requests.resume(instance_id)
        )

    async def advance(self, instance_id: str) -> Status:
        """Do now what is due, if anything is, and return the status. Raises UnknownInstanceError.

        An instance that the runner has put off, or about which it could not be asked, is asked about without waiting.
        """
        return await self._access.change(
            lambda: self._engine.advance(instance_id), lambda: owner_requests.advance(instance_id)
        )

    async def apply(self, instance_id: str, action: Action) -> Instance:
        """Apply a canned answer, as if the runner had given it, and return the new state.

        Raises:
            UnknownInstanceError, InvalidInputError; TurnOpenError while the runner is being asked; TurnNotOpenError
            when the instance awaits no answer.
        """
        return await self._access.change(
            lambda: self._engine.apply(instance_id, action), lambda: owner_requests.apply(instance_id, action)
        )

    async def delete(self, instance_id: str) -> None:
        """Delete an instance that has finished or is parked. Raises UnknownInstanceError, InstanceNotFinishedError."""
        await self._access.change(lambda: self._engine.delete(instance_id), lambda: owner_requests.delete(instance_id))

    async def wait(self, instance_id: str, timeout: timedelta | float | None = None) -> Instance:  # noqa: ASYNC109 -- what users look for
        """The instance once it has finished, whatever its status.

        Raises:
            UnknownInstanceError; TimeoutError when it has not finished within `timeout` (a number is seconds).
        """
        timeout_s = timeout / timedelta(seconds=1) if isinstance(timeout, timedelta) else timeout
        return await self._access.wait(instance_id, timeout_s)

    async def result(self, instance_id: str, timeout: timedelta | float | None = None) -> Any:  # noqa: ASYNC109 -- as `wait`
        """The output once the workflow has completed.

        Raises:
            WorkflowFailedError, WorkflowCancelledError: it ended otherwise. UnknownInstanceError, TimeoutError.
        """
        instance = await self.wait(instance_id, timeout)
        if instance.status is Status.FAILED:
            raise WorkflowFailedError(instance.error or "", instance=instance)
        if instance.status is Status.CANCELLED:
            raise WorkflowCancelledError(f"{instance_id} was cancelled", instance=instance)
        return instance.output

    def waiting_for_runner(self, instance: Instance) -> RunnerWait | None:
        """Why an instance, as `get` has just told it, is put off while the runner is away or asks for it; else None.

        Only the owner knows (`role`): nothing of this is written.
        """
        return self._engine.waiting_for_runner(instance) if self._access.role == "owner" else None

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """All workflows that can be started, by name."""
        return await self._access.read(lambda source: source.definitions())

    async def save_definition(self, definition: WorkflowDefinition) -> None:
        """Keep a definition in the file; one registered in code goes before it."""
        await self._access.change(
            lambda: self._engine.save_definition(definition), lambda: owner_requests.save_definition(definition)
        )
