"""The seams of the engine. The docstrings are the contracts; `tests/contracts` holds every implementation to them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.transitions import Transition
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import CorruptDatabaseError, WorkflowError
from pylon_workflows.summaries import MAX_PAGE, PARKED, EventReceipt, InstanceSummary, RunnerWait, Started
from runner_protocol.messages import Action

T = TypeVar("T")

__all__ = [
    "EMPTY", "MAX_PAGE", "PARKED", "Clock", "Engine", "EventReceipt", "InstanceSummary", "Runner", "RunnerWait",
    "Started", "Store", "Turn", "Write",
]  # fmt: skip

EMPTY: Any = {}
"""The input or data of a caller who gives none; never changed."""


class Turn(NamedTuple):
    """One question: the request's body, ready to send, and how many seconds the runner has for its answer."""

    instance_id: str
    body: bytes
    idempotency_key: str
    timeout_s: float


class Clock(Protocol):
    """Time, passed in and never asked for elsewhere: wall clock for due times, monotonic for waiting."""

    def now(self) -> datetime:
        """The time of day, in UTC. It may jump either way."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long on the monotonic clock; nothing or less yields once."""
        ...


class Runner(Protocol):
    """Whoever holds the workflow code."""

    async def take_turn(self, turn: Turn) -> Action:
        """Ask once, and read the one answer.

        Cancelling gives up the turn. The implementation keeps the deadline itself, over the whole turn: an answer that
        drips does not extend it.

        Raises:
            RunnerUnavailableError: there was no proper answer and the turn is asked again (PROTOCOL.md section 4).
            MalformedAnswerError: JSON that is no proper action.
            TurnTimedOutError: no answer within `turn.timeout_s`.
        """
        ...


class Write(asyncio.Future[T]):
    """A change that has been handed to the store, and that nobody can cancel.

    Whoever is cancelled while awaiting it goes when it has ended: so the next to hold the instance's lock finds the
    state after it.
    """

    def cancel(self, msg: Any | None = None) -> bool:
        """Do nothing."""
        return False


class Store(Protocol):
    """Where instances are kept. What a call has returned is durable; nothing is visible before it is (P1, P3, P4).

    Every call raises `StorageFullError` when the disk is full, with nothing changed, and another `StoreError` when the
    file cannot be used.
    """

    async def open(self) -> None:
        """Create or migrate what is needed.

        Raises:
            NewerDatabaseError: written by a newer release. CorruptDatabaseError: not readable. Neither is written to.
        """
        ...

    async def close(self) -> None:
        """Commit whatever was handed in, then let go of everything. A closed store can be opened again."""
        ...

    async def create(self, instance: Instance) -> str | None:
        """Store a new instance, whose history is its `origin`, and return None.

        When its id is taken, or its idempotency key, change nothing and return the id of the instance that has it
        (that of the id, where both are taken).
        """
        ...

    def append(
        self, instance: Instance, transitions: Sequence[Transition], *, is_to_announce: bool = False
    ) -> Write[None]:
        """Store the transitions that led to `instance`, and the instance's new state, together.

        The write is queued by the call itself, in the order of calls; awaiting tells when it is durable.
        `is_to_announce` keeps a finished instance among the `unannounced`. Nothing else appends to the same instance in
        the meantime; should the stored revision not be `instance.revision - len(transitions)`, the write fails with
        CorruptDatabaseError and changes nothing.
        """
        ...

    async def park(self, instance_id: str, reason: str) -> None:
        """Show an instance as `blocked`, not due, for a reason that begins with PARKED; its history stays as it is.

        Finished ones and unknown ids are left.
        """
        ...

    async def restore(self, instance: Instance) -> None:
        """Make the present state what its history says. Raises CorruptDatabaseError at another revision."""
        ...

    def suspects(self) -> AsyncIterator[str]:
        """Ids of parked instances, and of those whose present state cannot be true, whatever their histories say."""
        ...

    async def histories(self, instance_ids: Sequence[str]) -> Mapping[str, Sequence[Transition] | CorruptDatabaseError]:
        """The whole history of each instance, in order; unknown ids are left out.

        One whose rows cannot be read or are not all there is an UnreadableInstanceError.
        """
        ...

    async def summary(self, instance_id: str) -> InstanceSummary | None:
        """The instance's present state without its records, or None; `blocked` where it cannot be read."""
        ...

    async def list(
        self,
        *,
        statuses: Sequence[Status] = (),
        name: str | None = None,
        after: str | None = None,
        limit: int = MAX_PAGE,
    ) -> Sequence[InstanceSummary]:
        """Instances, newest first, of any of the statuses (none given: all); `after` is the id that ended a page.

        Nothing comes after an unknown id.
        """
        ...

    async def runnable_names(self) -> Sequence[str]:
        """The workflows that have instances to drive now, by name."""
        ...

    async def runnable(self, name: str, *, after: str | None = None, limit: int) -> Sequence[str]:
        """Ids of a workflow's instances to drive now, oldest first, after the one given; after an unknown one, all."""
        ...

    async def due(self, *, now: datetime, limit: int) -> Sequence[str]:
        """Ids of instances with `due_at <= now`, the longest overdue first."""
        ...

    async def next_due(self, *, after: datetime) -> datetime | None:
        """The earliest `due_at` later than `after`, or None."""
        ...

    async def unannounced(self, *, limit: int) -> Sequence[str]:
        """Ids of finished instances stored with `is_to_announce` and not yet marked, oldest first."""
        ...

    async def mark_announced(self, instance_ids: Sequence[str]) -> None:
        """Take them out of `unannounced`."""
        ...

    async def delete(self, instance_ids: Sequence[str]) -> int:
        """Delete finished and parked instances, each with its history; others are left. Returns how many."""
        ...

    async def expired(self, *, completed_before: datetime | None, keep: int | None, limit: int) -> Sequence[str]:
        """Finished, announced instances that retention deletes: completed before then, or beyond the newest `keep`."""
        ...

    async def save_definition(self, definition: WorkflowDefinition) -> None:
        """Add or replace a definition by name."""
        ...

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """All saved definitions but those that cannot be read, which are logged (P18)."""
        ...


Role = Literal["owner", "standby"]
"""Whether this process drives the file's instances, or stands by and forwards to the process that does."""


class Engine(Protocol):
    """What a front (the HTTP API) calls on an engine. Each change has been committed when the call returns.

    Every method raises EngineNotRunningError outside the engine's lifetime, and StoreError for the file's troubles.
    """

    async def start_or_find(
        self, name: str, input: Any = EMPTY, *, id: str | None = None, idempotency_key: str | None = None
    ) -> Started:
        """Start an instance, or find the one already started with this id or key, name and input (P13).

        Raises:
            UnknownWorkflowError, InvalidInputError, TooLargeError; StartConflictError when the id or key belongs to an
            instance with another name or input.
        """
        ...

    async def get(self, instance_id: str) -> Instance:
        """The instance; one that cannot be read is `blocked` and has no records. Raises UnknownInstanceError."""
        ...

    async def list(
        self,
        *,
        statuses: Sequence[Status] = (),
        name: str | None = None,
        after: str | None = None,
        limit: int = MAX_PAGE,
    ) -> Sequence[InstanceSummary]:
        """Instances, newest first; `limit` from 1 to 200 (else ListLimitError); `after` is the last id of a page."""
        ...

    async def send_event(
        self, instance_id: str, event: str, data: Any = EMPTY, *, event_id: str | None = None
    ) -> EventReceipt:
        """Accept an event; without data it has `{}`.

        Raises:
            UnknownInstanceError, InvalidInputError, TooLargeError, InstanceFinishedError, InboxFullError.
        """
        ...

    async def cancel(self, instance_id: str) -> None:
        """Cancel it; again is no error. Raises UnknownInstanceError, InstanceFinishedError."""
        ...

    async def resume(self, instance_id: str) -> Status:
        """Let a blocked instance go on. One that is parked is read again, and goes on with what it was doing.

        Raises:
            UnknownInstanceError, InstanceNotBlockedError, UnreadableInstanceError.
        """
        ...

    async def advance(self, instance_id: str) -> Status:
        """Do now what is due or was put off, and tell the present status. Raises UnknownInstanceError."""
        ...

    def waiting_for_runner(self, instance: Instance) -> RunnerWait | None:
        """Why the runner is not asked about it now, when it is away or puts it off; a standby knows of none."""
        ...

    async def delete(self, instance_id: str) -> None:
        """Delete an instance that has finished or is parked. Raises UnknownInstanceError, InstanceNotFinishedError."""
        ...

    async def history(self, instance_id: str) -> Sequence[Transition]:
        """All transitions of an instance, in order. Raises UnknownInstanceError."""
        ...

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """All definitions, by name."""
        ...

    async def save_definition(self, definition: WorkflowDefinition) -> None:
        """Keep a definition in the store; one registered in code goes before it."""
        ...

    @property
    def is_running(self) -> bool:
        """Whether it takes work."""
        ...

    @property
    def role(self) -> Role:
        """Whether the work is done here or forwarded."""
        ...

    @property
    def refusal(self) -> WorkflowError | None:
        """What every call raises now, a new error each time; None while it takes work.

        EngineNotRunningError before it starts and after it was closed, else the reason for which it has stopped.
        """
        ...
