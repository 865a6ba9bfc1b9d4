"""The workflow's function in a task of its own: run on until every branch waits, stopped when the turn is over.

Nothing but a hand-out may move it. What it does while it should be waiting (a timeout of asyncio's around a helper, a
branch that awaits something of its own) no replay can repeat: then it `is_astray`, and the turn that it is in starts no
more steps and suspends nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger("runner_protocol.kit")

_QUIET_HOPS, _QUIET_HOPS_BRANCHED = 8, 32
"""So many passes of the event loop without a call of a helper mean that every branch waits. Each level of tasks and
groups between two helpers takes up to three; code that never left its one task takes one."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The function has returned."""

    output: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The function has raised."""

    error: BaseException


class Code:
    """One run of a workflow's function; `settle` lets it run on, `close` ends it.

    `waiting` says for how many helpers it waits. `shown` names it in warnings.
    """

    _task: asyncio.Task[None]

    def __init__(self, waiting: Callable[[], int], shown: str, *, cleanup_timeout_s: float) -> None:
        self.ended: Returned | Raised | None = None
        self.is_closed = False
        self.is_astray = False
        self._waiting = waiting
        self._shown = shown
        self._cleanup_timeout_s = cleanup_timeout_s
        self._moves = 0
        self._is_settling = True
        self._is_branched = False
        self._stirred: asyncio.Future[None] | None = None

    def start(self, running: Coroutine[Any, Any, Any]) -> None:
        """Run the function's coroutine."""
        self._task = asyncio.create_task(self._run(running))

    async def _run(self, running: Coroutine[Any, Any, Any]) -> None:
        try:
            output = await running
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            self.ended = Raised(error)
        else:
            self.ended = Returned(output)
        finally:
            self.move()

    def move(self) -> bool:
        """Take note that the code does something; false when no replay could repeat it."""
        self._moves += 1
        if not self._is_settling:
            self.is_astray = True
        if self._stirred is not None and not self._stirred.done():
            self._stirred.set_result(None)
        return self._is_settling and not self.is_closed

    def awaits(self) -> None:
        """The code awaits a helper; in another task than its first it has branches."""
        self._is_branched = self._is_branched or asyncio.current_task() is not self._task

    async def settle(self) -> None:
        """Wait until every branch waits for a helper, or the function has ended."""
        # The loop of the standard library shows what is ready to run: nothing is certainty after one pass. Another
        # loop, or one that is busy with other things, is given a fixed number of passes.
        loop = asyncio.get_running_loop()
        ready = getattr(loop, "_ready", None)
        self._is_settling = True
        while self.ended is None:
            moves, quiet = self._moves, 0
            while self.ended is None and quiet < self._hops():
                await asyncio.sleep(0)
                moves, quiet = self._moves, quiet + 1 if self._moves == moves else 0
                if ready is not None and not ready:
                    break
            if self.ended is not None or self._waiting():
                break
            # The code awaits something that is no helper (a request of its own, a sleep of asyncio's).
            self._stirred = loop.create_future()
            await self._stirred
        self._is_settling = False

    def _hops(self) -> int:
        return _QUIET_HOPS_BRANCHED if self._is_branched or self._waiting() > 1 else _QUIET_HOPS

    async def close(self, parked: Iterable["asyncio.Future[Any]"]) -> None:
        """Cancel the code and wait for it, within bounds: it may clean up, and it may refuse to end."""
        self.is_closed = True
        futures = list(parked)
        for patience_s in (self._cleanup_timeout_s, self._cleanup_timeout_s / 10):
            self._task.cancel()
            for future in futures:  # of other tasks, which nobody but the code knows
                future.cancel()
            if self._task.done():
                break
            await asyncio.wait({self._task}, timeout=patience_s)
        if not self._task.done():
            logger.warning("%s goes on after CancelledError; it is left behind, and may leak", self._shown)
