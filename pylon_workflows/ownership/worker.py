"""One engine among the workers of a machine: it owns the file and drives, or it stands by, forwards and takes over.

A worker is in one of these states, and one task leads it from each to the next:

    starting -> standby <-> owner      lost to another process: owner -> standby
                   ↘          ↓
                      stopped          asked to stop, or the file itself was removed or replaced

All times here are the machine's own and not the engine's clock: locks and sockets belong to the machine.
"""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

from starlette.types import ASGIApp

from pylon_workflows import errors
from pylon_workflows.engine import LocalEngine
from pylon_workflows.logs import without_request
from pylon_workflows.ownership import registry
from pylon_workflows.ownership.file_identity import Identity, identity_of
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.ownership.lock_file import lock_path
from pylon_workflows.ownership.owner_client import OwnerClient
from pylon_workflows.ownership.owner_server import served
from pylon_workflows.ownership.socket_file import socket_path
from pylon_workflows.ownership.standby import Standby
from pylon_workflows.ownership.standing import Standing, State

_log = logging.getLogger(__name__)

POLL_S = 0.05
"""How often a standby tries the lock."""

FAILED_TAKEOVER_PAUSE_S = 1.0


class Worker:
    """Runs `engine` while this process owns the file at `path`, and stands in for it while another does.

    The owner serves `link` on the socket beside the file. `runner` is entered with each ownership, if it is an async
    context manager. A standby that cannot read the file yet is not ready before `patience_s`, unless it can.
    """

    def __init__(
        self,
        engine: LocalEngine,
        standby: Standby,
        guard: FileGuard,
        link: ASGIApp,
        *,
        path: Path,
        runner: object,
        patience_s: float,
    ) -> None:
        self._engine = engine
        self._standby = standby
        self._guard = guard
        self._link = link
        self._path = path
        self._runner = runner
        self._patience_s = patience_s
        self.standing = Standing()
        self._owner = ""
        self.client: OwnerClient | None = None
        self._leading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Become the owner or a standby. Raises what keeps the file from both."""
        key = registry.enter(self._path, self)
        self.standing.begin()
        what = f"own or stand by: {self._path.name}"
        self._leading = asyncio.create_task(self._lead(), name=what, context=without_request())
        self._leading.add_done_callback(lambda _: registry.leave(key))
        self._leading.add_done_callback(lambda _: self.standing.notify())
        try:
            while self.standing.state is State.STARTING and not self._leading.done():
                await self.standing.until_changed()
        except BaseException:
            self._leading.cancel()
            await asyncio.wait([self._leading])
            raise
        if self._leading.done():
            await asyncio.sleep(0)  # its callbacks come first: the caller may try again at once
            await self._leading

    async def stop(self) -> None:
        """Let go: an owner drains first. Cancelled, it cuts off at once and lets go all the same."""
        self.standing.stop()
        if self._leading is not None:
            await self._leading

    async def _lead(self) -> None:
        """Own or stand by until asked to stop, or until there is nothing left to own."""
        try:
            self.client = OwnerClient(socket_path(self._path))
            is_held = self._acquire()
            while is_held or await self._stand_by():
                await self._own()
                is_held = False
        except Exception as error:
            if self.standing.failure is None:
                if self.standing.state is State.STARTING or self.standing.is_stopping:
                    raise
                _log.critical("the engine has stopped", exc_info=True)
                told = errors.StoreError(f"the engine has stopped: {error!r}")
                self.standing.fail(error if isinstance(error, errors.StoreError) else told)
        finally:
            self._guard.release()  # held still by who got it and found another file than the one it had read
            self.standing.become(State.STOPPED)
            await self._standby.close()
            if self.client is not None:
                await self.client.close()

    def _acquire(self) -> bool:
        try:
            self._guard.acquire()
        except errors.DatabaseInUseError as error:
            self._owner = str(error)
        except errors.StoreError as error:
            if self.standing.state is State.STARTING:
                raise
            self.standing.trouble = str(error)
        return self._guard.is_held

    async def _stand_by(self) -> bool:
        """Read the file and try for the lock; True with the lock, False when asked to stop."""
        now = asyncio.get_running_loop().time
        patience_ends_at = now() + self._patience_s
        while not self.standing.is_stopping:
            if self.client is not None:
                self.client.notice()
            if self._acquire():
                return True
            await self._keep_reading()
            if self.standing.state is State.STARTING and (self._standby.is_open or now() > patience_ends_at):
                _log.info("standing by, and forwarding to the owner: %s", self._owner)
                self.standing.become(State.STANDBY)
            await self.standing.pause(POLL_S)
        return False

    async def _keep_reading(self) -> None:
        """Open the file as soon as that can be done."""
        self._check_file()
        if not self._standby.is_open:
            try:
                await self._standby.open()
            except (errors.NewerDatabaseError, errors.WrongCodecError):
                raise
            except errors.StoreError as error:
                self.standing.trouble = str(error)
            else:
                self.standing.trouble = ""
                self.standing.notify()

    def _check_file(self) -> None:
        """Raises OwnershipLostError: another file is in the place of the one that this standby has read."""
        if self._standby.is_open and not self._standby.is_current():
            raise errors.OwnershipLostError(
                f"{self._path} was removed or replaced while this process stood by, so it has stopped: put it right, "
                "then restart"
            )

    async def _own(self) -> None:
        """Own the file, whose lock is held, until asked to stop or until it is lost; then let go of everything.

        What keeps a standby from taking over is logged, and for a while the lock is left to others. At the start it is
        raised.
        """
        former = self.standing.state
        self._check_file()
        try:
            async with AsyncExitStack() as resources:
                resources.callback(self._guard.release)
                # SQLite's locks are the process's: opening the file anew would drop those of connections that read it.
                await self._standby.close()
                await self._serve_link(resources)
                if isinstance(self._runner, AbstractAsyncContextManager):
                    await resources.enter_async_context(self._runner)
                resources.push_async_exit(self._close_engine)
                await self._engine.open()
                if former is State.STANDBY:
                    _log.warning("took over %s", self._path)
                self.standing.trouble = ""
                self.standing.become(State.OWNER)
                await self._keep()
        except Exception as error:
            if former is not State.STANDBY or self.standing.state is not State.STANDBY:
                raise
            _log.exception("%s could not be taken over; tried again", self._path)
            self.standing.trouble = f"this process could not take over: {error}"
            await self.standing.pause(FAILED_TAKEOVER_PAUSE_S)

    async def _serve_link(self, resources: AsyncExitStack) -> None:
        try:
            await resources.enter_async_context(served(self._link, socket_path(self._path)))
        except OSError as error:
            _log.warning("no standby can forward to this process: no socket beside %s: %s", self._path, error)

    async def _keep(self) -> None:
        """Return when asked to stop, or when another process may own the file. Raises why the engine has failed."""
        lock = lock_path(self._path.resolve())
        before = identity_of(self._path), identity_of(lock)
        failing = asyncio.create_task(self._engine.until_failed(), name="watch the owner")
        failing.add_done_callback(lambda _: self.standing.notify())
        try:
            while not self.standing.is_stopping and not failing.done():
                await self.standing.until_changed()
        finally:
            failing.cancel()
        if not failing.done():
            return
        error = failing.result()
        if isinstance(error, errors.OwnershipLostError) and not self._is_file_lost(*before, lock):
            _log.error("%s may have another owner now: this process goes on as a standby", self._path)
            self.standing.become(State.STANDBY)
        else:
            self.standing.fail(error)
            raise error

    def _is_file_lost(self, database: Identity | None, locked: Identity | None, lock: Path) -> bool:
        """Whether there is nothing left to own: the file, or its log, and not only its lock or epoch, is another."""
        if identity_of(self._path) != database:
            return True
        try:
            self._guard.check()
        except errors.OwnershipLostError:
            return identity_of(lock) == locked
        return False

    async def _close_engine(self, kind: type[BaseException] | None, *_: object) -> None:
        """Drain; but cut off when that is asked for."""
        try:
            await self._engine.close(grace_s=None if kind is None else 0.0)
        except errors.OwnershipLostError as error:
            _log.info("what was still to be written is the new owner's to do: %s", error)

    def on_refusal(self, error: errors.WorkflowError) -> None:
        """The engine of this process has refused a call and done nothing. Returns if another owner may do it."""
        if self.standing.is_stopping or self.standing.failure is not None:
            raise error
        if self.standing.is_owner and isinstance(error, errors.OwnershipLostError):
            self._engine.fail(error)
