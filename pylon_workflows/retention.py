"""Deletes finished instances that nobody needs any more, each with its history."""

import logging
from datetime import timedelta

from pylon_workflows.errors import StoreError
from pylon_workflows.live_instances import LiveInstances
from pylon_workflows.ports import Clock, Store

_log = logging.getLogger(__name__)

_PAUSE_S = 60.0
_BATCH = 200


class Retention:
    """Deletes instances that finished longer than `keep_for` ago, and all but the newest `keep`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        live: LiveInstances,
        *,
        keep_for: timedelta | None,
        keep: int | None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._live = live
        self._keep_for = keep_for
        self._keep = keep

    async def run(self) -> None:
        """Delete what is to go, once a minute, for ever."""
        while self._keep_for is not None or self._keep is not None:
            try:
                while await self.delete_some() == _BATCH:
                    await self._clock.sleep(0)
            except StoreError as error:
                _log.warning("retention could not delete: %s", error)
            await self._clock.sleep(_PAUSE_S)

    async def delete_some(self) -> int:
        """Delete one batch and return how many instances it had."""
        before = None if self._keep_for is None else self._clock.now() - self._keep_for
        expired = await self._store.expired(completed_before=before, keep=self._keep, limit=_BATCH)
        if expired:
            try:
                await self._store.delete(expired)
            finally:  # what failed may have been done all the same
                for instance_id in expired:
                    await self._forget(instance_id)
            _log.info("retention deleted %d finished instances", len(expired))
        return len(expired)

    async def _forget(self, instance_id: str) -> None:
        with self._live.use(instance_id) as live:
            async with live.lock:
                pass  # a read that began before the deletion ends by keeping what it found
        self._live.drop(instance_id)
