"""Parts for tests of the engine: a store whose troubles the test makes, and instances to put into it."""

import asyncio
from datetime import UTC, datetime, timedelta

from pylon_workflows.core.evolution import begin
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import InstanceStarted
from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.ports import Write
from pylon_workflows.store.memory import MemoryStore

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class TroubledStore(MemoryStore):
    """A store in memory whose reading and writing the test can hold up or break."""

    def __init__(self):
        super().__init__()
        self.unreadable = set()
        self.write_trouble = None
        self.acknowledgement_trouble = None
        self.read_trouble = None
        self.reads = []
        self.appends = 0
        self.is_released = asyncio.Event()
        self.is_released.set()
        self.is_writing = asyncio.Event()
        self.is_writing.set()

    def hold(self):
        """Let nobody read a history until `release`."""
        self.is_released.clear()

    def release(self):
        self.is_released.set()

    def append(self, instance, transitions, **options):
        if self.write_trouble is not None:
            failed = Write()
            failed.set_exception(self.write_trouble)
            return failed
        self.appends += 1
        written = super().append(instance, transitions, **options)
        if self.is_writing.is_set():
            return written
        late = Write()
        self.acknowledging = asyncio.create_task(self._acknowledge_later(written, late))
        return late

    async def _acknowledge_later(self, written, late):
        await self.is_writing.wait()
        await written
        if self.acknowledgement_trouble is None:
            late.set_result(None)
        else:
            late.set_exception(self.acknowledgement_trouble)

    async def histories(self, instance_ids):
        self.reads.append(list(instance_ids))
        found = dict(await super().histories(instance_ids))
        await self.is_released.wait()
        if self.read_trouble is not None:
            raise self.read_trouble
        for instance_id in self.unreadable & set(instance_ids):
            found[instance_id] = CorruptDatabaseError(f"instance {instance_id}, revision 1: unreadable")
        return found

    async def due(self, *, now, limit):
        if self.read_trouble is not None:
            raise self.read_trouble
        return await super().due(now=now, limit=limit)


def at(seconds):
    return BEGINNING + timedelta(seconds=seconds)


def an_instance(instance_id="wf_1", *, due_in=None, name="order"):
    """A new instance; `due_in` seconds delay its first turn."""
    return begin(
        InstanceStarted(
            at=BEGINNING,
            id=instance_id,
            name=name,
            version=None,
            input_json=b"{}",
            idempotency_key=None,
            seed="0" * 32,
            policy=RetryPolicy(),
            step_timeout=timedelta(seconds=30),
            due_at=None if due_in is None else at(due_in),
        )
    )


async def settled():
    """Let everything that can go on without time passing go on."""
    for _ in range(30):
        await asyncio.sleep(0)
