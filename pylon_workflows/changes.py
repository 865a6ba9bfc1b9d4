"""How an instance changes, whoever asks for it: load -> decide -> evolve -> append -> tell. There is no other path."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pylon_workflows.core.commands import Command, Resume, WakeUp
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.revisions import since
from pylon_workflows.core.transitions import InstanceResumed, Transition
from pylon_workflows.decision import Decision, TakenIdError, has_family
from pylon_workflows.doubts import Doubts
from pylon_workflows.errors import (
    CorruptDatabaseError,
    InstanceNotFinishedError,
    StorageFullError,
    StoreError,
    UnknownInstanceError,
    UnreadableInstanceError,
)
from pylon_workflows.histories import folded, history_of
from pylon_workflows.live_instances import LiveInstance, LiveInstances, is_driven
from pylon_workflows.parking import Parking, shown
from pylon_workflows.ports import Clock, Store, Write

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Changes:
    """Loads instances and commits what `decide` says. `committed` hears of each new state, after it is durable.

    Methods that take a `LiveInstance` want its lock held. What is in memory is changed only after the commit; after a
    write that failed it is read from the store again. A caller that is cancelled during a write goes when the write has
    landed, lest the next holder of the lock read the old revision.
    """

    def __init__(self, store: Store, clock: Clock, live: LiveInstances, committed: Callable[[Instance], None]) -> None:
        self._store = store
        self._clock = clock
        self._live = live
        self._committed = committed
        self._parking = Parking(store, committed)
        self.has_announcements = False
        self.doubts = Doubts(clock, self._look_again)

    async def read(self, instance_id: str) -> Instance:
        """The instance as it was last committed. Raises UnknownInstanceError, CorruptDatabaseError."""
        with self._live.use(instance_id) as live:
            if live.instance is not None:
                return live.instance
            async with live.lock:
                return await self.load(live, instance_id)

    async def show(self, instance_id: str) -> Instance:
        """Like `read`; one that cannot be read is shown as far as its row tells, with the reason."""
        try:
            return await self.read(instance_id)
        except UnreadableInstanceError as error:
            return await shown(self._store, instance_id, error)

    async def history(self, instance_id: str) -> Sequence[Transition]:
        """All that the store holds of an instance, in order. Raises UnknownInstanceError, CorruptDatabaseError."""
        return await history_of(self._store, instance_id)

    async def load(self, live: LiveInstance, instance_id: str) -> Instance:
        """The entry's instance, read from the store unless it is there already.

        One that cannot be read is parked; one that was parked and can be read again goes on.
        """
        if live.instance is None:
            try:
                instance = await folded(instance_id, await self.history(instance_id))
            except UnreadableInstanceError as error:
                await self._parking.park(instance_id, error)
                raise
            if self._parking.holds(instance_id):
                await self._parking.mend(instance)
            live.instance = instance
        return live.instance

    async def mend(self, instance_id: str) -> None:
        """See that the row of an instance says what its history does, or that it is parked."""
        with self._live.use(instance_id) as live:
            async with live.lock:
                await self._parking.mend(await self.load(live, instance_id))

    async def inspect(self) -> None:
        """Mend what the store finds wrong on the face of it, once: nothing else would ever look there (P8, P18)."""
        async for instance_id in self._store.suspects():
            try:
                await self.mend(instance_id)
            except UnreadableInstanceError:
                continue  # parked
            except (CorruptDatabaseError, UnknownInstanceError) as error:
                _log.error("%s: cannot be mended: %s", instance_id, error)

    async def execute(self, live: LiveInstance, command: Command) -> Sequence[Transition]:
        """Decide a command about a loaded instance and commit what follows; nothing follows from one that is late."""
        decision = Decision(live.loaded, self._clock.now())
        if decision.add(command):
            await self.commit(live, decision)
        return decision.transitions

    async def commit(self, live: LiveInstance, decision: Decision) -> None:
        """Commit what has been decided about a loaded instance, all of it or nothing.

        Raises:
            TakenIdError: another instance has the id of one that was to start; nothing was changed.
        """
        after, starts = decision.after, decision.starts
        is_to_announce = after.is_finished and (self.has_announcements or has_family(after))
        write = self._store.append(after, decision.transitions, is_to_announce=is_to_announce, starts=starts)
        try:
            taken = await write  # to its end, whoever cancels
        finally:
            self._settle(live, decision, write, _is_none)
        if taken is not None:
            raise TakenIdError(taken)

    async def stored(
        self, live: LiveInstance, decision: Decision, write: Write[T], *, is_stored: Callable[[T], bool]
    ) -> T:
        """What `write` comes to, which stores what has been decided, or nothing, as `is_stored` tells."""
        try:
            return await write  # to its end, whoever cancels
        finally:
            self._settle(live, decision, write, is_stored)

    def _settle(self, live: LiveInstance, decision: Decision, write: Write[T], is_stored: Callable[[T], bool]) -> None:
        after, starts = decision.after, decision.starts
        if not write.done() or write.exception() is not None:
            live.forget()
            if not isinstance(write.exception(), StorageFullError):  # which says that nothing was changed
                for instance in (after, *starts):
                    self.doubts.add(instance.id)
        elif is_stored(write.result()):
            live.instance = after
            self._committed(after)
            for started in starts:
                self._live.keep(started)
                self._committed(started)
            for found in decision.found:
                self.doubts.add(found.id)  # it may have finished meanwhile

    async def change(self, instance_id: str, command: Command) -> tuple[Instance, Sequence[Transition]]:
        """Execute a command that came from outside; returns the state after it and what followed from it."""
        with self._live.use(instance_id) as live:
            async with live.lock:
                await self.load(live, instance_id)
                transitions = await self.execute(live, command)
                instance = live.loaded
                if not is_driven(instance):
                    live.give_up_turn()
                return instance, transitions

    async def resume(self, instance_id: str, *, after: int | None = None) -> Instance:
        """Let a blocked instance go on; one that is parked is read again, and goes on with what it was doing.

        One that was resumed since the revision `after` is left as it is, also when it is blocked anew.

        Raises:
            UnknownInstanceError, InstanceNotBlockedError, UnreadableInstanceError.
        """
        if self._parking.holds(instance_id):
            return await self.read(instance_id)
        with self._live.use(instance_id) as live:
            async with live.lock:
                await self.load(live, instance_id)
                past = [] if after is None else since(await self.history(instance_id), after)
                if not any(isinstance(each, InstanceResumed) for each in past):
                    await self.execute(live, Resume())
                return live.loaded

    async def who_has(self, instance_id: str) -> Mapping[str, Instance | None]:
        """The instance that has an id, by it; null where it cannot be read, nothing when it is there no more."""
        try:
            return {instance_id: await self.read(instance_id)}
        except UnknownInstanceError:
            return {}
        except CorruptDatabaseError:
            return {instance_id: None}

    async def delete(self, instance_id: str) -> None:
        """Delete an instance that has finished or is parked. Raises UnknownInstanceError, InstanceNotFinishedError."""
        with self._live.use(instance_id) as live:
            async with live.lock:
                try:
                    instance = await self.load(live, instance_id)
                except UnreadableInstanceError:
                    pass
                else:
                    if not instance.is_finished:
                        what = f"{instance_id} is {instance.status}; cancel it before deleting it"
                        raise InstanceNotFinishedError(what)
                try:
                    await self._store.delete([instance_id])
                finally:  # what failed may have been done all the same
                    self._live.drop(instance_id)
                self._parking.forget(instance_id)

    async def reconsider(self, instance_id: str) -> None:
        """See that its row says what its history does, and tell everybody of it as a restart would."""
        await self.mend(instance_id)
        await self._look_again(instance_id)

    async def _look_again(self, instance_id: str) -> None:
        """Tell of an instance as it is in the store, after a write of which nobody knows what became."""
        with self._live.use(instance_id) as live:
            async with live.lock:
                instance = await self.load(live, instance_id)
                self._committed(instance)
                if not is_driven(instance):
                    live.give_up_turn()

    async def load_many(self, instance_ids: Sequence[str]) -> None:
        """Bring instances into memory with one read. Those in use, and those that cannot be read, are left."""
        entries = {instance_id: self._live.acquire(instance_id) for instance_id in instance_ids}
        locked: dict[str, LiveInstance] = {}
        try:
            for instance_id, live in entries.items():
                if live.instance is None and not live.lock.locked():
                    await live.lock.acquire()
                    locked[instance_id] = live
            histories = await self._store.histories(list(locked)) if locked else {}
            for instance_id, history in histories.items():
                if self._parking.holds(instance_id):
                    continue
                try:
                    locked[instance_id].instance = await folded(instance_id, history)
                except StoreError:
                    continue
        finally:
            for live in locked.values():
                live.lock.release()
            for live in entries.values():
                self._live.release(live)

    async def wake(self, instance_ids: Sequence[str]) -> Sequence[str]:
        """Do what is due; returns the ids for which it could not be done.

        Raises:
            StoreError: the file's trouble, and no single instance's.
        """
        await self.load_many(instance_ids)
        wakes = (self.change(instance_id, WakeUp()) for instance_id in instance_ids)
        outcomes = await asyncio.gather(*wakes, return_exceptions=True)
        failed = []
        for instance_id, outcome in zip(instance_ids, outcomes, strict=True):
            if isinstance(outcome, UnreadableInstanceError):
                continue  # parked
            if isinstance(outcome, StoreError) and not isinstance(outcome, CorruptDatabaseError):
                raise outcome
            if isinstance(outcome, Exception):
                _log.error("%s: could not be woken: %r", instance_id, outcome)
                failed.append(instance_id)
            elif not isinstance(outcome, BaseException) and not outcome[1]:
                failed += await self._mended_after_nothing_was_due(instance_id)
        return failed

    async def _mended_after_nothing_was_due(self, instance_id: str) -> Sequence[str]:
        """Another change came first, or its row did not say what its history does; the id when that is still so."""
        try:
            await self.mend(instance_id)
        except (UnreadableInstanceError, UnknownInstanceError):
            return []
        except CorruptDatabaseError as error:
            _log.error("%s: could not be woken: %r", instance_id, error)
            return [instance_id]
        return []


def _is_none(outcome: object) -> bool:
    return outcome is None
