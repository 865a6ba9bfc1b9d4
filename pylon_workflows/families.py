"""What the end of an instance means to its family: its parent is told, its children are cancelled (PROTOCOL.md 2).

An instance that has ended stays among the unannounced ones of the store until that is done: at least once, also through
crashes. The core decides it once.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import Cancel, FinishChild
from pylon_workflows.core.instance import FINISHED, Instance, Status
from pylon_workflows.core.usage import Usage
from pylon_workflows.errors import (
    CorruptDatabaseError,
    InstanceFinishedError,
    StoreError,
    UnknownInstanceError,
    WorkflowError,
)
from pylon_workflows.ports import Clock, Store

_log = logging.getLogger(__name__)

_PLACES = 64
"""So many instances are settled at a time."""

_STORE_TROUBLE_PAUSE_S = 1.0
_UNREADABLE_PAUSE_S = 60.0
_NOTHING = Usage()


class Families:
    """Settles the ends of instances, several at a time; `settled` hears of each that is."""

    def __init__(self, store: Store, changes: Changes, clock: Clock, settled: Callable[[Instance], None]) -> None:
        self._store = store
        self._changes = changes
        self._clock = clock
        self._settled = settled
        self._queue: asyncio.Queue[Instance] = asyncio.Queue()
        self._places = asyncio.Semaphore(_PLACES)
        self._unsettled: set[str] = set()

    def is_settling(self, instance_id: str) -> bool:
        """Whether the family of one that has ended is still to be told, and somebody sees to it."""
        return instance_id in self._unsettled

    def ended(self, instance: Instance) -> None:
        """An instance that has a family has finished, and that is committed."""
        self._unsettled.add(instance.id)
        self._queue.put_nowait(instance)

    async def run(self) -> None:
        """Settle whatever comes, for ever; what was left before is among what `Announcements` finds at the start."""
        self._places = asyncio.Semaphore(_PLACES)  # the former one may be another loop's
        async with asyncio.TaskGroup() as tasks:
            while True:
                instance = await self._queue.get()
                tasks.create_task(self._settle_at_last(instance), name=f"settle the family of {instance.id}")

    def clear(self) -> None:
        """Forget what has come: whoever opens the store finds it there."""
        self._queue = asyncio.Queue()
        self._unsettled.clear()

    async def _settle_at_last(self, instance: Instance) -> None:
        try:
            await self._try_to_settle(instance)
        finally:
            self._unsettled.discard(instance.id)

    async def _try_to_settle(self, instance: Instance) -> None:
        is_told = False
        while True:
            try:
                async with self._places:
                    await self.settle(instance)
            except StoreError as error:
                if not is_told:  # once an outage
                    _log.warning("%s: its family cannot be told of its end yet, tried again: %s", instance.id, error)
                is_told = True
                is_unreadable = isinstance(error, CorruptDatabaseError)
                await self._clock.sleep(_UNREADABLE_PAUSE_S if is_unreadable else _STORE_TROUBLE_PAUSE_S)
            except WorkflowError:
                _log.exception("%s: its family cannot be told of its end", instance.id)
                return
            else:
                self._settled(instance)
                return

    async def settle(self, instance: Instance) -> None:
        """Tell the parent and cancel the children; again changes nothing. Raises StoreError."""
        await self._tell_parent(instance)
        for child in instance.children.values():
            if child.on_parent_close == "cancel":
                await self._cancel(child.id)

    async def delete(self, instance_id: str) -> None:
        """Like `Changes.delete`, once its family has been told of its end."""
        try:
            instance = await self._changes.read(instance_id)
        except CorruptDatabaseError:
            await self._give_up(instance_id)  # parked: nobody will know what it has come to
        else:
            if instance.is_finished:
                await self.settle(instance)
        await self._changes.delete(instance_id)

    async def _give_up(self, child_id: str) -> None:
        """Tell the parent of an instance that cannot be read that nothing more comes of it."""
        summary = await self._store.summary(child_id)
        if summary is None or summary.parent_id is None:
            return
        with suppress(UnknownInstanceError, CorruptDatabaseError):
            child = (await self._changes.read(summary.parent_id)).children.get(child_id)
            if child is not None:
                command = FinishChild(
                    run=child.run,
                    key=child.key,
                    child_id=child_id,
                    status=Status.FAILED.value,
                    error="it could not be read any more, and was deleted",
                    output_json=None,
                    usage_json=None,
                )
                await self._changes.change(summary.parent_id, command)

    async def _tell_parent(self, instance: Instance) -> None:
        origin = instance.origin
        if origin.parent_id is None or origin.parent_key is None or origin.parent_run is None:
            return
        parent = await self._store.summary(origin.parent_id)
        if parent is None or parent.status in FINISHED:
            return
        command = FinishChild(
            run=origin.parent_run,
            key=origin.parent_key,
            child_id=instance.id,
            status=instance.status.value,
            error=instance.error,
            output_json=instance.output_json,
            usage_json=None if instance.usage == _NOTHING else instance.usage.json,
        )
        with suppress(UnknownInstanceError):  # deleted
            await self._changes.change(origin.parent_id, command)

    async def _cancel(self, child_id: str) -> None:
        child = await self._store.summary(child_id)
        if child is None or child.status in FINISHED:
            return
        with suppress(UnknownInstanceError, InstanceFinishedError):
            await self._changes.change(child_id, Cancel())
