"""The steps that run in a turn, at the same time; given back in the order in which they ended."""

import asyncio
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from runner_protocol.kit.answers import Answer, StepAttempt
from runner_protocol.kit.call import HelperCall
from runner_protocol.kit.notes import NoteBook
from runner_protocol.kit.step import StepBody, StepScope, call_body

logger = logging.getLogger("runner_protocol.kit")

_GOODBYE_S = 5.0
"""So long a step may take to stop when nobody wants it any more; then it is left to itself."""

_MAX_THREADS = 256
"""So many bodies that block run at a time. An event loop's own threads are a handful on a small machine, and for all
turns together: the steps of a gather would wait there until their time was over, or for ever behind some that hang."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A step that has ended, and what its answer is."""

    call: HelperCall
    answer: Answer
    notes: NoteBook | None = None


@dataclass(eq=False, slots=True)
class _Run:
    call: HelperCall
    attempt: StepAttempt
    notes: NoteBook
    task: asyncio.Task[tuple[Any, BaseException | None]]
    timer: asyncio.TimerHandle | None = None
    has_timed_out: bool = False
    is_unwanted: bool = False
    is_over: bool = False


class RunningSteps:
    """Runs the bodies of steps, each once and in a task and a context of its own.

    Whatever a body raises becomes a `fail`. SystemExit too: a library that calls `sys.exit()` fails its step, not the
    runner.
    """

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._running: dict[HelperCall, _Run] = {}
        self._ended: deque[Ended] = deque()
        self._stirred: asyncio.Future[None] | None = None
        self._fatal: BaseException | None = None

    def __bool__(self) -> bool:
        """Whether a step runs, or has ended and was not given yet."""
        return bool(self._running or self._ended) or self._fatal is not None

    def start(self, call: HelperCall, body: StepBody, scope: StepScope, *, after: int | None) -> None:
        """Run the body, with what helpers called by it are to find."""
        attempt = StepAttempt.begin(scope.info, body, after=after)
        call.context.run(scope.enter)
        loop = asyncio.get_running_loop()
        task = loop.create_task(call_body(body.function, body.arguments, self._own_threads), context=call.context)
        run = self._running[call] = _Run(call, attempt, scope.notes, task)
        if (limit := body.policy.timeout) is not None:
            run.timer = loop.call_later(limit.total_seconds(), self._time_out, run)
        task.add_done_callback(lambda _: self._end(run))

    def add(self, call: HelperCall, answer: Answer) -> None:
        """Take what needed no running as ended now."""
        self._ended.append(Ended(call, answer))
        self._stir()

    async def next(self) -> Ended | None:
        """The step that has ended first of those not given yet; None when the last one that ran was unwanted."""
        while not self._ended and self._running and self._fatal is None:
            self._stirred = asyncio.get_running_loop().create_future()
            await self._stirred
        if self._fatal is not None:
            raise self._fatal
        return self._ended.popleft() if self._ended else None

    def cancel(self, call: HelperCall) -> None:
        """The code wants the call's step no more: it is told to stop, and leaves no answer."""
        if (run := self._running.get(call)) is not None and not run.is_unwanted:
            run.is_unwanted = True
            self._stop(run)

    async def close(self) -> None:
        """Cancel what still runs, and wait for it within bounds."""
        for call in list(self._running):
            self.cancel(call)
        try:
            while self._running:
                await self.next()
        finally:
            if self._threads is not None:
                self._threads.shutdown(wait=False)

    def _own_threads(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="step")
        return self._threads

    def _time_out(self, run: _Run) -> None:
        run.has_timed_out = True
        self._stop(run)

    def _stop(self, run: _Run) -> None:
        """Cancel the body; one that does not end is left to itself a little later."""
        if run.timer is not None:
            run.timer.cancel()
        run.task.cancel()
        run.timer = asyncio.get_running_loop().call_later(_GOODBYE_S, self._end, run)

    def _end(self, run: _Run) -> None:
        if run.is_over:
            return
        run.is_over = True
        del self._running[run.call]
        if run.timer is not None:
            run.timer.cancel()
        if not run.task.done():
            logger.warning("step %r goes on after CancelledError; it is left behind, and may leak", run.call.key)
        try:
            if not run.is_unwanted:
                self._give(run)
        except Exception as error:  # the kit's fault: to be told, and not to be waited for
            self._fatal = error
        self._stir()

    def _give(self, run: _Run) -> None:
        if run.has_timed_out:
            answer = run.attempt.time_out()
        elif run.task.cancelled():  # by itself
            answer = run.attempt.fail(asyncio.CancelledError())
        elif (fatal := run.task.exception()) is not None:
            self._fatal = fatal
            return
        else:
            output, error = run.task.result()
            answer = run.attempt.complete(output) if error is None else run.attempt.fail(error)
        self._ended.append(Ended(run.call, answer, run.notes))

    def _stir(self) -> None:
        if self._stirred is not None and not self._stirred.done():
            self._stirred.set_result(None)
