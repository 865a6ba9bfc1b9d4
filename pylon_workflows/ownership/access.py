"""How an engine's calls reach the engine that can do them: in this process, or over the link in the owner's.

A store that is nobody else's (`SoleAccess`) needs no more than this process. On a file (`SharedAccess`) a call that the
engine here refuses because it is not the owner, or is no longer, goes to whoever is, until a deadline.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Protocol, TypeVar

from pylon_workflows.core.instance import Instance
from pylon_workflows.core.revisions import until
from pylon_workflows.core.transitions import Transition
from pylon_workflows.engine import LocalEngine
from pylon_workflows.errors import (
    DatabaseInUseError,
    EngineNotRunningError,
    NoOwnerError,
    OwnershipLostError,
    StorageFailedError,
    StorageFullError,
    StoreError,
    UnknownInstanceError,
    UnknownWorkflowError,
    WorkflowError,
)
from pylon_workflows.histories import folded
from pylon_workflows.ownership.owner_client import AnswerLostError, NotDoneError
from pylon_workflows.ownership.owner_requests import OwnerRequest
from pylon_workflows.ownership.standby import Standby
from pylon_workflows.ownership.worker import Worker
from pylon_workflows.ports import Role
from pylon_workflows.schedule import Schedule

RETRY_S = 0.02

_PROVE_NOTHING = (UnknownInstanceError, UnknownWorkflowError, StorageFullError, StorageFailedError)
"""What is there when a request is sent again, and need not have been so when it was first sent, and perhaps done."""

T = TypeVar("T")

Source = LocalEngine | Standby
"""What can be read: both answer `get`, `list`, `history`, `definitions` and `wait`."""


class Access(Protocol):
    """The way to an engine."""

    @property
    def refusal(self) -> WorkflowError | None:
        """What every call raises now; None while calls are taken."""
        ...

    async def until_failed(self) -> StoreError:
        """Wait until it has stopped by itself, and tell why; while it is well, for ever."""
        ...

    @property
    def role(self) -> Role:
        """Where they are done."""
        ...

    async def start(self) -> None:
        """Begin. Raises what the store raises; DatabaseInUseError when this runs already."""
        ...

    async def stop(self) -> None:
        """Let turns in flight finish within the grace time, then let go. Cancelled, it cuts them off."""
        ...

    async def change(self, here: Callable[[], Awaitable[T]], request: Callable[[], OwnerRequest[T]]) -> T:
        """Make a change, with the engine of this process (`here`) or by this request to another's.

        Raises:
            NoOwnerError: nobody has done it by the deadline, or nobody can tell whether it was done. What the engine
            raises, here or there.
        """
        ...

    async def read(self, use: Callable[[Source], Awaitable[T]]) -> T:
        """Read from whatever shows the present state here. Raises NoOwnerError; what `use` raises."""
        ...

    async def wait(self, instance_id: str, timeout_s: float | None) -> Instance:
        """The instance once it has finished, whoever drives it. Raises UnknownInstanceError, TimeoutError."""
        ...


class SoleAccess:
    """The way to an engine whose store no other process has: `Access` without detours."""

    def __init__(self, engine: LocalEngine, runner: object) -> None:
        self._engine = engine
        self._runner = runner
        self._resources = AsyncExitStack()
        self._is_started = False

    @property
    def refusal(self) -> WorkflowError | None:
        """See `Access`."""
        return self._engine.refusal

    async def until_failed(self) -> StoreError:
        """See `Access`."""
        return await self._engine.until_failed()

    @property
    def role(self) -> Role:
        """See `Access`."""
        return "owner"

    async def start(self) -> None:
        """See `Access`."""
        if self._is_started:
            raise DatabaseInUseError("this engine runs already: enter it, or its lifespan, in one place only")
        async with AsyncExitStack() as resources:
            self._is_started = True
            resources.callback(setattr, self, "_is_started", False)
            if isinstance(self._runner, AbstractAsyncContextManager):
                await resources.enter_async_context(self._runner)
            resources.push_async_callback(self._engine.close)
            await self._engine.open()
            self._resources = resources.pop_all()

    async def stop(self) -> None:
        """See `Access`."""
        await self._resources.aclose()

    async def change(self, here: Callable[[], Awaitable[T]], request: Callable[[], OwnerRequest[T]]) -> T:
        """See `Access`."""
        return await here()

    async def read(self, use: Callable[[Source], Awaitable[T]]) -> T:
        """See `Access`."""
        return await use(self._engine)

    async def wait(self, instance_id: str, timeout_s: float | None) -> Instance:
        """See `Access`."""
        return await self._engine.wait(instance_id, timeout_s)


class SharedAccess:
    """The way to the engine of whichever worker owns the file. `timeout_s` is how long a call looks for it."""

    def __init__(self, worker: Worker, engine: LocalEngine, standby: Standby, *, timeout_s: float) -> None:
        self._worker = worker
        self._standing = worker.standing
        self._engine = engine
        self._standby = standby
        self._timeout_s = timeout_s

    @property
    def refusal(self) -> WorkflowError | None:
        """See `Access`."""
        return self._engine.refusal if self._standing.is_owner else self._standing.refusal

    async def until_failed(self) -> StoreError:
        """See `Access`."""
        return await self._standing.until_failed()

    @property
    def role(self) -> Role:
        """See `Access`."""
        return "owner" if self._standing.is_owner else "standby"

    async def start(self) -> None:
        """See `Access`."""
        await self._worker.start()

    async def stop(self) -> None:
        """See `Access`."""
        await self._worker.stop()

    async def change(self, here: Callable[[], Awaitable[T]], request: Callable[[], OwnerRequest[T]]) -> T:
        """See `Access`."""
        if self._standing.is_owner:
            try:
                return await here()
            except (OwnershipLostError, EngineNotRunningError) as error:
                self._worker.on_refusal(error)
        self._check()
        return await self._forwarded(request())

    async def _forwarded(self, request: OwnerRequest[T]) -> T:
        if request.look is not None:
            can_look = self._standing.is_owner or self._standby.is_open  # not beside an owner of an older release
            request = await request.look(self) if can_look else replace(request, is_repeatable=False)
        deadline = self._now() + self._timeout_s
        may_be_done = False
        reason = "there is none"
        while self._now() < deadline:
            try:
                if self._standing.is_owner:
                    return await request.call(self._engine)
                if self._standing.is_standby and self._worker.client is not None:
                    return await request.read(*await self._worker.client.ask(request, deadline), self)
            except NotDoneError as error:
                reason = str(error)
            except (OwnershipLostError, EngineNotRunningError) as error:
                self._worker.on_refusal(error)
            except AnswerLostError as error:
                may_be_done = True
                reason = f"it went away while it was asked ({error})"
                if not request.is_repeatable:
                    break
            except WorkflowError as error:
                if not may_be_done:
                    raise
                try:
                    return await request.read_repeated(error, self)
                except _PROVE_NOTHING as told:
                    reason = f"it went away while it was asked, and then: {told}"
                    break
            self._check()
            await self._standing.pause(RETRY_S)
        raise self._no_owner(reason, "; whether it was done, the instance shows" if may_be_done else "")

    async def read(self, use: Callable[[Source], Awaitable[T]]) -> T:
        """See `Access`."""
        deadline = self._now() + self._timeout_s
        while self._now() < deadline:
            source: Source = self._engine if self._standing.is_owner else self._standby
            if self._standing.is_owner or self._standby.is_open:
                try:
                    return await use(source)
                except (OwnershipLostError, EngineNotRunningError) as error:
                    self._worker.on_refusal(error)
                except StoreError:
                    if source is self._engine or self._standby.is_open:
                        raise
                deadline = self._now() + self._timeout_s  # a wait may have gone well for days
            self._check()
            await self._standing.pause(RETRY_S)
        raise self._no_owner("there is none")

    async def wait(self, instance_id: str, timeout_s: float | None) -> Instance:
        """See `Access`."""
        ends_at = None if timeout_s is None else self._now() + timeout_s

        def left() -> float | None:
            return None if ends_at is None else max(0.0, ends_at - self._now())

        try:
            return await self.read(lambda source: source.wait(instance_id, left()))
        except TimeoutError:
            raise TimeoutError(f"{instance_id} has not finished within {timeout_s:g} s") from None

    async def get(self, instance_id: str) -> Instance:
        """The instance as it is now."""
        return await self.read(lambda source: source.get(instance_id))

    async def get_schedule(self, schedule_id: str) -> Schedule:
        """The schedule as it is now."""
        return await self.read(lambda source: source.get_schedule(schedule_id))

    async def history(self, instance_id: str) -> Sequence[Transition]:
        """All transitions of the instance, in order."""
        return await self.read(lambda source: source.history(instance_id))

    async def at_revision(self, instance_id: str, revision: int) -> Instance:
        """The instance as it was then."""
        return await folded(instance_id, until(await self.history(instance_id), revision))

    def _check(self) -> None:
        if (refusal := self._standing.refusal) is not None:
            raise refusal

    def _no_owner(self, reason: str, more: str = "") -> NoOwnerError:
        told = "; ".join(part for part in (reason, self._standing.trouble) if part)
        return NoOwnerError(f"the process that owns the database does not answer: {told}{more}")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
