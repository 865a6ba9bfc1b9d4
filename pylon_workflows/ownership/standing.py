"""What a worker is to its file now, and why; whoever waits for that to change waits here."""

import asyncio
from contextlib import suppress
from enum import Enum

from pylon_workflows import errors


class State(Enum):
    """What a worker is."""

    STARTING = "starting"
    STANDBY = "standby"
    OWNER = "owner"
    STOPPED = "stopped"


class Standing:
    """A worker's state, whether it was told to stop, what it has failed with, and what keeps it from taking over."""

    def __init__(self) -> None:
        self.state = State.STOPPED
        self.is_stopping = False
        self.failure: errors.StoreError | None = None
        self.trouble = ""
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Forget how it ended before."""
        self.is_stopping = False
        self.failure = None
        self.trouble = ""
        self.become(State.STARTING)

    def become(self, state: State) -> None:
        """Be this from now on."""
        self.state = state
        self.notify()

    def stop(self) -> None:
        """Be told to stop."""
        self.is_stopping = True
        self.notify()

    def fail(self, error: errors.StoreError) -> None:
        """Have stopped for good because of this."""
        self.failure = error
        self.notify()

    def notify(self) -> None:
        """Let all who wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until_changed(self) -> None:
        """Wait until anything has changed."""
        await self._changed.wait()

    async def pause(self, seconds: float) -> None:
        """Wait that long, or until something has changed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def until_failed(self) -> errors.StoreError:
        """Wait until it has stopped by itself, and tell why; while it is well, for ever."""
        while self.failure is None:
            await self._changed.wait()
        return self.failure

    @property
    def is_owner(self) -> bool:
        """Whether this process drives the file's instances."""
        return self.state is State.OWNER

    @property
    def is_standby(self) -> bool:
        """Whether another process is to be asked."""
        return self.state is State.STANDBY and not self.is_stopping

    @property
    def refusal(self) -> errors.WorkflowError | None:
        """Why it does nothing for anybody: what it has stopped for, or that it was told to stop; None while it does."""
        if self.failure is not None:
            return type(self.failure)(*self.failure.args)
        if self.state is State.STOPPED or self.is_stopping:
            return errors.EngineNotRunningError("the engine is not running: use `async with engine`, or its lifespan")
        return None
