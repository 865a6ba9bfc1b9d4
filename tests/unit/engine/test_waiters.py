"""Callers that wait for an instance's end."""

import asyncio
from dataclasses import replace

import pytest
from engine_parts import an_instance, settled

from pylon_workflows.core.instance import Status
from pylon_workflows.errors import EngineNotRunningError, UnknownInstanceError
from pylon_workflows.waiters import Waiters

LIVING = an_instance("a")
FINISHED = replace(LIVING, status=Status.COMPLETED)


class Setting:
    def __init__(self):
        self.instance = LIVING
        self.waiters = Waiters(self.read)

    async def read(self, instance_id):
        await asyncio.sleep(0)
        if self.instance is None:
            raise UnknownInstanceError(instance_id)
        return self.instance

    def wait(self, timeout_s=None):
        return asyncio.create_task(self.waiters.wait("a", timeout_s))

    @property
    def is_forgotten(self):
        return not self.waiters._futures


@pytest.fixture
def it():
    return Setting()


async def test_one_that_has_finished_is_returned_at_once(it):
    it.instance = FINISHED
    assert await it.wait() is FINISHED
    assert it.is_forgotten


async def test_everybody_who_waits_is_told(it):
    waiting = [it.wait() for _ in range(3)]
    await settled()
    it.waiters.finished(FINISHED)
    assert await asyncio.gather(*waiting) == [FINISHED] * 3
    assert it.is_forgotten


async def test_one_that_finishes_while_it_is_being_read_is_not_missed(it):
    waiting = it.wait()
    await asyncio.sleep(0)
    it.waiters.finished(FINISHED)
    assert await waiting is FINISHED


async def test_a_wait_that_takes_too_long_ends_and_leaves_nothing(it):
    with pytest.raises(TimeoutError):
        await it.wait(0.001)
    assert it.is_forgotten


async def test_a_caller_who_goes_away_takes_nobody_along(it):
    gone, staying = it.wait(), it.wait()
    await settled()
    gone.cancel()
    it.waiters.finished(FINISHED)  # the very moment after
    assert await staying is FINISHED
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_caller_who_goes_away_while_the_engine_closes_is_no_trouble(it):
    gone, staying = it.wait(), it.wait()
    await settled()
    gone.cancel()
    it.waiters.close()
    with pytest.raises(EngineNotRunningError):
        await staying
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_waiting_for_an_unknown_instance_raises_and_leaves_nothing(it):
    it.instance = None
    with pytest.raises(UnknownInstanceError):
        await it.wait()
    assert it.is_forgotten


async def test_an_end_that_nobody_waits_for_is_no_trouble(it):
    it.waiters.finished(FINISHED)
    assert it.is_forgotten


async def test_when_the_engine_closes_those_who_wait_are_told(it):
    waiting = it.wait()
    await settled()
    it.waiters.close()
    with pytest.raises(EngineNotRunningError, match="closed before the instance finished"):
        await waiting


async def test_an_engine_that_closes_while_the_end_is_being_read_leaves_no_error_unheard(it, recwarn):
    unheard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    it.instance = FINISHED
    waiting = it.wait()
    await asyncio.sleep(0)
    it.waiters.close()
    assert await waiting is FINISHED
    del waiting
    await settled()
    assert unheard == []


async def test_a_later_wait_for_the_same_id_is_not_forgotten_with_an_earlier_one(it):
    earlier = it.wait(10)
    await settled()
    it.waiters.finished(FINISHED)
    later = it.wait()  # before the earlier one has heard; the id has been given to another instance since
    await asyncio.sleep(0)
    await earlier
    await settled()
    it.waiters.finished(FINISHED)
    assert await asyncio.wait_for(later, 1) is FINISHED
