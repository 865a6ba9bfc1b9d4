"""Where instances are kept."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import Transition
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.filters import EVERY_INSTANCE, InstanceFilter
from pylon_workflows.ports.change_log import ChangeLog
from pylon_workflows.ports.live_rows import LiveRows
from pylon_workflows.ports.outbox_store import OutboxStore
from pylon_workflows.ports.published_store import PublishedStore
from pylon_workflows.ports.run_store import RunStore
from pylon_workflows.ports.schedule_store import ScheduleStore
from pylon_workflows.ports.secret_store import SecretStore
from pylon_workflows.ports.token_store import TokenStore
from pylon_workflows.ports.writes import Write
from pylon_workflows.summaries import MAX_PAGE, HistoryPage, InstanceSummary


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

    async def create(self, instance: Instance, *, later: Sequence[Transition] = ()) -> str | None:
        """Store a new instance, whose history is its `origin` and what came `later`, and return None.

        When its id is taken, or its idempotency key, change nothing and return the id of the instance that has it
        (that of the id, where both are taken).
        """
        ...

    def append(
        self,
        instance: Instance,
        transitions: Sequence[Transition],
        *,
        is_to_announce: bool = False,
        starts: Sequence[Instance] = (),
    ) -> Write[str | None]:
        """Store the transitions that led to `instance`, and the instance's new state, together; None tells of it.

        With them, all or nothing, the new instances `starts`, whose histories are their origins and which have no
        idempotency keys. When an id of theirs is taken, nothing is changed, and that id is what the write comes to.

        The write is queued by the call itself, in the order of calls; awaiting tells when it is durable.
        `is_to_announce` keeps a finished instance among the `unannounced`. Nothing else appends to the same instance in
        the meantime; should the stored revision not be `instance.revision - len(transitions)`, the write fails with
        CorruptDatabaseError and changes nothing.
        """
        ...

    @property
    def schedules(self) -> ScheduleStore:
        """What starts instances again and again."""
        ...

    @property
    def published(self) -> PublishedStore:
        """Events for whoever waits with a correlation key."""
        ...

    @property
    def tokens(self) -> TokenStore:
        """Who may call the API."""
        ...

    @property
    def secrets(self) -> SecretStore:
        """What it keeps for itself."""
        ...

    @property
    def runs(self) -> RunStore:
        """The runs of instances, of which the earlier ones are deleted in time."""
        ...

    @property
    def change_log(self) -> ChangeLog:
        """In which order instances have changed."""
        ...

    @property
    def outbox(self) -> OutboxStore:
        """What receivers outside are still to be told."""
        ...

    @property
    def live_rows(self) -> LiveRows:
        """The rows of what has not finished."""
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

    async def history_page(self, instance_id: str, *, after: int, limit: int) -> HistoryPage | None:
        """At most so many transitions that follow a revision, about 4 MiB or one of them; None for an unknown id.

        Raises:
            UnreadableInstanceError: a row of these cannot be read, or is not there.
        """
        ...

    async def summary(self, instance_id: str) -> InstanceSummary | None:
        """The instance's present state without its records, or None; `blocked` where it cannot be read."""
        ...

    async def list(
        self, where: InstanceFilter = EVERY_INSTANCE, *, after: str | None = None, limit: int = MAX_PAGE
    ) -> Sequence[InstanceSummary]:
        """Instances, the last created first; `after` is the id that ended a page. Nothing comes after an unknown id."""
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
        """Add or replace a definition by name; one whose source is a runner replaces only such a one."""
        ...

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """All saved definitions but those that cannot be read, which are logged (P18)."""
        ...
