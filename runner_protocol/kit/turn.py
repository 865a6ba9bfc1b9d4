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
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import cast

from runner_protocol.kit.answers import Answer, as_recorded, complete_workflow, encode_answer, fail_workflow
from runner_protocol.kit.call import HelperCall, Suspension
from runner_protocol.kit.code import Code, Raised, Returned
from runner_protocol.kit.context import Context
from runner_protocol.kit.errors import StepFailedError, TimedOutError
from runner_protocol.kit.groups import Group
from runner_protocol.kit.history import HandedOut
from runner_protocol.kit.notes import Note, NoteBook, RunNotes, Vars, written
from runner_protocol.kit.options import Policy
from runner_protocol.kit.replay import THE_END, CallKind, Replay
from runner_protocol.kit.running import RunningSteps
from runner_protocol.kit.step import StepBody, StepInfo, StepScope, leave_steps
from runner_protocol.kit.workflow import Workflow
from runner_protocol.messages import (
    UNKNOWN_ERROR,
    ContinueAsNew,
    Diverged,
    Fail,
    HistorySize,
    MemberRequest,
    StepComplete,
    StepRecord,
    StepSkip,
    StepStart,
    TurnRequest,
    encode_message,
)

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
        self._notes = RunNotes(request.vars, request.noted)
        self._handed_out = HandedOut()
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
                        yield encode_message(diverged)
                        return
                    for line in self._start_steps():
                        yield line
                if not self._steps:
                    break
                if (ended := await self._steps.next()) is not None:
                    answer, line = self._encode(ended.answer, ended.notes)
                    yield line
                    if not self._streams or self._request.member is not None:
                        return
                    self._record(ended.call, answer)
            if not self._is_over:
                yield self._encode(self._last())[1]
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
        leave_steps()  # this turn may have been asked for by a step of a runner in the same process
        return await self._workflow(Context(self._request, self), self._request.input)

    def _start_steps(self) -> Iterator[bytes]:
        """Run the steps that the code asks for: all of them, without streams the first, of a group the one member."""
        if self._request.member is not None:
            yield from self._start_member(self._request.member)
            return
        while self._code.ended is None and (self._streams or not self._steps):
            if (call := self._replay.next_step()) is None:
                return
            if isinstance(call.deed, StepSkip):
                fields = {"step_name": call.name, "key": call.key, "after": call.after}
                self._steps.add(call, Answer(call.deed.model_copy(update=fields)))
                continue
            body = cast(StepBody, call.deed)
            yield from self._announce(call.name, call.key, body)
            failures = self._replay.failures(call.key)
            info = self._info(
                name=call.name or "",
                key=call.key,
                number=len(failures) + 1,
                last_error=failures[-1].error if failures else None,
                policy=body.policy,
            )
            self._steps.start(call, body, StepScope.of(info, self._request.seed), after=call.after)

    def _start_member(self, member: MemberRequest) -> Iterator[bytes]:
        call = self._replay.find(member.group)
        body = call.deed.body_of(member) if call is not None and isinstance(call.deed, Group) else None
        if call is None or body is None:
            others = next((open_call.key for open_call in self._replay.open_calls()), THE_END)
            got = others if call is None else f"{call.key} (a {call.kind}) without this member"
            yield encode_message(Diverged(position=self._replay.handed_out, expected=member.key, got=got))
            self._code.is_astray = True
            return
        attempt = self._request.attempt
        yield from self._announce(member.name, member.key, body)
        info = self._info(
            name=member.name,
            key=member.key,
            number=attempt.number,
            last_error=attempt.last_error,
            policy=body.policy,
        )
        self._steps.start(call, body, StepScope.of(info, self._request.seed), after=None)

    def _announce(self, name: str | None, key: str, body: StepBody) -> Iterator[bytes]:
        if self._streams and body.policy.timeout is not None:
            yield encode_message(StepStart(step_name=name, key=key, timeout=body.policy.timeout))

    def _info(self, *, name: str, key: str, number: int, last_error: str | None, policy: Policy) -> StepInfo:
        return StepInfo(
            workflow_id=self._request.workflow_id,
            run=self._request.run,
            name=name,
            key=key,
            number=number,
            max=self._request.attempt.max if policy.max_retries is None else policy.max_retries + 1,
            last_error=last_error,
        )

    def _encode(self, answer: Answer, own: NoteBook | None = None) -> tuple[Answer, bytes]:
        """Write the answer together with the notes that have not gone out; a `diverged` applies none."""
        if not isinstance(answer.action, Diverged):
            is_member = self._request.member is not None
            notes = written([own] if own else []) if is_member else self._notes.take(own)
            if notes:
                answer = replace(answer, action=answer.action.model_copy(update=notes))
        answer, line = encode_answer(answer)
        if isinstance(answer.action, Fail):
            self._has_failed = True
            what = answer.action.key or "the workflow's function"
            logger.info("%s: %s has failed", self._request.workflow_id, what)
        return answer, line

    def _record(self, call: HelperCall, answer: Answer) -> None:
        """Hand out what this turn has recorded, as the next one would."""
        if self._is_over:
            return
        at = as_recorded(answer.action.completed_at) if isinstance(answer.action, StepComplete) else None
        self._handed_out.add(answer.output_json or b"null")
        if self._replay.hand_out_live(call, at):
            call.answer(answer.output)

    def _last(self) -> Answer:
        """What the turn comes to, now that no step runs."""
        ended, call = self._code.ended, self._replay.continuation()
        if ended is not None and (call is None or isinstance(ended, Raised)):
            return self._ending(ended)
        call = call or self._replay.suspension()
        deed = call.deed.action if isinstance(call.deed, Group) else cast(Suspension, call.deed)
        if isinstance(deed, ContinueAsNew):
            return Answer(deed)
        return Answer(deed.model_copy(update={"key": call.key, "after": call.after}))

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
        self._handed_out.add(record)
        if record.status != "failed":
            call.answer(record.output)
            return
        raised = TimedOutError if call.kind in ("event", "approval") else StepFailedError
        name = record.name if call.kind == "step" else call.name or ""
        attempts = len(self._replay.failures(call.key)) + 1
        call.fail(raised(name, record.error or UNKNOWN_ERROR, attempts, key=record.key, kind=call.kind))

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

    @property
    def vars(self) -> Vars:
        """The durable variables."""
        return self._notes.vars

    @property
    def history(self) -> HistorySize:
        """How long the run has become, up to the last record handed out."""
        return self._handed_out.size

    def note(self, note: Note) -> None:
        """Put down a note of the workflow's function, unless no replay could repeat that."""
        if self._code.move():
            self._notes.add(note)

    def is_recorded(self, kind: CallKind, name: str) -> bool:
        """Whether the engine knows already what the next such call asks for."""
        key, member = self._replay.next_key(kind, name), self._request.member
        return self._replay.is_recorded(kind, key) or (member is not None and member.group == key)

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
