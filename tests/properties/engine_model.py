"""What the engine promises, in the plainest Python: the state machine's opinion of each instance (PROMISES.md P3-P17).

Nothing of the engine is used here but the wire's actions. Each method is one thing that happened; it returns whether it
changed anything. `now` is the time of day, `revision` counts the transitions that the engine must have written.
"""

import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from runner_protocol.fields import format_timestamp
from runner_protocol.messages import (
    Action,
    Approval,
    Complete,
    ContinueAsNew,
    Defer,
    Diverged,
    Fail,
    Sleep,
    StepComplete,
    StepSkip,
    WaitEvent,
)

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 4.0
SLEEPS = {"0s": 0.0, "300ms": 0.3, "2s": 2.0, "1h": 3600.0}
FINISHED = ("completed", "failed", "cancelled")


class MalformedError(Exception):
    """The action does not fit: the sentence is what the failed attempt says."""


class ConflictError(Exception):
    """There is no such gate to decide about, or it was decided otherwise."""


@dataclass
class ModelInstance:
    """One instance. A record is `(key, kind, status, position, output, retry_count, final, timed_out)`.

    The last eight are of this process and not of the file, in seconds of the monotonic clock: an instance that is put
    off need not be asked about until `put_off_until`, and must not be before `not_before`; until `in_doubt_until` the
    engine may not know what became of a write; an answer that found the disk full is kept and tried at `kept_until`.
    The runner `has_spoken` when lines of the open turn's answer have been applied.
    """

    id: str
    name: str
    input: Any
    key: str | None
    max_retries: int
    status: str = "pending"
    is_started: bool = False
    run: int = 1
    run_input: Any = None
    vars: dict[str, Any] = field(default_factory=dict)
    run_vars: dict[str, Any] = field(default_factory=dict)
    revision: int = 1
    step: int = 0
    failures_here: int = 0
    due_at: datetime | None = None
    wait: tuple[str, str] | None = None
    gate: tuple[str, str] | None = None
    records: list[tuple[Any, ...]] = field(default_factory=list)
    inbox: list[tuple[str, Any]] = field(default_factory=list)
    event_ids: set[str] = field(default_factory=set)
    output: Any = None
    error: str | None = None
    has_open_turn: bool = False
    has_spoken: bool = False
    deferrals: int = 0
    put_off_until: float = -1.0
    not_before: float = -1.0
    in_doubt_until: float = -1.0
    kept_until: float | None = None
    overdue_since: float | None = None

    def __post_init__(self) -> None:
        self.run_input = self.input

    def copy(self) -> "ModelInstance":
        copied = copy.copy(self)
        copied.vars = dict(self.vars)
        copied.records, copied.inbox, copied.event_ids = self.records[:], self.inbox[:], set(self.event_ids)
        return copied

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    @property
    def is_runnable(self) -> bool:
        return self.due_at is None and self.status in ("pending", "running")

    def answer_all(self, actions: list[Action], now: datetime, most_records: int) -> Defer | None:
        """The runner answered an open turn with these, one after the other; the wish to be asked later, if it has one.

        What suspends or ends the instance, or its run, ends the turn, and so does an action that does not fit. Until
        then `has_spoken` is true.
        """
        run, self.has_spoken, goes_on = self.run, False, self.has_spoken
        for action in actions:
            if isinstance(action, Defer):
                return action
            if goes_on and len(self.records) >= most_records:
                self.block()
                return None
            try:
                self.answer(action, now, goes_on=goes_on)
            except MalformedError as error:
                self.answer(Fail(error=f"malformed-answer: {error}"), now, goes_on=goes_on)
                return None
            if self.status != "running" or self.run != run:
                return None
            goes_on = True
        self.has_spoken = True
        return None

    def answer(self, action: Action, now: datetime, *, goes_on: bool = False) -> bool:
        """The runner answered an open turn. Raises MalformedError, and has changed nothing then."""
        is_awaited = self.status in ("pending", "running") if goes_on else self.is_runnable
        if not is_awaited or isinstance(action, Defer):
            return False
        if self.due_at is not None and isinstance(action, Sleep | WaitEvent | Approval):
            raise MalformedError(
                f"action: {action.action!r} suspends the workflow after a failure that is to be retried"
            )
        self._apply(action, now)
        if not isinstance(action, Diverged):
            self.vars = {**self.vars, **(action.vars or {})}
            for name in action.unset or ():
                self.vars.pop(name, None)
        if isinstance(action, ContinueAsNew):
            self.run_vars = dict(self.vars)
        self._has_started()
        return True

    def _apply(self, action: Action, now: datetime) -> None:
        match action:
            case StepSkip():
                key = self._key(action.key, action.step_name)
                self._position(key, "step", "skipped", None)
            case Approval():
                key = self._key(action.key, f"approval:{action.name}")
                self.gate, self.status = (key, action.on_timeout), "awaiting_approval"
                self.due_at = None if action.timeout is None else now + action.timeout
                self.revision += 1
            case ContinueAsNew():
                self.run, self.run_input = self.run + 1, action.input
                self.records, self.step, self.failures_here, self.due_at = [], 0, 0, None
                self.revision += 1
            case StepComplete():
                key = self._key(action.key, action.step_name)
                self._position(key, "step", "completed", action.output)
            case Sleep():
                key = self._key(action.key, f"sleep:{action.name}" if action.name else "sleep")
                self._position(key, "sleep", "completed", None)
                self.due_at, self.status = now + timedelta(seconds=SLEEPS[action.duration]), "sleeping"
            case WaitEvent():
                key = self._key(action.key, f"event:{action.event}")
                early = next((unread for unread in self.inbox if unread[0] == action.event), None)
                if early is not None:
                    self.inbox.remove(early)
                    self._position(key, "event", "completed", early[1])
                else:
                    self.wait, self.status = (action.event, key), "waiting_for_event"
                    self.due_at = None if action.timeout is None else now + action.timeout
                    self.revision += 1
            case Complete():
                self._end("completed")
                self.output = action.output
            case Diverged():
                self.block()
            case Fail():
                self._fail(action, now)

    def no_answer(self, error: str, now: datetime) -> bool:
        """The turn timed out, or its answer was malformed: a failed attempt of the position now due."""
        goes_on, self.has_spoken = self.has_spoken, False
        return self.answer(Fail(error=error), now, goes_on=goes_on)

    def _fail(self, action: Fail, now: datetime) -> None:
        key = self._key(action.key, action.step_name or "unknown")
        of_this_key = sum(record[0] == key and record[2] == "failed" for record in self.records)
        failures = 1 + (self.failures_here if action.key is None else of_this_key)
        budget = self.max_retries if action.max_retries is None else action.max_retries
        if action.retryable and failures <= budget:
            self.records.append((key, "step", "failed", None, None, failures, False, False))
            backoff = timedelta(seconds=min(FIRST_BACKOFF_S * 2 ** (failures - 1), LONGEST_BACKOFF_S))
            retry_at = now + (backoff if action.retry_after is None else action.retry_after)
            self.due_at = retry_at if self.due_at is None else max(retry_at, self.due_at)
            self.failures_here += 1
            self.revision += 1
        elif action.on_exhausted == "throw":
            self._position(key, "step", "failed", None, retry_count=failures, final=True)
        else:
            self.records.append((key, "step", "failed", None, None, failures, True, False))
            self._end("failed")
            self.error = action.message
            self.revision += 1
            return
        if self.status == "pending":
            self.status = "running"

    def deliver(self, event: str, data: Any, event_id: str | None) -> bool:
        if event_id in self.event_ids:
            return False
        if event_id is not None:
            self.event_ids.add(event_id)
        self.revision += 1
        if self.wait is None or self.wait[0] != event:
            self.inbox.append((event, data))
        else:
            key, self.wait, self.due_at, self.status = self.wait[1], None, None, "running"
            self._position(key, "event", "completed", data)
        return True

    def decide(self, key: str, is_approved: bool, now: datetime) -> bool:
        """Raises ConflictError."""
        if self.gate is not None and self.gate[0] == key:
            self.gate, self.due_at, self.status = None, None, "running"
            self._position(key, "approval", "completed", _decision(is_approved, now))
            return True
        decided = [record for record in self.records if record[0] == key and record[1] == "approval"]
        if not decided or decided[0][7] or decided[0][4]["approved"] != is_approved:
            raise ConflictError
        return False

    def wake(self, now: datetime) -> bool:
        if self.due_at is None or now < self.due_at:
            return False
        self.due_at = None
        if self.gate is not None:
            (key, on_timeout), self.gate, self.status = self.gate, None, "running"
            if on_timeout == "fail":
                self._position(key, "approval", "failed", None, retry_count=1, final=True, timed_out=True)
            else:
                output = _decision(False, now, timed_out=True)
                self._position(key, "approval", "completed", output, timed_out=True)
        elif self.wait is None:
            self.status = "running" if self.is_started else "pending"
            self.revision += 1
        else:
            key, self.wait, self.status = self.wait[1], None, "running"
            self._position(key, "event", "completed", None, timed_out=True)
        return True

    def cancel(self) -> bool:
        if self.is_finished:
            return False
        self._end("cancelled")
        return True

    def block(self) -> bool:
        self.status, self.due_at = "blocked", None
        self.revision += 1
        return True

    def resume(self) -> bool:
        self.status = "running" if self.is_started else "pending"
        self.revision += 1
        return True

    def _has_started(self) -> None:
        if not self.is_started:
            self.is_started = True
            self.revision += 1
            if self.status == "pending":
                self.status = "running"

    def _end(self, status: str) -> None:
        self.status, self.due_at, self.wait, self.gate = status, None, None, None
        self.revision += 1

    def _key(self, given: str | None, name: str | None) -> str:
        taken = {record[0] for record in self.records if record[2] != "failed" or record[6]}
        if given in taken:
            raise MalformedError(f"key: {given!r} is already recorded in this run")
        name = name or "unknown"
        names = (name if number == 1 else f"{name}#{number}" for number in range(1, len(taken) + 2))
        return given or next(free for free in names if free not in taken)

    def _position(
        self, key: str, kind: str, status: str, output: Any, *, retry_count: int = 0, final: bool = False,
        timed_out: bool = False,
    ) -> None:  # fmt: skip
        self.records.append((key, kind, status, self.step, output, retry_count, final, timed_out))
        self.step += 1
        self.failures_here = 0
        self.revision += 1


def _decision(is_approved: bool, now: datetime, *, timed_out: bool = False) -> dict[str, Any]:
    return {
        "approved": is_approved,
        "by": None,
        "comment": None,
        "data": None,
        "at": format_timestamp(now),
        "timed_out": timed_out,
    }
