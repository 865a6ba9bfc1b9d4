"""What the code of one turn asks for, is handed and notes: the turn's side of a Context."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from random import Random

from runner_protocol.kit.answers import Answer, as_recorded, put_off
from runner_protocol.kit.call import HelperCall
from runner_protocol.kit.code import Code
from runner_protocol.kit.errors import NoHooksError, StepFailedError, TimedOutError
from runner_protocol.kit.history import HandedOut
from runner_protocol.kit.notes import Note, RunNotes, Vars
from runner_protocol.kit.replay import CallKind, Replay
from runner_protocol.messages import UNKNOWN_ERROR, Defer, HistorySize, StepComplete, StepRecord, TurnRequest

logger = logging.getLogger("runner_protocol.kit")

_MAX_STRAYS = 100
"""So often a helper called after the end of the turn cancels its caller; then the caller is left parked."""


class Ledger:
    """Everything that the code sees is as it was at the last record handed out; it is a `Calls`.

    `stop` ends the step of a call that the code wants no more.
    """

    def __init__(self, request: TurnRequest, code: Code, stop: Callable[[HelperCall], None]) -> None:
        self.replay: Replay[HelperCall] = Replay(request.completed_steps, request.started_at)
        self.notes = RunNotes(request.vars, request.noted)
        self.deferral: Defer | None = None
        self._request = request
        self._code = code
        self._stop = stop
        self._handed_out = HandedOut()
        self._random, self._drawn_after = Random(), -1  # noqa: S311 - repeatable is what it must be
        self._forgotten: dict[str, None] = {}
        self._strays = 0

    def hand_out(self, call: HelperCall, record: StepRecord) -> None:
        """Give the code what is recorded for its call."""
        self._handed_out.add(record)
        if record.status != "failed":
            call.answer(record.output)
            return
        raised = TimedOutError if record.timed_out or call.kind in ("event", "approval") else StepFailedError
        name = record.name if call.kind == "step" else call.name or ""
        attempts = len(self.replay.failures(call.key)) + 1
        call.fail(raised(name, record.error or UNKNOWN_ERROR, attempts, key=record.key, kind=call.kind))

    def hand_out_live(self, call: HelperCall, answer: Answer) -> None:
        """Give the code what this turn has recorded for its call, as the next turn would."""
        at = as_recorded(answer.action.completed_at) if isinstance(answer.action, StepComplete) else None
        self._handed_out.add(answer.output_json or b"null")
        if self.replay.hand_out_live(call, at):
            call.answer(answer.output)

    def warn_of_forgotten(self) -> None:
        """The function has returned: say which of its calls nobody has awaited."""
        if self._forgotten:
            calls = ", ".join(self._forgotten)
            logger.warning("%s: nobody has awaited %s: it may never be done", self._request.workflow_id, calls)

    @property
    def now(self) -> datetime:
        """The time at the last record handed out."""
        return self.replay.now

    def draw(self) -> Random:
        """Random numbers that depend on the instance, the run and the last record handed out."""
        if self._drawn_after != self.replay.handed_out:
            self._drawn_after = self.replay.handed_out
            self._random.seed(f"{self._request.seed}:{self._drawn_after}")
        return self._random

    @property
    def vars(self) -> Vars:
        """The durable variables."""
        return self.notes.vars

    @property
    def history(self) -> HistorySize:
        """How long the run has become, up to the last record handed out."""
        return self._handed_out.size

    def note(self, note: Note) -> None:
        """Put down a note of the workflow's function, unless no replay could repeat that."""
        if self._code.move() and self.deferral is None:
            self.notes.add(note)

    def put_off(self, why: NoHooksError) -> None:
        """Let the turn come to nothing, whatever the code does now; where no replay could repeat it, it does anyway."""
        if self._code.move():
            self.deferral = put_off(why)

    def is_recorded(self, kind: CallKind, name: str) -> bool:
        """Whether the engine knows already what the next such call asks for."""
        key, member = self.replay.next_key(kind, name), self._request.member
        return self.replay.is_recorded(kind, key) or (member is not None and member.group == key)

    def take_key(self, kind: CallKind, name: str | None) -> str:
        """Give the next free key, or refuse the name."""
        return self.replay.take_key(kind, name)

    def called(self, call: HelperCall) -> None:
        """A helper was called; after the end of the turn its caller is told once more to stop."""
        if not self._code.is_closed:
            self._code.move()
            self.replay.open(call)
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
        if self.replay.drop(call) and self._code.move():
            self._stop(call)
