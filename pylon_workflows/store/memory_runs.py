"""The earlier runs of instances in the store in memory."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from pylon_workflows.core.revisions import numbered
from pylon_workflows.core.transitions import EarlierRunsDeleted, RunContinued, Transition


class Stored(Protocol):
    """What is kept of an instance."""

    history: list[Transition]

    @property
    def is_parked(self) -> bool:
        """Whether it cannot be read."""
        ...


class MemoryRuns:
    """A `RunStore` over the instances of a `MemoryStore`; `check_open` raises when it is closed."""

    def __init__(self, instances: Mapping[str, Stored], check_open: Callable[[], None]) -> None:
        self._instances = instances
        self._check_open = check_open

    async def overdue(self, *, ended_by: datetime, limit: int) -> Sequence[str]:
        """See `RunStore`."""
        self._check_open()
        readable = (item for item in self._instances.items() if not item[1].is_parked)
        return [found for found, stored in readable if any(_is_due(each, ended_by) for each in stored.history)][:limit]

    async def past(self, instance_id: str, *, ended_by: datetime, limit: int) -> Sequence[Transition]:
        """See `RunStore`."""
        self._check_open()
        history = self._instances[instance_id].history if instance_id in self._instances else []
        due = [place for place, each in enumerate(history, 1) if _is_due(each, ended_by)]
        within = [place for place in due if place <= limit] or due[:1]
        return history[: within[-1]] if within else []

    async def delete_past(self, instance_id: str, deletion: EarlierRunsDeleted) -> bool:
        """See `RunStore`."""
        self._check_open()
        history = self._instances[instance_id].history if instance_id in self._instances else []
        for place, (revision, transition) in enumerate(numbered(history)):
            if revision == deletion.replaces and isinstance(transition, RunContinued):
                self._instances[instance_id].history = [history[0], deletion, *history[place + 1 :]]
                return True
        return False


def _is_due(transition: Transition, ended_by: datetime) -> bool:
    return isinstance(transition, RunContinued) and transition.at <= ended_by
