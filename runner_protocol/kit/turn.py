"""One turn: lets the workflow's code run on against its records, and finds the one action to answer.

The code runs in a task of its own. Records are handed out one at a time, and only when every branch of the code waits;
after the last one either a step is run or the first suspension is the answer. A helper that must wait is parked and
never settled; once the answer is known the task is cancelled, and waited for, but not for ever.
"""

import asyncio
import logging
from collections.abc import Sized
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from runner_protocol.kit.answers import complete_workflow, fail_workflow
from runner_protocol.kit.context import Context, HelperCall
from runner_protocol.kit.errors import StepFailedError
from runner_protocol.kit.replay import CallKind, Replay
from runner_protocol.kit.step import StepBody, StepInfo, run_step, running_step
from runner_protocol.kit.workflow import Workflow
from runner_protocol.messages import UNKNOWN_ERROR, Action, StepRecord, TurnRequest

logger = logging.getLogger("runner_protocol.kit")

_QUIET_HOPS, _QUIET_HOPS_BRANCHED = 8, 32
"""So many passes of the event loop without a call of a helper mean that every branch waits. Each level of tasks and
groups between two helpers takes up to three; code that never left its one task takes one."""

_MAX_STRAYS = 100
"""So often a helper called after the end of the turn cancels its caller; then the caller is left parked."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The function has returned."""

    output: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The function has raised."""

    error: BaseException


class Turn:
    """One request to one workflow; `answer` may be awaited once."""

    _task: asyncio.Task[None]

    def __init__(self, workflow: Workflow, request: TurnRequest, *, cleanup_timeout_s: float = 1.0) -> None:
        self._workflow = workflow
        self._request = request
        self._cleanup_timeout_s = cleanup_timeout_s
        self._replay: Replay[HelperCall] = Replay(request.completed_steps, request.started_at)
        self._random, self._drawn_after = Random(), -1  # noqa: S311 - repeatable is what it must be
        self._calls_made = 0
        self._strays = 0
        self._forgotten: dict[str, None] = {}
        self._is_branched = False
        self._is_closed = False
        self._ended: Returned | Raised | None = None
        self._stirred: asyncio.Future[None] | None = None

    async def answer(self) -> Action:
        """Find the action; cancelled, it cancels the step and the code first."""
        self._task = asyncio.create_task(self._run_code())
        try:
            found = await self._advance()
            if not isinstance(found, HelperCall):
                return found
            if not isinstance(found.deed, StepBody):
                return found.deed
            return await run_step(found.deed, self._info(found, found.deed), found.context)
        finally:
            await self._close()

    async def _run_code(self) -> None:
        running_step.set(None)  # this turn may have been asked for by a step of a runner in the same process
        try:
            output = await self._workflow(Context(self._request, self), self._request.input)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            self._ended = Raised(error)
        else:
            self._ended = Returned(output)
        finally:
            self._stir()

    async def _advance(self) -> Action | HelperCall:
        while True:
            await self._settle()
            if self._ended is not None:
                return self._ending(self._ended)
            match self._replay.hand_out():
                case None:
                    return self._replay.choose()
                case (call, record):
                    self._deliver(call, record)
                case diverged:
                    return diverged

    async def _settle(self) -> None:
        """Wait until every branch waits for a helper, or the function has ended."""
        # The loop of the standard library shows what is ready to run: nothing is certainty after one pass. Another
        # loop, or one that is busy with other things, is given a fixed number of passes.
        ready: Sized | None = getattr(asyncio.get_running_loop(), "_ready", None)
        while self._ended is None:
            calls, quiet = self._calls_made, 0
            while self._ended is None and quiet < self._hops():
                await asyncio.sleep(0)
                calls, quiet = self._calls_made, quiet + 1 if self._calls_made == calls else 0
                if ready is not None and not ready:
                    break
            if self._ended is not None or self._replay.waiting:
                return
            # The code awaits something that is no helper (a request of its own, a sleep of asyncio's).
            self._stirred = asyncio.get_running_loop().create_future()
            await self._stirred

    def _hops(self) -> int:
        return _QUIET_HOPS_BRANCHED if self._is_branched or self._replay.waiting > 1 else _QUIET_HOPS

    def _stir(self) -> None:
        if self._stirred is not None and not self._stirred.done():
            self._stirred.set_result(None)

    def _deliver(self, call: HelperCall, record: StepRecord) -> None:
        if call.future.done():  # cancelled in this very pass of the loop: the code is about to drop it
            return
        if record.status != "failed":
            call.future.set_result(None if call.kind == "sleep" else record.output)
            return
        attempts = len(self._replay.failures(call.key)) + 1
        error = StepFailedError(record.name, record.error or UNKNOWN_ERROR, attempts, key=record.key)
        call.future.set_exception(error)
        call.future.exception()  # seen: a call that nobody awaits is no reason for asyncio to complain

    def _ending(self, ended: Returned | Raised) -> Action:
        if isinstance(ended, Returned):
            if self._forgotten:
                calls = ", ".join(self._forgotten)
                logger.warning("%s: nobody has awaited %s: it may never be done", self._request.workflow_id, calls)
            return self._replay.check_end() or complete_workflow(ended.output)
        how = f" ({type(ended.error).__name__} was raised)"
        return self._replay.check_end(how) or fail_workflow(ended.error)

    def _info(self, call: HelperCall, body: StepBody) -> StepInfo:
        failures = self._replay.failures(call.key)
        return StepInfo(
            workflow_id=self._request.workflow_id,
            run=self._request.run,
            name=call.name or "",
            key=call.key,
            number=len(failures) + 1,
            max=self._request.attempt.max if body.max_retries is None else body.max_retries + 1,
            last_error=failures[-1].error if failures else None,
        )

    async def _close(self) -> None:
        """Cancel the code and wait for it, within bounds: it may clean up, and it may refuse to end."""
        self._is_closed = True
        parked = list(self._replay.open_calls())
        for patience_s in (self._cleanup_timeout_s, self._cleanup_timeout_s / 10):
            self._task.cancel()
            for call in parked:  # of other tasks, which nobody but the code knows
                call.future.cancel()
            if self._task.done():
                break
            await asyncio.wait({self._task}, timeout=patience_s)
        if not self._task.done():
            logger.warning(
                "%s: the code of workflow %r goes on after CancelledError; it is left behind, and may leak",
                self._request.workflow_id,
                self._workflow.name,
            )

    @property
    def now(self) -> datetime:
        """The time at the last record handed out."""
        return self._replay.now

    def draw(self) -> Random:
        """Random numbers that depend on the instance, the run and the last record handed out."""
        if self._drawn_after != self._replay.handed_out:
            self._drawn_after = self._replay.handed_out
            self._random.seed(f"{self._request.seed}:{self._drawn_after}")
        return self._random

    def take_key(self, kind: CallKind, name: str | None) -> str:
        """Give the next free key, or refuse the name."""
        return self._replay.take_key(kind, name)

    def called(self, call: HelperCall) -> None:
        """A helper was called; after the end of the turn its caller is told once more to stop."""
        if not self._is_closed:
            self._calls_made += 1
            self._replay.open(call)
            self._forgotten[call.key] = None
            self._stir()
        elif self._strays < _MAX_STRAYS:
            self._strays += 1
            asyncio.get_running_loop().call_soon(call.future.cancel)

    def awaited(self, call: HelperCall) -> None:
        """The code awaits the call; in another task than the first it has branches."""
        self._forgotten.pop(call.key, None)
        self._is_branched = self._is_branched or asyncio.current_task() is not self._task

    def dropped(self, call: HelperCall) -> None:
        """The code no longer waits for the call."""
        self._replay.drop(call)
