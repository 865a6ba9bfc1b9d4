"""The store in memory: for tests, ours and our users'. What it holds lives as long as the object, opened or closed."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import TypeVar

from pylon_workflows.core.instance import FINISHED, EventWait, Instance, Status
from pylon_workflows.core.revisions import last_revision, since
from pylon_workflows.core.transitions import Transition
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import CorruptDatabaseError, StoreError
from pylon_workflows.filters import EVERY_INSTANCE, InstanceFilter
from pylon_workflows.ports import MAX_PAGE, PARKED, HistoryPage, InstanceSummary, Write
from pylon_workflows.published import WaitPlace
from pylon_workflows.store.memory_change_log import MemoryChangeLog
from pylon_workflows.store.memory_live_rows import MemoryLiveRows
from pylon_workflows.store.memory_outbox import MemoryOutbox
from pylon_workflows.store.memory_published import MemoryPublished
from pylon_workflows.store.memory_runs import MemoryRuns
from pylon_workflows.store.memory_schedules import MemorySchedules
from pylon_workflows.store.memory_secrets import MemorySecrets
from pylon_workflows.store.memory_tokens import MemoryTokens

_T = TypeVar("_T")


@dataclass(slots=True)
class _Stored:
    key: int
    idempotency_key: str | None
    history: list[Transition]
    summary: InstanceSummary
    wait: EventWait | None = None
    is_unannounced: bool = False

    def mirror(self, instance: Instance) -> None:
        self.summary = InstanceSummary.of(instance)
        self.wait = instance.wait if isinstance(instance.wait, EventWait) else None

    @property
    def is_parked(self) -> bool:
        return (self.summary.blocked_reason or "").startswith(PARKED)

    @property
    def is_runnable(self) -> bool:
        return self.summary.due_at is None and self.summary.status in (Status.PENDING, Status.RUNNING)


class MemoryStore:
    """A `Store` that writes to no disk."""

    def __init__(self) -> None:
        self._instances: dict[str, _Stored] = {}
        self._by_idempotency_key: dict[str, str] = {}
        self._definitions: dict[str, WorkflowDefinition] = {}
        self._last_key = 0
        self._is_open = False
        self.schedules = MemorySchedules(self.create, self._check_open)
        self.published = MemoryPublished(
            self.create,
            self.append,
            self._waits,
            self._check_open,
        )
        self.tokens = MemoryTokens(self._check_open)
        self.secrets = MemorySecrets(self._check_open)
        self.runs = MemoryRuns(self._instances, self._check_open)
        self.outbox = MemoryOutbox(self._check_open)
        self.change_log = MemoryChangeLog(self._summary_of, self._check_open)
        self.live_rows = MemoryLiveRows(self._summary_of, self._check_open)

    async def open(self) -> None:
        """See `Store`."""
        self._is_open = True

    async def close(self) -> None:
        """See `Store`."""
        self._is_open = False

    async def create(self, instance: Instance, *, later: Sequence[Transition] = ()) -> str | None:
        """See `Store`."""
        self._check_open()
        origin, key = instance.origin, instance.origin.idempotency_key
        if origin.id in self._instances:
            return origin.id
        if key is not None:
            if key in self._by_idempotency_key:
                return self._by_idempotency_key[key]
            self._by_idempotency_key[key] = origin.id
        self._store_new(instance, later)
        return None

    def _store_new(self, instance: Instance, later: Sequence[Transition] = ()) -> None:
        origin = instance.origin
        self._last_key += 1
        stored = _Stored(self._last_key, origin.idempotency_key, [origin, *later], InstanceSummary.of(instance))
        stored.mirror(instance)
        self._instances[origin.id] = stored
        self.change_log.note(origin.id, 1 + len(later))
        self.live_rows.note(origin.id)

    def append(
        self,
        instance: Instance,
        transitions: Sequence[Transition],
        *,
        is_to_announce: bool = False,
        starts: Sequence[Instance] = (),
    ) -> Write[str | None]:
        """See `Store`."""
        self._check_open()
        loop = asyncio.get_running_loop()
        done: Write[str | None] = Write(loop=loop)
        ids = [new.id for new in starts]
        if taken := [new_id for n, new_id in enumerate(ids) if new_id in self._instances or new_id in ids[:n]]:
            loop.call_soon(done.set_result, taken[0])
            return done
        found = self._instances.get(instance.id)
        if found is None or found.summary.revision != instance.revision - len(transitions):
            done.set_exception(CorruptDatabaseError(f"instance {instance.id}: not at the expected revision"))
            return done
        found.history.extend(transitions)
        former = found.summary
        found.mirror(instance)
        self.outbox.note(former, found.summary)
        found.is_unannounced = is_to_announce
        self.change_log.note(instance.id, len(transitions))
        for new in starts:
            self._store_new(new)
        loop.call_soon(done.set_result, None)
        return done

    async def park(self, instance_id: str, reason: str) -> None:
        """See `Store`."""
        self._check_open()
        found = self._instances.get(instance_id)
        if found is not None and found.summary.status not in FINISHED:
            former = found.summary
            found.summary = replace(former, status=Status.BLOCKED, blocked_reason=reason, due_at=None)
            self.outbox.note(former, found.summary)

    async def restore(self, instance: Instance) -> None:
        """See `Store`."""
        self._check_open()
        found = self._instances.get(instance.id)
        if found is None or found.summary.revision != instance.revision:
            raise CorruptDatabaseError(f"instance {instance.id}: not at the expected revision")
        found.mirror(instance)

    async def suspects(self) -> AsyncIterator[str]:
        """See `Store`: only what was parked, for what is written here stays as it is."""
        self._check_open()
        for stored in list(self._instances.values()):
            if stored.is_parked:
                yield stored.summary.id

    async def histories(self, instance_ids: Sequence[str]) -> Mapping[str, Sequence[Transition] | CorruptDatabaseError]:
        """See `Store`."""
        self._check_open()
        return {stored.summary.id: list(stored.history) for stored in self._those(instance_ids)}

    async def history_page(self, instance_id: str, *, after: int, limit: int) -> HistoryPage | None:
        """See `Store`; a page goes by the number of transitions alone."""
        self._check_open()
        found = self._instances.get(instance_id)
        if found is None:
            return None
        page = list(islice(since(found.history, after), limit))
        return HistoryPage(after=after, transitions=page, revision=last_revision(found.history))

    async def summary(self, instance_id: str) -> InstanceSummary | None:
        """See `Store`."""
        self._check_open()
        return self._summary_of(instance_id)

    async def list(
        self, where: InstanceFilter = EVERY_INSTANCE, *, after: str | None = None, limit: int = MAX_PAGE
    ) -> Sequence[InstanceSummary]:
        """See `Store`."""
        self._check_open()
        newest_first = sorted(self._instances.values(), key=_place, reverse=True)
        if after is not None:
            found = self._instances.get(after)
            newest_first = [] if found is None else [each for each in newest_first if _place(each) < _place(found)]
        return _first(limit, (stored.summary for stored in newest_first if where.fits(stored.summary)))

    async def runnable_names(self) -> Sequence[str]:
        """See `Store`."""
        self._check_open()
        return sorted({stored.summary.name for stored in self._instances.values() if stored.is_runnable})

    async def runnable(self, name: str, *, after: str | None = None, limit: int) -> Sequence[str]:
        """See `Store`."""
        self._check_open()
        start = 0 if after is None else self._key_of(after)
        runnable = (stored for stored in self._instances.values() if stored.key > start and stored.is_runnable)
        return _first(limit, (stored.summary.id for stored in runnable if stored.summary.name == name))

    async def due(self, *, now: datetime, limit: int) -> Sequence[str]:
        """See `Store`."""
        self._check_open()
        due = sorted(found for found in self._due_times() if found[0] <= now)
        return [instance_id for _, _, instance_id in due[:limit]]

    async def next_due(self, *, after: datetime) -> datetime | None:
        """See `Store`."""
        self._check_open()
        return min((due_at for due_at, _, _ in self._due_times() if due_at > after), default=None)

    async def unannounced(self, *, limit: int) -> Sequence[str]:
        """See `Store`."""
        self._check_open()
        return _first(limit, (stored.summary.id for stored in self._instances.values() if stored.is_unannounced))

    async def mark_announced(self, instance_ids: Sequence[str]) -> None:
        """See `Store`."""
        self._check_open()
        for stored in self._those(instance_ids):
            stored.is_unannounced = False

    async def delete(self, instance_ids: Sequence[str]) -> int:
        """See `Store`."""
        self._check_open()
        finished = [
            stored for stored in self._those(instance_ids) if stored.summary.status in FINISHED or stored.is_parked
        ]
        for stored in finished:
            del self._instances[stored.summary.id]
            if stored.idempotency_key is not None:
                del self._by_idempotency_key[stored.idempotency_key]
        return len(finished)

    async def expired(self, *, completed_before: datetime | None, keep: int | None, limit: int) -> Sequence[str]:
        """See `Store`."""
        self._check_open()
        finished = sorted(
            (stored.summary.completed_at, stored.key, stored)
            for stored in self._instances.values()
            if stored.summary.completed_at is not None
        )
        beyond_newest = 0 if keep is None else len(finished) - keep
        expired = (
            stored
            for rank, (completed_at, _, stored) in enumerate(finished)
            if rank < beyond_newest or (completed_before is not None and completed_at < completed_before)
        )
        return _first(limit, (stored.summary.id for stored in expired if not stored.is_unannounced))

    async def save_definition(self, definition: WorkflowDefinition) -> None:
        """See `Store`."""
        self._check_open()
        known = self._definitions.get(definition.name)
        if definition.source != "runner" or known is None or known.source == "runner":
            self._definitions[definition.name] = definition

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """See `Store`."""
        self._check_open()
        return sorted(self._definitions.values(), key=lambda definition: definition.name)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreError("the database is not open")

    def _summary_of(self, instance_id: str) -> InstanceSummary | None:
        found = self._instances.get(instance_id)
        return None if found is None else found.summary

    def _key_of(self, instance_id: str) -> int:
        found = self._instances.get(instance_id)
        return 0 if found is None else found.key

    def _those(self, instance_ids: Sequence[str]) -> Sequence[_Stored]:
        return [self._instances[each] for each in dict.fromkeys(instance_ids) if each in self._instances]

    def _waits(self) -> Iterator[tuple[WaitPlace, EventWait]]:
        for stored in self._instances.values():
            if stored.wait is not None and stored.summary.status is Status.WAITING_FOR_EVENT:
                yield WaitPlace(stored.wait.started_at, stored.key, stored.summary.id), stored.wait

    def _due_times(self) -> Iterator[tuple[datetime, int, str]]:
        for stored in self._instances.values():
            if stored.summary.due_at is not None:
                yield stored.summary.due_at, stored.key, stored.summary.id


def _place(stored: _Stored) -> tuple[datetime, int]:
    return stored.summary.created_at, stored.key


def _first(limit: int, found: Iterable[_T]) -> list[_T]:
    return list(islice(found, limit))
