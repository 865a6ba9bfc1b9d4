"""Deletes runs that ended long ago, while their instances go on (docs/decisions/0027-earlier-runs.md)."""

import logging
from datetime import timedelta

from pylon_workflows.core.deleted_runs import deletion_before
from pylon_workflows.errors import CorruptDatabaseError, StoreError
from pylon_workflows.histories import folded
from pylon_workflows.ports import Clock, Store

_log = logging.getLogger(__name__)

_PAUSE_S = 600.0
_BATCH = 100
_TRANSITIONS = 5_000
"""So many of one instance are deleted at a time, or one run."""


class EarlierRuns:
    """Deletes runs that ended longer than `keep_for` ago. The state of an instance stays as it is: nobody is told."""

    def __init__(self, store: Store, clock: Clock, *, keep_for: timedelta | None) -> None:
        self._store = store
        self._clock = clock
        self._keep_for = keep_for

    async def run(self) -> None:
        """Delete what is to go, every ten minutes, for ever."""
        while self._keep_for is not None:
            try:
                while await self.delete_some(self._keep_for):
                    await self._clock.sleep(0)
            except StoreError as error:
                _log.warning("retention could not delete earlier runs: %s", error)
            await self._clock.sleep(_PAUSE_S)

    async def delete_some(self, keep_for: timedelta) -> int:
        """Delete something of each instance of a batch; of how many."""
        ended_by = self._clock.now() - keep_for
        ids = await self._store.runs.overdue(ended_by=ended_by, limit=_BATCH)
        count = 0
        for instance_id in ids:
            try:
                past = await self._store.runs.past(instance_id, ended_by=ended_by, limit=_TRANSITIONS)
                if past:
                    deletion = deletion_before(await folded(instance_id, past))
                    count += await self._store.runs.delete_past(instance_id, deletion)
            except (CorruptDatabaseError, ValueError) as error:  # whoever reads all of it parks it
                _log.error("%s: its earlier runs stay, for they cannot be read: %s", instance_id, error)
        if count:
            _log.info("retention deleted earlier runs of %d instances", count)
        return count
