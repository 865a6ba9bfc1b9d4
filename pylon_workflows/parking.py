"""Instances that cannot be read, and rows that do not say what their histories do: a row's own trouble, nobody else's.

The history is the only truth, and it is never touched here. A row only mirrors what its history folds into, so it may
be written anew at any time: with what the history says, or, where that cannot be read, with the word `blocked` and why
(docs/decisions/0017-parked-instances.md).
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from pylon_workflows.core.instance import FINISHED, EventWait, Instance, Status, Terms
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import InstanceStarted
from pylon_workflows.errors import UnreadableInstanceError
from pylon_workflows.ids import unknown_instance
from pylon_workflows.ports import PARKED, InstanceSummary, Store
from runner_protocol.strict_json import encode_parsed

_log = logging.getLogger(__name__)

_LONGEST_REASON = 500


class Parking:
    """Knows which instances of this process's store are parked. `committed` hears of each that can be read again."""

    def __init__(self, store: Store, committed: Callable[[Instance], None]) -> None:
        self._store = store
        self._committed = committed
        self._parked: set[str] = set()

    def holds(self, instance_id: str) -> bool:
        """Whether the instance was found unreadable and has not been read since."""
        return instance_id in self._parked

    async def park(self, instance_id: str, error: UnreadableInstanceError) -> None:
        """Show the instance as blocked, in its row alone; one that has finished stays as it is. Raises StoreError."""
        summary = None if instance_id in self._parked else await self._store.summary(instance_id)
        if summary is None or summary.status in FINISHED:
            return
        reason = _reason(error)
        _log.error("%s: is parked, for it cannot be read: %s", instance_id, error)
        if (summary.status, summary.blocked_reason, summary.due_at) != (Status.BLOCKED, reason, None):
            await self._store.park(instance_id, reason)
        self._parked.add(instance_id)

    async def mend(self, instance: Instance) -> None:
        """Write the row of an instance, whose lock is held, anew where it does not say what its history does."""
        summary = await self._store.summary(instance.id)
        if summary is not None and summary != InstanceSummary.of(instance):
            _log.error("%s: its row did not say what its history does, and is written anew", instance.id)
            await self._store.restore(instance)
            self._committed(instance)
        self._parked.discard(instance.id)

    def forget(self, instance_id: str) -> None:
        """The instance has been deleted."""
        self._parked.discard(instance_id)


class Summaries(Protocol):
    """Where the rows of instances are kept."""

    async def summary(self, instance_id: str) -> InstanceSummary | None:
        """See `Store.summary`."""
        ...


async def shown(source: Summaries, instance_id: str, error: UnreadableInstanceError) -> Instance:
    """An instance that cannot be read, as far as its row tells: without input, output and records.

    Raises:
        UnknownInstanceError
    """
    summary = await source.summary(instance_id)
    if summary is None:
        raise unknown_instance(instance_id)
    waiting_for, created_at = summary.waiting_for, summary.created_at
    origin = InstanceStarted(
        at=created_at,
        id=summary.id,
        name=summary.name,
        version=summary.version,
        input_json=b"null",
        idempotency_key=None,
        seed="",
        policy=RetryPolicy(max_retries=summary.max_retries),
        step_timeout=timedelta(0),
        parent_id=summary.parent_id,
        tags_json=encode_parsed(dict(summary.tags)),
    )
    return Instance(
        origin=origin,
        terms=Terms.of(origin),
        run=summary.run,
        revision=summary.revision,
        status=summary.status if summary.status in FINISHED else Status.BLOCKED,
        started_at=summary.started_at,
        completed_at=summary.completed_at,
        wait=None if waiting_for is None else EventWait(event=waiting_for, key=waiting_for, started_at=created_at),
        current_step=summary.current_step,
        error=summary.error,
        blocked_reason=_reason(error),
    )


def _reason(error: UnreadableInstanceError) -> str:
    return f"{PARKED}{str(error)[:_LONGEST_REASON]}"
