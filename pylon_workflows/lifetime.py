"""Whether the engine takes work, and why it does not."""

import asyncio
import logging

from pylon_workflows.errors import EngineNotRunningError, StoreError, WorkflowError

_log = logging.getLogger(__name__)


class Lifetime:
    """From `begin` until `stop`, or until `fail`, whichever is first; then perhaps again."""

    def __init__(self) -> None:
        self.is_running = False
        self._stopping = ""
        self.failure: StoreError | None = None
        self._has_failed = asyncio.Event()

    def open(self) -> None:
        """Forget how the last one ended; this one begins when all is open."""
        self.failure, self._has_failed = None, asyncio.Event()

    def begin(self) -> None:
        """Take work from now on."""
        self.is_running = True

    def stop(self, turns: int, grace_s: float) -> None:
        """Take no more work; so many turns in flight may take so long, until `end`."""
        self.is_running = False
        if turns and grace_s and self.failure is None:  # else they have been cut off
            self._stopping = f"the engine is stopping: what is in flight (turns: {turns}) has {grace_s:g} s to end"
            _log.info("%s", self._stopping)

    def end(self) -> None:
        """It has stopped."""
        self._stopping = ""

    def fail(self, error: StoreError) -> None:
        """Take no more work because of this error, with which every call is answered from now on."""
        if self.failure is None:
            self.failure, self.is_running = error, False
            self._has_failed.set()
            _log.critical("the engine has stopped: %s", error)

    @property
    def refusal(self) -> WorkflowError | None:
        """What every call raises now, a new error each time; None while work is taken."""
        if self.failure is not None:
            return type(self.failure)(*self.failure.args)
        if self.is_running:
            return None
        return EngineNotRunningError(
            self._stopping or "the engine is not running: use `async with engine`, or its lifespan"
        )

    def check(self) -> None:
        """Raise the refusal, if there is one."""
        if not self.is_running and (refusal := self.refusal) is not None:
            raise refusal

    async def until_failed(self) -> StoreError:
        """Wait for the failure and tell it; while all is well, for ever."""
        while self.failure is None:
            await self._has_failed.wait()
        return self.failure
