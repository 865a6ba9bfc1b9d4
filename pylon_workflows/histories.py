"""Instances read from their histories, by whoever reads them: the engine from its store, a standby from the file."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from pylon_workflows.core.evolution import evolve, replay
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import Transition
from pylon_workflows.errors import CorruptDatabaseError, UnreadableInstanceError
from pylon_workflows.ids import unknown_instance

_FOLDED_AT_A_TIME = 250
"""Transitions, before the event loop may do something else: about a millisecond."""

History = Sequence[Transition] | CorruptDatabaseError
"""What a store gives for an instance: all its transitions in order, or why it cannot."""


class Histories(Protocol):
    """Where histories are kept."""

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


async def folded(instance_id: str, history: History) -> Instance:
    """What a history as the store gave it adds up to; other work goes on in the meantime.

    Raises:
        UnreadableInstanceError: it does not add up, or not to this instance. CorruptDatabaseError: the store's own.
    """
    if isinstance(history, CorruptDatabaseError):
        raise history
    try:
        instance = replay(history[:1])
        for number, transition in enumerate(history[1:], 1):
            instance = evolve(instance, transition)
            if number % _FOLDED_AT_A_TIME == 0:
                await asyncio.sleep(0)
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise UnreadableInstanceError(f"instance {instance_id}: its history does not fold: {error!r}") from error
    if (instance.id, instance.revision) != (instance_id, len(history)):
        raise UnreadableInstanceError(f"instance {instance_id}: its history does not fold: it is another instance's")
    return instance
