"""Where the earlier runs of instances are kept, and deleted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from pylon_workflows.core.transitions import EarlierRunsDeleted, Transition


class RunStore(Protocol):
    """The histories of a `Store` by their runs; it is open when they are asked for. A run ends when the next begins.

    Every call raises `StorageFullError` when the disk is full, with nothing changed, and another `StoreError` when the
    file cannot be used.
    """

    async def overdue(self, *, ended_by: datetime, limit: int) -> Sequence[str]:
        """Ids of instances that have transitions of a run that ended by then, but for parked ones."""
        ...

    async def past(self, instance_id: str, *, ended_by: datetime, limit: int) -> Sequence[Transition]:
        """A history up to the beginning of a run, the one before having ended by then; empty where there is no such.

        Of several the last among the first `limit` transitions, or else the first of all. Raises
        UnreadableInstanceError.
        """
        ...

    async def delete_past(self, instance_id: str, deletion: EarlierRunsDeleted) -> bool:
        """Put it in the place of the `RunContinued` at that revision, and delete all before but the first transition.

        Nothing is changed, and the answer is false, when there is none at that revision any more.
        """
        ...
