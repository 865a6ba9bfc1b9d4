"""Instances that cannot be read, and rows that do not say what their histories do: a row's own trouble, nobody else's.

The history is the only truth, and it is never touched here. A row only mirrors what its history folds into, so it may
be written anew at any time: with what the history says, or, where that cannot be read, with the word `blocked` and why
(docs/decisions/0017-parked-instances.md).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import timedelta

from pylon_workflows.core.evolution import begin, evolve
from pylon_workflows.core.instance import FINISHED, Instance, Status, Wait
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import InstanceStarted, Transition
from pylon_workflows.errors import CorruptDatabaseError, UnknownInstanceError, UnreadableInstanceError
from pylon_workflows.ports import PARKED, InstanceSummary, Store

_log = logging.getLogger(__name__)

_FOLDED_AT_A_TIME = 250
"""Transitions, before the event loop may do something else: about a millisecond."""
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
        if summary is not None and summary != _summary(instance):
            _log.error("%s: its row did not say what its history does, and is written anew", instance.id)
            await self._store.restore(instance)
            self._committed(instance)
        self._parked.discard(instance.id)

    def forget(self, instance_id: str) -> None:
        """The instance has been deleted."""
        self._parked.discard(instance_id)

    async def show(self, instance_id: str, error: UnreadableInstanceError) -> Instance:
        """An instance that cannot be read, as far as its row tells: without input, output and records."""
        summary = await self._store.summary(instance_id)
        if summary is None:
            raise UnknownInstanceError(f"no instance has the id {instance_id[:140]!r}")
        return shown(summary, error)


def shown(summary: InstanceSummary, error: UnreadableInstanceError) -> Instance:
    """An instance that cannot be read, as far as its row tells: without input, output and records."""
    waiting_for, created_at = summary.waiting_for, summary.created_at
    return Instance(
        origin=InstanceStarted(
            at=created_at,
            id=summary.id,
            name=summary.name,
            version=summary.version,
            input_json=b"null",
            idempotency_key=None,
            seed="",
            policy=RetryPolicy(max_retries=summary.max_retries),
            step_timeout=timedelta(0),
        ),
        run=summary.run,
        revision=summary.revision,
        status=summary.status if summary.status in FINISHED else Status.BLOCKED,
        started_at=summary.started_at,
        completed_at=summary.completed_at,
        wait=None if waiting_for is None else Wait(event=waiting_for, key=waiting_for, started_at=created_at),
        current_step=summary.current_step,
        error=summary.error,
        blocked_reason=_reason(error),
    )


async def folded(instance_id: str, history: Sequence[Transition] | CorruptDatabaseError) -> Instance:
    """What a history as the store gave it adds up to; other work goes on in the meantime.

    Raises:
        UnreadableInstanceError: it does not add up, or not to this instance. CorruptDatabaseError: the store's own.
    """
    if isinstance(history, CorruptDatabaseError):
        raise history
    try:
        instance = _begun(history)
        for number, transition in enumerate(history[1:], 1):
            instance = evolve(instance, transition)
            if number % _FOLDED_AT_A_TIME == 0:
                await asyncio.sleep(0)
    except (ValueError, ArithmeticError, LookupError, TypeError, StopIteration) as error:
        raise UnreadableInstanceError(f"instance {instance_id}: its history does not fold: {error!r}") from error
    if (instance.id, instance.revision) != (instance_id, len(history)):
        raise UnreadableInstanceError(f"instance {instance_id}: its history does not fold: it is another instance's")
    return instance


def _begun(history: Sequence[Transition]) -> Instance:
    if not history or not isinstance(history[0], InstanceStarted):
        raise ValueError("a history begins with InstanceStarted")
    return begin(history[0])


def _reason(error: UnreadableInstanceError) -> str:
    return f"{PARKED}{str(error)[:_LONGEST_REASON]}"


def _summary(instance: Instance) -> InstanceSummary:
    return InstanceSummary(**{field.name: getattr(instance, field.name) for field in fields(InstanceSummary)})
