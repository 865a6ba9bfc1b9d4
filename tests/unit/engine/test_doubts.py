"""A write that fails may have been stored all the same (P25): whatever became of it, nothing is stuck for it (P8)."""

import asyncio
from datetime import timedelta

import pytest
from engine_parts import settled

from pylon_workflows import WorkflowDefinition
from pylon_workflows.core.instance import Status
from pylon_workflows.errors import StorageFullError, StoreError, UnknownInstanceError
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import FakeClock, MemoryStore, ScriptedRunner, engine_in_memory, script
from runner_protocol.messages import Complete, Sleep, StepComplete, WaitEvent


class DoubtfulStore(MemoryStore):
    """Stores what it is given and, while the test says so, raises all the same."""

    def __init__(self):
        super().__init__()
        self.trouble = None
        self.read_trouble = None

    def append(self, instance, transitions, **options):
        written = super().append(instance, transitions, **options)
        if self.trouble is None:
            return written
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(self.trouble)
        return failed

    async def create(self, instance):
        taken_by = await super().create(instance)
        if self.trouble is not None:
            raise self.trouble
        return taken_by

    async def delete(self, instance_ids):
        deleted = await super().delete(instance_ids)
        if self.trouble is not None:
            raise self.trouble
        return deleted

    async def histories(self, instance_ids):
        if self.read_trouble is not None:
            raise self.read_trouble
        return await super().histories(instance_ids)


@pytest.fixture
def store():
    return DoubtfulStore()


@pytest.fixture
def clock():
    return FakeClock()


def engine_with(store, clock, *answers, **settings):
    runner = answers[0] if answers and callable(answers[0]) else script(*answers)
    engine = engine_in_memory(
        ScriptedRunner(runner), clock=clock, store=store, settings=EngineSettings(shutdown_grace_s=0, **settings)
    )
    engine.register(WorkflowDefinition("order"))
    return engine


async def a_second_later(clock):
    await settled()
    clock.advance(1)
    await settled()


async def test_a_start_that_was_stored_after_all_is_driven(store, clock):
    async with engine_with(store, clock, Complete()) as engine:
        store.trouble = StoreError("disk I/O error")
        with pytest.raises(StoreError):
            await engine.start("order", id="a")
        store.trouble = None
        await a_second_later(clock)
        assert (await engine.get("a")).status is Status.COMPLETED


async def test_a_start_that_was_not_stored_is_forgotten(store, clock):
    async with engine_with(store, clock) as engine:
        store.trouble = StoreError("disk I/O error")
        with pytest.raises(StoreError):
            await engine.start("order", id="a")
        store.trouble = None
        del store._instances["a"]
        await a_second_later(clock)
        with pytest.raises(UnknownInstanceError):
            await engine.get("a")
        assert not engine._engine._changes.doubts._ids


async def test_an_event_that_was_stored_after_all_lets_the_instance_go_on(store, clock):
    async with engine_with(store, clock, WaitEvent(event="go"), Complete()) as engine:
        await engine.start("order", id="a")
        await settled()
        store.trouble = StoreError("disk I/O error")
        with pytest.raises(StoreError):
            await engine.send_event("a", "go", 1, event_id="e")
        store.trouble = None
        await a_second_later(clock)
        assert (await engine.get("a")).status is Status.COMPLETED


async def test_a_sleep_that_was_stored_after_all_ends_in_time(store, clock):
    async with engine_with(store, clock, Sleep(duration="5s"), Complete()) as engine:
        store.trouble = StoreError("disk I/O error")
        with pytest.raises(StoreError):
            await engine.start("order", id="a")
        await a_second_later(clock)  # it is driven, and its sleep is doubtful too
        store.trouble = None
        for _ in range(10):
            clock.advance(0.5)
            await settled()
        assert (await engine.get("a")).status is Status.COMPLETED


async def test_who_waits_for_an_end_that_was_stored_after_all_hears_of_it(store, clock):
    answering = asyncio.Event()

    async def answer():
        await answering.wait()
        return Complete(output=1)

    async with engine_with(store, clock, lambda request: answer()) as engine:
        await engine.start("order", id="a")
        waiting = asyncio.create_task(engine.wait("a"))
        await settled()
        store.trouble = StoreError("disk I/O error")
        answering.set()
        await a_second_later(clock)
        assert (await asyncio.wait_for(waiting, 5)).output == 1


async def test_a_cancel_that_was_stored_after_all_ends_the_turn_in_flight(store, clock):
    given_up = []

    async def answer():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            given_up.append("a")
            raise

    async with engine_with(store, clock, lambda request: answer()) as engine:
        await engine.start("order", id="a")
        await settled()
        store.trouble = StoreError("disk I/O error")
        with pytest.raises(StoreError):
            await engine.cancel("a")
        await a_second_later(clock)
        assert given_up == ["a"]


async def test_an_instance_whose_deletion_was_doubtful_is_not_read_from_memory(store, clock):
    async with engine_with(store, clock, Complete()) as engine:
        await engine.start("order", id="a")
        await settled()
        assert (await engine.get("a")).status is Status.COMPLETED
        store.trouble = StoreError("disk I/O error")
        with pytest.raises(StoreError):
            await engine.delete("a")
        with pytest.raises(UnknownInstanceError):
            await engine.get("a")


async def test_what_retention_deleted_doubtfully_is_not_read_from_memory(store, clock):
    async with engine_with(store, clock, Complete(), retain_finished_for=timedelta(seconds=30)) as engine:
        await engine.start("order", id="a")
        await settled()
        store.trouble = StoreError("disk I/O error")
        clock.advance(61)
        await settled()
        with pytest.raises(UnknownInstanceError):
            await engine.get("a")


async def test_an_answer_about_an_instance_that_was_deleted_is_not_taken_for_the_next_one_of_its_id(store, clock):
    answers = []

    def answer(request):
        answers.append(asyncio.get_running_loop().create_future())
        return answers[-1]

    async with engine_with(store, clock, answer) as engine:
        await engine.start("order", id="a")
        await settled()
        store.trouble = StoreError("disk I/O error")
        with pytest.raises(StoreError):
            await engine.cancel("a")  # stored after all, but the turn goes on
        store.trouble = None
        await engine.delete("a")
        await engine.start("order", {"n": 2}, id="a")
        if not answers[0].done():
            answers[0].set_result(StepComplete(step_name="of the first"))
        await settled()
        assert (await engine.get("a")).steps == ()
        assert len(answers) == 2


async def test_while_the_store_cannot_be_read_it_looks_again_every_second(store, clock, caplog):
    async with engine_with(store, clock, Complete()) as engine:
        store.trouble = store.read_trouble = StoreError("disk I/O error")
        with pytest.raises(StoreError):
            await engine.start("order", id="a")
        for _ in range(3):
            await a_second_later(clock)
        assert "a: still in doubt: disk I/O error" in caplog.text
        store.trouble = store.read_trouble = None
        await a_second_later(clock)
        assert (await engine.get("a")).status is Status.COMPLETED


async def test_a_full_disk_leaves_no_doubt(store, clock):
    async with engine_with(store, clock) as engine:
        store.trouble = StorageFullError("the disk is full")
        with pytest.raises(StorageFullError):
            await engine.start("order", id="a")
        assert not engine._engine._changes.doubts._ids
