"""The state of an instance: what its history folds into."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from pylon_workflows.core.children import Children
from pylon_workflows.core.event_ids import EventIds
from pylon_workflows.core.groups import Group
from pylon_workflows.core.notes import Progress
from pylon_workflows.core.records import Record, Records
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import InstanceStarted
from pylon_workflows.core.usage import Usage
from pylon_workflows.core.variables import Variables


class Status(StrEnum):
    """What an instance is doing; `docs/concepts.md` draws how one leads to another."""

    PENDING = "pending"
    RUNNING = "running"
    SLEEPING = "sleeping"
    WAITING_FOR_EVENT = "waiting_for_event"
    AWAITING_APPROVAL = "awaiting_approval"
    WAITING_FOR_CHILD = "waiting_for_child"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


WAITING = (Status.WAITING_FOR_EVENT, Status.AWAITING_APPROVAL, Status.WAITING_FOR_CHILD)
FINISHED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a run goes by: its input, and the definition as it was when the run started."""

    input_json: bytes
    version: str | None
    policy: RetryPolicy
    step_timeout: timedelta

    @staticmethod
    def of(origin: InstanceStarted) -> "Terms":
        """Those of the first run."""
        return Terms(
            input_json=origin.input_json,
            version=origin.version,
            policy=origin.policy,
            step_timeout=origin.step_timeout,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWait:
    """An event is waited for, by this name, that matches."""

    event: str
    key: str
    started_at: datetime
    match_json: bytes | None = None
    correlation: str | None = None
    on_timeout: str = "return"
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalWait:
    """A person's decision is waited for."""

    key: str
    name: str
    message: str
    data_json: bytes
    started_at: datetime
    on_timeout: str
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildWait:
    """A child is waited for."""

    key: str
    name: str
    child_id: str
    started_at: datetime
    after: int | None = None
    notes_json: bytes | None = None


Wait = EventWait | ApprovalWait | ChildWait


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxEvent:
    """An event that nobody has taken yet; `revision` is that of its `EventReceived`."""

    event: str
    data_json: bytes
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One start of a workflow.

    `origin` holds what never changes, `terms` what the present run goes by. `revision` counts the transitions folded so
    far, `current_step` the positions taken in this run, `failures_here` the failed attempts since the last position,
    `noted` the notes of this run that are applied. `due_at` is when to wake it: the end of a sleep, of a wait, of a
    backoff, or a delayed start. `vars` are the variables now, `run_vars` those with which the run began. `children` are
    those that have not finished.
    """

    origin: InstanceStarted
    terms: Terms
    run: int = 1
    revision: int = 1
    status: Status = Status.PENDING
    started_at: datetime | None = None
    run_started_at: datetime | None = None
    completed_at: datetime | None = None
    due_at: datetime | None = None
    wait: Wait | None = None
    group: Group | None = None
    current_step: int = 0
    failures_here: int = 0
    last_error: str | None = None
    last_position_at: datetime | None = None
    history_bytes: int = 0
    noted: int = 0
    output_json: bytes | None = None
    error: str | None = None
    error_detail_json: bytes | None = None
    blocked_reason: str | None = None
    records: Records = field(default_factory=Records)
    vars: Variables = field(default_factory=Variables)
    run_vars: Variables = field(default_factory=Variables)
    usage: Usage = field(default_factory=Usage)
    progress: Progress | None = None
    children: Children = field(default_factory=Children)
    inbox: tuple[InboxEvent, ...] = ()
    event_ids: EventIds = field(default_factory=EventIds)

    @property
    def id(self) -> str:
        """The public id."""
        return self.origin.id

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self.origin.name

    @property
    def version(self) -> str | None:
        """The workflow's version when the run started."""
        return self.terms.version

    @property
    def created_at(self) -> datetime:
        """When the instance was started by its caller."""
        return self.origin.at

    @property
    def max_retries(self) -> int:
        """How many failures of one step are retried."""
        return self.terms.policy.max_retries

    @property
    def input(self) -> Any:
        """The input of this run as a Python value."""
        return json.loads(self.terms.input_json)

    @property
    def seed(self) -> str:
        """32 hex digits for what chance workflow code takes, another for each run."""
        if self.run == 1:
            return self.origin.seed
        return hashlib.sha256(f"{self.origin.seed}:{self.run}".encode()).hexdigest()[:32]

    @property
    def parent_id(self) -> str | None:
        """The instance that has started this one, or was named as its parent."""
        return self.origin.parent_id

    @property
    def tags(self) -> Mapping[str, str]:
        """What it was marked with at its start."""
        tags: Mapping[str, str] = {} if self.origin.tags_json is None else json.loads(self.origin.tags_json)
        return tags

    @property
    def output(self) -> Any:
        """The output as a Python value; None until the workflow has completed."""
        return None if self.output_json is None else json.loads(self.output_json)

    @property
    def error_detail(self) -> Any:
        """The error as the runner's object, where it gave one."""
        return None if self.error_detail_json is None else json.loads(self.error_detail_json)

    @property
    def steps(self) -> tuple[Record, ...]:
        """The records of this run."""
        return tuple(self.records)

    @property
    def waiting_for(self) -> str | None:
        """What the instance waits for: the name of the event, the key of the approval, or the id of the child."""
        match self.wait:
            case EventWait():
                return self.wait.event
            case ApprovalWait():
                return self.wait.key
            case ChildWait():
                return self.wait.child_id
            case None:
                return None
            case _:
                assert_never(self.wait)

    @property
    def wake_at(self) -> datetime | None:
        """When a sleep, a wait or a delayed start ends."""
        return None if self.status is Status.RUNNING else self.due_at

    @property
    def retry_at(self) -> datetime | None:
        """When the next attempt is due, between attempts."""
        return self.due_at if self.status is Status.RUNNING else None

    @property
    def is_finished(self) -> bool:
        """Whether the instance has completed, failed or been cancelled."""
        return self.status in FINISHED

    @property
    def is_runnable(self) -> bool:
        """Whether the runner is to be asked now."""
        return self.due_at is None and (self.status is Status.RUNNING or self.status is Status.PENDING)
