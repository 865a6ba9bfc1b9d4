"""The instances in memory: those in use, and a bounded number of those used last."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.turn_request import JoinedRecords
from pylon_workflows.wave import Wave

_ENTRY_BYTES = 2_000
_RECORD_BYTES = 500


def is_driven(instance: Instance) -> bool:
    """Whether an answer may still go on with it: also between attempts, when the answer itself has scheduled them."""
    return instance.status is Status.RUNNING or instance.status is Status.PENDING


class LiveInstance:
    """An instance as it was last committed, and what this process knows of it beside.

    `lock` is held while it is read from the store and while a change of it is decided and committed. `open_turn` is the
    number of the turn that may answer now; closing it makes a late answer stale. `asked_at` is when the turn began, or
    the last line of its answer was applied.
    """

    __slots__ = ("asked_at", "asking", "instance", "lock", "open_turn", "records", "size", "turns", "users", "wave")

    def __init__(self) -> None:
        self.instance: Instance | None = None
        self.lock = asyncio.Lock()
        self.records = JoinedRecords()
        self.users = 0
        self.size = 0
        self.turns = 0
        self.open_turn: int | None = None
        self.asking: asyncio.Task[None] | None = None
        self.asked_at: datetime | None = None
        self.wave: Wave | None = None

    @property
    def loaded(self) -> Instance:
        """The instance, of which the caller knows that it has been loaded."""
        if self.instance is None:
            raise RuntimeError("the instance has not been loaded")
        return self.instance

    def begin_turn(self) -> int:
        """Open a turn and number it."""
        self.turns += 1
        self.open_turn = self.turns
        return self.turns

    def end_turn(self, turn: int) -> None:
        """Close a turn, unless something else has closed it before."""
        if self.open_turn == turn:
            self.open_turn = None

    def give_up_turn(self) -> None:
        """Close whatever turn is open and stop waiting for its answer."""
        self.open_turn = None
        if self.asking is not None:
            self.asking.cancel()
            self.asking = None

    def forget(self) -> None:
        """Read the instance from the store again before the next use."""
        self.instance = None
        self.wave = None
        self.forget_records()

    def forget_records(self) -> None:
        """Join the records again for the next turn: they are as large as all outputs, and it may be long until then."""
        self.records = JoinedRecords()


class LiveInstances:
    """A cache by id; an entry in use is never dropped, so all users of an id share one lock.

    Beyond those in use it holds so many, `capacity`, and so many bytes, by estimate.
    """

    def __init__(self, capacity: int, max_bytes: int) -> None:
        self._entries: OrderedDict[str, LiveInstance] = OrderedDict()
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._used = 0

    @contextmanager
    def use(self, instance_id: str) -> Iterator[LiveInstance]:
        """The one entry of that id, for as long as the block runs."""
        live = self.acquire(instance_id)
        try:
            yield live
        finally:
            self.release(live)

    def keep(self, instance: Instance) -> None:
        """Have a new instance in memory, for it is about to be driven."""
        with self.use(instance.id) as live:
            if live.instance is None and not live.lock.locked():
                live.instance = instance

    def acquire(self, instance_id: str) -> LiveInstance:
        """The one entry of that id, to be given back with `release`."""
        live = self._entries.get(instance_id)
        if live is None:
            live = self._entries[instance_id] = LiveInstance()
        else:
            self._entries.move_to_end(instance_id)
            self._bytes -= live.size
            live.size = 0
        self._used += live.users == 0
        live.users += 1
        excess = len(self._entries) - self._used - self._capacity
        if excess > 0:
            unused = (known for known, entry in self._entries.items() if entry.users == 0)
            for oldest in list(islice(unused, excess)):
                self._remove(oldest)
        return live

    def release(self, live: LiveInstance) -> None:
        """Give an entry back; that of a finished instance is not kept."""
        live.users -= 1
        if live.users:
            return
        self._used -= 1
        instance = live.instance
        if instance is not None and instance.is_finished:
            # Few are asked about again. Kept by the thousand they made garbage collection a seventh of a step.
            del self._entries[instance.id]
        else:
            live.size = _estimated_bytes(live)
            self._bytes += live.size
            if self._bytes > self._max_bytes:
                self._shrink()

    def _shrink(self) -> None:
        excess = self._bytes - self._max_bytes
        oldest = []
        for instance_id, live in self._entries.items():
            if live.users == 0:
                oldest.append(instance_id)
                excess -= live.size
                if excess <= 0:
                    break
        for instance_id in oldest:
            self._remove(instance_id)

    def _remove(self, instance_id: str) -> None:
        self._bytes -= self._entries.pop(instance_id).size

    def drop(self, instance_id: str) -> None:
        """Forget an instance that has been deleted. An entry in use stays: the next instance of that id shares it.

        A turn that is still open, about one that was cancelled without anybody hearing of it, answers nobody.
        """
        live = self._entries.get(instance_id)
        if live is not None:
            live.forget()
            live.give_up_turn()
            if live.users == 0:
                self._remove(instance_id)

    def clear(self) -> None:
        """Forget all, none of which is in use."""
        self._entries.clear()
        self._bytes = 0

    def asked_at(self, instance_id: str) -> datetime | None:
        """Since when the open turn of an instance waits for the next line of its answer; None while there is none."""
        live = self._entries.get(instance_id)
        return None if live is None or live.open_turn is None else live.asked_at

    def __len__(self) -> int:
        return len(self._entries)


def _estimated_bytes(live: LiveInstance) -> int:
    """What an entry holds: its JSON, and about as much around it as CPython takes for the objects."""
    size = _ENTRY_BYTES + live.records.size
    instance = live.instance
    if instance is not None:
        size += instance.history_bytes + len(instance.terms.input_json) + _RECORD_BYTES * len(instance.records)
        size += len(instance.output_json or b"")
        if instance.group is not None:
            size += instance.group.size + _RECORD_BYTES * instance.group.total
        if instance.inbox:
            size += sum(_RECORD_BYTES + len(event.data_json) for event in instance.inbox)
    return size
