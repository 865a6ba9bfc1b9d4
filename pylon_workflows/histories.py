"""Instances read from their histories, by whoever reads them: the engine from its store, a standby from the file."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from pylon_workflows.core.evolution import evolve_all, replay
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.revisions import last_revision, until
from pylon_workflows.core.transitions import Transition
from pylon_workflows.declared_types import check_type
from pylon_workflows.errors import CorruptDatabaseError, InvalidInputError, UnreadableInstanceError
from pylon_workflows.filters import checked_history_limit
from pylon_workflows.ids import unknown_instance
from pylon_workflows.summaries import HistoryPage

_FOLDED_AT_A_TIME = 250
"""Transitions, before the event loop may do something else: about a millisecond."""

History = Sequence[Transition] | CorruptDatabaseError
"""What a store gives for an instance: all its transitions in order, or why it cannot."""


class Histories(Protocol):
    """Where histories are kept."""

    async def history_page(self, instance_id: str, *, after: int, limit: int) -> HistoryPage | None:
        """See `Store.history_page`."""
        ...

    async def histories(self, instance_ids: Sequence[str]) -> Mapping[str, History]:
        """See `Store.histories`."""
        ...


async def history_of(source: Histories, instance_id: str) -> Sequence[Transition]:
    """All transitions of an instance, in order. Raises UnknownInstanceError, CorruptDatabaseError."""
    history = (await source.histories([instance_id])).get(instance_id)
    if history is None:
        raise unknown_instance(instance_id)
    if isinstance(history, CorruptDatabaseError):
        raise history
    return history


async def history_page(source: Histories, instance_id: str, after: int, limit: int) -> HistoryPage:
    """The transitions that follow a revision.

    Raises:
        UnknownInstanceError, CorruptDatabaseError; InvalidInputError, HistoryLimitError: no revision, no limit.
    """
    check_type(after, int, "after")
    if not 0 <= after < 2**63:
        raise InvalidInputError(f"after: must be a revision, from 0, not {after}")
    page = await source.history_page(instance_id, after=after, limit=checked_history_limit(limit))
    if page is None:
        raise unknown_instance(instance_id)
    return page


async def instance_as_of(source: Histories, instance_id: str, revision: int) -> Instance:
    """What the instance was at that revision.

    Raises:
        UnknownInstanceError, CorruptDatabaseError; InvalidInputError: it has no such revision.
    """
    check_type(revision, int, "as_of")
    history = await history_of(source, instance_id)
    present = last_revision(history)
    if not 1 <= revision <= present:
        raise InvalidInputError(f"as_of: must be from 1 to {present}, the revision of {instance_id}")
    kept = until(history, revision)
    if last_revision(kept) != revision:
        raise InvalidInputError(f"as_of: revision {revision} of {instance_id} was deleted with its earlier runs")
    return await folded(instance_id, kept)


async def folded(instance_id: str, history: History) -> Instance:
    """What a history as the store gave it adds up to; other work goes on in the meantime.

    Raises:
        UnreadableInstanceError: it does not add up, or not to this instance. CorruptDatabaseError: the store's own.
    """
    if isinstance(history, CorruptDatabaseError):
        raise history
    try:
        instance = replay(history[:1])
        for first in range(1, len(history), _FOLDED_AT_A_TIME):
            if first > 1:
                await asyncio.sleep(0)
            instance = evolve_all(instance, history[first : first + _FOLDED_AT_A_TIME])
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise UnreadableInstanceError(f"instance {instance_id}: its history does not fold: {error!r}") from error
    if (instance.id, instance.revision) != (instance_id, last_revision(history)):
        raise UnreadableInstanceError(f"instance {instance_id}: its history does not fold: it is another instance's")
    return instance
