"""One turn: lets the workflow's code run on against its records, and answers what it then does, line by line.

The code runs in a task of its own. Records are handed out one at a time, and only when every branch of the code waits;
after the last one the steps that it asks for are run, at the same time. The result of each is a line of the answer, is
then handed out like a record, and the code runs on. Once no step runs the first suspension, or the end, is the last
line. A helper that must wait is parked and never settled; when the turn is over the code is cancelled, and waited for,
but not for ever.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import cast

from runner_protocol.kit.answers import Answer, complete_workflow, encode_answer, fail_workflow, shown_end
from runner_protocol.kit.call import HelperCall, Suspension
from runner_protocol.kit.code import Code, Raised, Returned
from runner_protocol.kit.context import Context
from runner_protocol.kit.groups import Group
from runner_protocol.kit.ledger import Ledger
from runner_protocol.kit.notes import NoteBook, written
from runner_protocol.kit.options import Policy
from runner_protocol.kit.rehearsal import Rehearsal
from runner_protocol.kit.replay import THE_END
from runner_protocol.kit.running import RunningSteps
from runner_protocol.kit.step import StepBody, StepInfo, StepScope, leave_steps
from runner_protocol.kit.workflow import Workflow
from runner_protocol.messages import (
    ContinueAsNew,
    Defer,
    Diverged,
    Fail,
    MemberRequest,
    StepComplete,
    StepSkip,
    StepStart,
    TurnRequest,
    encode_message,
    parse_action,
)

logger = logging.getLogger("runner_protocol.kit")

_NOT_NOW = Defer(retry_after=timedelta(seconds=1), reason="the runner is being stopped")


class Turn:
    """One request to one workflow; `lines` may be iterated once.

    With `streams` the turn goes on after each step; without, and of a member, its answer has one line. Once
    `is_stopping` no step starts.
    """

    def __init__(
        self,
        workflow: Workflow,
        request: TurnRequest,
        *,
        streams: bool = False,
        cleanup_timeout_s: float = 1.0,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._workflow = workflow
        self._request = request
        self.is_stream = streams and request.member is None
        self._is_stopping = is_stopping
        self._steps = RunningSteps()
        shown = f"{request.workflow_id}: the code of workflow {workflow.name!r}"
        self._code = Code(lambda: self._replay.waiting, shown, cleanup_timeout_s=cleanup_timeout_s)
        self._ledger = Ledger(request, self._code, self._steps.cancel)
        self._replay = self._ledger.replay
        self._is_winding_up = False
        self._has_answered = False
        self._has_failed = False

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
                    if isinstance(ended.answer.action, Defer):
                        self._ledger.deferral = ended.answer.action
                        continue
                    answer, line = self._encode(ended.answer, ended.notes)
                    yield line
                    if not self.is_stream:
                        return
                    if self._may_go_on and isinstance(answer.action, (StepComplete, StepSkip)):
                        self._ledger.hand_out_live(ended.call, answer)
            if (last := self._last_line()) is not None:
                yield last
        finally:
            await self._steps.close()
            await self._code.close(call.future for call in self._replay.open_calls())

    async def rehearse(self) -> Rehearsal:
        """Let the code run over the records and say what it would do next; no step is run."""
        self._code.start(self._run_code())
        try:
            if (diverged := await self._run_on()) is not None:
                return Rehearsal(end=diverged)
            if (deferral := self._ledger.deferral) is not None:
                return Rehearsal(end=deferral)
            if self._code.ended is not None or self._replay.continuation() is not None:
                return Rehearsal(end=parse_action(encode_answer(self._last())[1]))
            return Rehearsal(next_keys=tuple(call.key for call in self._replay.open_calls()))
        finally:
            await self._code.close(call.future for call in self._replay.open_calls())

    async def _run_on(self) -> Diverged | None:
        """Let the code run on and hand out what is recorded, until nothing is left to hand out."""
        while True:
            await self._code.settle()
            has_ended = self._code.ended is not None or self._ledger.deferral is not None
            handed = None if has_ended else self._replay.hand_out()
            if not isinstance(handed, tuple):
                return handed
            self._ledger.hand_out(*handed)

    @property
    def _is_over(self) -> bool:
        """Whether steps that run may still end, and nothing else is done any more."""
        return self._is_winding_up or self._code.is_astray or self._ledger.deferral is not None

    @property
    def _may_go_on(self) -> bool:
        return not self._is_over and self._code.ended is None

    async def _run_code(self) -> object:
        leave_steps()  # this turn may have been asked for by a step of a runner in the same process
        return await self._workflow(Context(self._request, self._ledger), self._request.input)

    def _start_steps(self) -> Iterator[bytes]:
        """Run the steps that the code asks for: all of them, without streams the first, of a group the one member."""
        if self._ledger.deferral is not None:
            return
        if self._request.member is not None:
            yield from self._start_member(self._request.member)
            return
        while self._may_go_on and (self.is_stream or not self._steps):
            if (call := self._replay.next_step()) is None:
                return
            if self._is_stopping():
                self._is_winding_up = True
                return
            if isinstance(call.deed, StepSkip):
                fields = {"step_name": call.name, "key": call.key, "after": call.after}
                self._steps.add(call, Answer(call.deed.model_copy(update=fields)))
                continue
            failures = self._replay.failures(call.key)
            yield from self._start(
                call,
                cast(StepBody, call.deed),
                name=call.name or "",
                key=call.key,
                number=len(failures) + 1,
                last_error=failures[-1].error if failures else None,
            )

    def _start_member(self, member: MemberRequest) -> Iterator[bytes]:
        call = self._replay.find(member.group)
        body = call.deed.body_of(member) if call is not None and isinstance(call.deed, Group) else None
        if call is not None and body is not None and not self._is_stopping():
            attempt = self._request.attempt
            yield from self._start(
                call,
                body,
                name=member.name,
                key=member.key,
                number=attempt.number,
                last_error=attempt.last_error,
            )
            return
        self._is_winding_up = True
        if call is None or body is None:
            self._has_answered = True
            others = next((asked.key for asked in self._replay.open_calls()), THE_END)
            got = others if call is None else f"{call.key} (a {call.kind}) without this member"
            yield encode_message(Diverged(position=self._replay.handed_out, expected=member.key, got=got))

    def _start(
        self, call: HelperCall, body: StepBody, *, name: str, key: str, number: int, last_error: str | None
    ) -> Iterator[bytes]:
        if self.is_stream and body.policy.timeout is not None:
            yield encode_message(StepStart(step_name=name, key=key, timeout=body.policy.timeout))
        info = StepInfo(
            workflow_id=self._request.workflow_id,
            run=self._request.run,
            name=name,
            key=key,
            number=number,
            max=self._most_attempts(body.policy),
            last_error=last_error,
        )
        after = None if self._request.member is not None else call.after
        self._steps.start(call, body, StepScope(info, self._request.seed), after=after)

    def _most_attempts(self, policy: Policy) -> int:
        return self._request.attempt.max if policy.max_retries is None else policy.max_retries + 1

    def _encode(self, answer: Answer, own: NoteBook | None = None) -> tuple[Answer, bytes]:
        """Write the answer together with the notes that have not gone out; a `diverged` applies none."""
        if not isinstance(answer.action, Diverged):
            is_member = self._request.member is not None
            notes = written([own] if own else []) if is_member else self._ledger.notes.take(own)
            if notes:
                answer = replace(answer, action=answer.action.model_copy(update=notes))
        answer, line = encode_answer(answer)
        self._has_answered = True
        if isinstance(answer.action, Fail):
            self._is_winding_up = self._has_failed = True
            what = answer.action.key or "the workflow's function"
            logger.info("%s: %s has failed", self._request.workflow_id, what)
        return answer, line

    def _last_line(self) -> bytes | None:
        if (deferral := self._ledger.deferral) is not None:
            return None if self._has_failed else encode_message(deferral)  # what has failed says when it is tried again
        if not self._is_over:
            return self._encode(self._last())[1]
        return None if self._has_answered else encode_message(_NOT_NOW)

    def _last(self) -> Answer:
        """What the turn comes to, now that no step runs."""
        if self._code.ended is not None:
            return self._ending(self._code.ended)
        call = self._replay.suspension()
        deed = call.deed.action if isinstance(call.deed, Group) else cast(Suspension, call.deed)
        if isinstance(deed, ContinueAsNew):
            return Answer(deed)
        return Answer(deed.model_copy(update={"key": call.key, "after": call.after}))

    def _ending(self, ended: Returned | Raised) -> Answer:
        if (diverged := self._replay.check_end(shown_end(ended))) is not None:
            return Answer(diverged)
        if isinstance(ended, Raised):
            return Answer(fail_workflow(ended.error))
        if (new := self._replay.continuation()) is not None:  # nobody has awaited it, and it was meant all the same
            return Answer(cast(ContinueAsNew, new.deed))
        self._ledger.warn_of_forgotten()
        return complete_workflow(ended.output)
