"""One turn: lets the workflow's code run on against its records, and answers what it then does, line by line.

The code runs in a task of its own. Records are handed out one at a time, and only when every branch of the code waits;
after the last one the steps that it asks for are run, at the same time. The result of each is a line of the answer, is
then handed out like a record, and the code runs on. Once no step runs the first suspension, or the end, is the last
line. A helper that must wait is parked and never settled; when the turn is over the code is cancelled, and waited for,
but not for ever.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from datetime import datetime
from random import Random
from typing import cast

from runner_protocol.kit.answers import Answer, as_recorded, complete_workflow, encode_answer, fail_workflow
from runner_protocol.kit.call import HelperCall, Suspension
from runner_protocol.kit.code import Code, Raised, Returned
from runner_protocol.kit.context import Context
from runner_protocol.kit.errors import StepFailedError
from runner_protocol.kit.replay import CallKind, Replay
from runner_protocol.kit.running import RunningSteps
from runner_protocol.kit.step import StepBody, StepInfo, running_step
from runner_protocol.kit.workflow import Workflow
from runner_protocol.messages import UNKNOWN_ERROR, Diverged, Fail, StepComplete, StepRecord, StepStart, TurnRequest

logger = logging.getLogger("runner_protocol.kit")

_MAX_STRAYS = 100
"""So often a helper called after the end of the turn cancels its caller; then the caller is left parked."""


class Turn:
    """One request to one workflow; `lines` may be iterated once.

    With `streams` the turn goes on after each step, else its answer has one line.
    """

    def __init__(
        self, workflow: Workflow, request: TurnRequest, *, streams: bool = False, cleanup_timeout_s: float = 1.0
    ) -> None:
        self._workflow = workflow
        self._request = request
        self._streams = streams
        self._replay: Replay[HelperCall] = Replay(request.completed_steps, request.started_at)
        self._random, self._drawn_after = Random(), -1  # noqa: S311 - repeatable is what it must be
        self._strays = 0
        self._forgotten: dict[str, None] = {}
        self._steps = RunningSteps()
        self._has_failed = False
        shown = f"{request.workflow_id}: the code of workflow {workflow.name!r}"
        self._code = Code(lambda: self._replay.waiting, shown, cleanup_timeout_s=cleanup_timeout_s)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The actions as JSON, each as soon as it is known; closed early, it cancels the steps and the code."""
        self._code.start(self._run_code())
        try:
            while True:
                if not self._is_over:
                    if (diverged := await self._run_on()) is not None:
                        yield encode_answer(Answer(diverged))[1]
                        return
                    for line in self._start_steps():
                        yield line
                if not self._steps:
                    break
                if (ended := await self._steps.next()) is not None:
                    answer, line = encode_answer(ended.answer)
                    if isinstance(answer.action, Fail):
                        self._has_failed = True
                        logger.info("%s: %s has failed", self._request.workflow_id, ended.call.key)
                    yield line
                    if not self._streams:
                        return
                    self._record(ended.call, answer)
            if not self._is_over:
                yield encode_answer(self._last())[1]
        finally:
            await self._steps.close()
            await self._code.close(call.future for call in self._replay.open_calls())

    async def _run_on(self) -> Diverged | None:
        """Let the code run on and hand out what is recorded, until nothing is left to hand out."""
        while True:
            await self._code.settle()
            handed = None if self._code.ended is not None else self._replay.hand_out()
            if not isinstance(handed, tuple):
                return handed
            self._deliver(*handed)

    @property
    def _is_over(self) -> bool:
        """Whether steps that run may still end, and nothing else is done any more."""
        return self._has_failed or self._code.is_astray

    async def _run_code(self) -> object:
        running_step.set(None)  # this turn may have been asked for by a step of a runner in the same process
        return await self._workflow(Context(self._request, self), self._request.input)

    def _start_steps(self) -> Iterator[bytes]:
        """Run the steps that the code asks for: all of them, or without streams the first."""
        while self._code.ended is None and (self._streams or not self._steps):
            if (call := self._replay.next_step()) is None:
                return
            body = cast(StepBody, call.deed)
            if self._streams and body.timeout is not None:
                start = StepStart(step_name=call.name, key=call.key, timeout=body.timeout)
                yield encode_answer(Answer(start))[1]
            self._steps.start(call, body, self._info(call, body))

    def _record(self, call: HelperCall, answer: Answer) -> None:
        """Hand out what this turn has recorded, as the next one would."""
        action = answer.action
        if isinstance(action, StepComplete) and not self._is_over:
            is_awaited = self._replay.hand_out_live(call, as_recorded(action.completed_at))
            if is_awaited and not call.future.done():
                call.future.set_result(answer.output)

    def _last(self) -> Answer:
        """What the turn comes to, now that no step runs."""
        if self._code.ended is not None:
            return self._ending(self._code.ended)
        call = self._replay.suspension()
        return Answer(cast(Suspension, call.deed).model_copy(update={"after": call.after}))

    def _ending(self, ended: Returned | Raised) -> Answer:
        how = f" ({type(ended.error).__name__} was raised)" if isinstance(ended, Raised) else ""
        if (diverged := self._replay.check_end(how)) is not None:
            return Answer(diverged)
        if isinstance(ended, Raised):
            return Answer(fail_workflow(ended.error))
        if self._forgotten:
            calls = ", ".join(self._forgotten)
            logger.warning("%s: nobody has awaited %s: it may never be done", self._request.workflow_id, calls)
        return complete_workflow(ended.output)

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
        if not self._code.is_closed:
            self._code.move()
            self._replay.open(call)
            self._forgotten[call.key] = None
        elif self._strays < _MAX_STRAYS:
            self._strays += 1
            asyncio.get_running_loop().call_soon(call.future.cancel)

    def awaited(self, call: HelperCall) -> None:
        """The code awaits the call; in another task than the first it has branches."""
        self._forgotten.pop(call.key, None)
        self._code.awaits()

    def dropped(self, call: HelperCall) -> None:
        """The code no longer waits for the call: its step, if it runs, is stopped, if a replay can repeat that."""
        if self._replay.drop(call) and self._code.move():
            self._steps.cancel(call)
