import asyncio
from contextlib import asynccontextmanager

import pytest
from engine_parts import settled

from pylon_workflows.errors import CorruptDatabaseError, StoreError
from pylon_workflows.looks import Look, Looks
from pylon_workflows.testing import FakeClock, wait_until


class World:
    """Looks that take a round of the loop each, and fail where the test has them fail."""

    def __init__(self):
        self.clock = FakeClock()
        self.looks = Looks(self.look, self.clock)
        self.seen = []
        self.trouble = {}
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def look(self, key, look):
        await asyncio.sleep(0)
        await self.goes_on.wait()
        if (error := self.trouble.get(key)) is not None:
            raise error
        self.seen.append((key, look.event))

    @asynccontextmanager
    async def running(self):
        run = asyncio.create_task(self.looks.run())
        yield
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    async def wait(self, seconds):
        for _ in range(seconds):
            await settled()
            self.clock.advance(1)
        await settled()


async def test_under_a_key_what_came_first_is_looked_at_first():
    world = World()
    for event in range(5):
        world.looks.add("k", Look(event=event))
    async with world.running():
        await world.looks.passed()
        assert world.seen == [("k", event) for event in range(5)]
        await settled()
        assert world.looks.is_empty


async def test_a_quiet_key_waits_for_no_backlog_of_busy_ones():
    world = World()
    for key in range(64):
        for event in range(100):
            world.looks.add(f"busy {key}", Look(event=event))
    world.looks.add("quiet", Look(event=0))
    async with world.running():
        await wait_until(lambda: ("quiet", 0) in world.seen)
        assert world.seen.index(("quiet", 0)) <= 64


@pytest.mark.parametrize("count", [1, 64, 100])
async def test_keys_that_always_fail_hold_up_no_other_and_nobody_who_waits(count, caplog):
    world = World()
    for key in range(count):
        world.trouble[f"bad {key}"] = StoreError("no")
        world.looks.add(f"bad {key}", Look(event=0))
    world.looks.add("good", Look(event=0))
    async with world.running():
        passed = asyncio.create_task(world.looks.passed())
        await world.wait(2)
        assert world.seen == [("good", 0)]
        assert not passed.done()
        await world.wait(10)
        assert passed.done()
        assert len([each for each in caplog.records if "cannot be matched yet" in each.message]) == count
        world.trouble.clear()
        await world.wait(1)
        assert len(world.seen) == count + 1
        assert world.looks.is_empty


async def test_what_is_corrupt_is_looked_through_again_in_a_minute():
    world = World()
    world.trouble["k"] = CorruptDatabaseError("torn")
    world.looks.add("k", Look(event=1))
    async with world.running():
        await world.looks.passed()
        assert world.seen == []
        world.trouble.clear()
        world.clock.advance(60)
        await settled()
        assert world.seen == [("k", None)]


async def test_what_is_cut_off_in_a_look_can_be_run_again():
    world = World()
    world.looks.add("k", Look(event=1))
    world.goes_on.clear()
    async with world.running():
        await settled()
    assert world.seen == []
    world.goes_on.set()
    async with world.running():
        world.looks.add("k", Look(event=2))
        await world.looks.passed()
        assert world.seen[-1] == ("k", 2)
