"""What the engine promises, in the plainest Python: the state machine's opinion of each instance (PROMISES.md P3-P17).

Nothing of the engine is used here but the wire's actions. Each method is one thing that happened; it returns whether it
changed anything. `now` is the time of day, `revision` counts the transitions that the engine must have written.
"""

import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from runner_protocol.messages import Action, Complete, Defer, Diverged, Fail, Sleep, StepComplete, WaitEvent

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 4.0
SLEEPS = {"0s": 0.0, "300ms": 0.3, "2s": 2.0, "1h": 3600.0}
FINISHED = ("completed", "failed", "cancelled")


class DuplicateKeyError(Exception):
    """The runner named a key that is recorded already: its answer is malformed."""


@dataclass
class ModelInstance:
    """One instance. A record is `(key, kind, status, position, output, retry_count, final, timed_out)`.

    The last seven are of this process and not of the file, in seconds of the monotonic clock: an instance that is put
    off need not be asked about until `put_off_until`, and must not be before `not_before`; until `in_doubt_until` the
    engine may not know what became of a write; an answer that found the disk full is kept and tried at `kept_until`.
    """

    id: str
    name: str
    input: Any
    key: str | None
    max_retries: int
    status: str = "pending"
    is_started: bool = False
    revision: int = 1
    step: int = 0
    failures_here: int = 0
    due_at: datetime | None = None
    wait: tuple[str, str] | None = None
    records: list[tuple[Any, ...]] = field(default_factory=list)
    inbox: list[tuple[str, Any]] = field(default_factory=list)
    event_ids: set[str] = field(default_factory=set)
    output: Any = None
    error: str | None = None
    has_open_turn: bool = False
    deferrals: int = 0
    put_off_until: float = -1.0
    not_before: float = -1.0
    in_doubt_until: float = -1.0
    kept_until: float | None = None
    overdue_since: float | None = None

    def copy(self) -> "ModelInstance":
        copied = copy.copy(self)
        copied.records, copied.inbox, copied.event_ids = self.records[:], self.inbox[:], set(self.event_ids)
        return copied

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    @property
    def is_runnable(self) -> bool:
        return self.due_at is None and self.status in ("pending", "running")

    def answer(self, action: Action, now: datetime) -> bool:
        """The runner answered an open turn. Raises DuplicateKeyError, and has changed nothing then."""
        if not self.is_runnable or isinstance(action, Defer):
            return False
        match action:
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
                self.status = "blocked"
                self.revision += 1
            case Fail():
                self._fail(action, now)
        self._has_started()
        return True

    def no_answer(self, error: str, now: datetime) -> bool:
        """The turn timed out, or its answer was malformed: a failed attempt of the position now due."""
        return self.answer(Fail(error=error), now)

    def _fail(self, action: Fail, now: datetime) -> None:
        key = self._key(action.key, action.step_name or "unknown")
        of_this_key = sum(record[0] == key and record[2] == "failed" for record in self.records)
        failures = 1 + (self.failures_here if action.key is None else of_this_key)
        budget = self.max_retries if action.max_retries is None else action.max_retries
        if action.retryable and failures <= budget:
            self.records.append((key, "step", "failed", None, None, failures, False, False))
            backoff = timedelta(seconds=min(FIRST_BACKOFF_S * 2 ** (failures - 1), LONGEST_BACKOFF_S))
            self.due_at = now + (backoff if action.retry_after is None else action.retry_after)
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

    def wake(self, now: datetime) -> bool:
        if self.due_at is None or now < self.due_at:
            return False
        self.due_at = None
        if self.wait is None:
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
        self.status = "blocked"
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
        self.status, self.due_at, self.wait = status, None, None
        self.revision += 1

    def _key(self, given: str | None, name: str | None) -> str:
        taken = {record[0] for record in self.records if record[2] != "failed" or record[6]}
        if given in taken:
            raise DuplicateKeyError
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
