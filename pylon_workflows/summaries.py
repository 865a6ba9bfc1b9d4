"""What an engine tells of its instances, but for the instances themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.revisions import last_revision
from pylon_workflows.core.transitions import Transition

PARKED = "unreadable: "
"""How the reason begins for which an instance that cannot be read is blocked; no instance's history says so."""

NO_CHILD = "its child cannot be started"
"""How the reason begins for which an instance is put off whose child's workflow nobody knows."""

MAX_HISTORY_PAGE = 1_000
"""How many transitions a page of a history has at most."""

MAX_HISTORY_PAGE_BYTES = 4 * 1024 * 1024
"""How many bytes, but for a single transition that is larger."""

MAX_PAGE = 200
"""How many instances a page of a list has at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSummary:
    """An instance without its input, output, steps and inbox: what a list shows."""

    id: str
    name: str
    version: str | None
    run: int
    revision: int
    status: Status
    current_step: int
    waiting_for: str | None
    due_at: datetime | None
    error: str | None
    blocked_reason: str | None
    max_retries: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    parent_id: str | None
    tags: Mapping[str, str]

    @staticmethod
    def of(instance: Instance) -> "InstanceSummary":
        """That of an instance."""
        return InstanceSummary(**{field.name: getattr(instance, field.name) for field in fields(InstanceSummary)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The instance that a start led to: a new one, or the one that had the same id or idempotency key."""

    id: str
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReceipt:
    """An accepted event; a duplicate changed nothing."""

    is_duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalReceipt:
    """A decision that counts; a duplicate is the same as the one made before, and changed nothing."""

    is_duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """Some of an instance's transitions: those that follow `after`, of an instance at `revision`."""

    after: int
    transitions: Sequence[Transition]
    revision: int

    @property
    def last(self) -> int:
        """The revision of the last of them, or `after`: what the next page comes after."""
        return last_revision(self.transitions, after=self.after)

    @property
    def is_last(self) -> bool:
        """Whether none follows."""
        return self.last >= self.revision


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkFailure:
    """An instance that a change of many could not change; `code` and `detail` are the error's."""

    id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkReceipt:
    """How many instances of a page were changed, and what the next page comes `after`; None when there is none."""

    count: int
    failures: Sequence[BulkFailure]
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerWait:
    """Why an instance is put off that could go on: the runner is away, or puts it off, or asks for an unknown child.

    Nothing of this is written; it is known to the engine that drives, while it runs. `next_try_at` is when the runner
    is asked again at the earliest.
    """

    reason: str
    since: datetime
    next_try_at: datetime

    @property
    def is_for_child(self) -> bool:
        """Whether the runner has answered, and what it asks for cannot be started yet."""
        return self.reason.startswith(NO_CHILD)
