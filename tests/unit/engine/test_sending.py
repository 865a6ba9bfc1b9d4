"""Notices are delivered at least once, each receiver in a lane of its own."""

import asyncio
import contextlib
import logging
import sqlite3
from datetime import timedelta

import pytest
from engine_parts import settled

from pylon_workflows import EngineSettings
from pylon_workflows.core.instance import Status
from pylon_workflows.definitions import Definitions, WorkflowDefinition
from pylon_workflows.engine import LocalEngine
from pylon_workflows.notices import NOTICED, Subscription
from pylon_workflows.ports import NotDeliveredError
from pylon_workflows.sending import GIVES_UP_AFTER, PLACES
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.testing import FakeClock, wait_until

DAY = timedelta(days=1)
AWAY = NotDeliveredError("it is away", is_away=True)
REFUSED = NotDeliveredError("it answered 400", is_away=False)


class Listed:
    """A receiver that keeps what it takes; `answers` are raised first, one an attempt, and then for ever `always`."""

    def __init__(self, key="all", *, answers=(), always=None, statuses=NOTICED):
        self.subscription = Subscription(key=key, statuses=frozenset(statuses))
        self.name = f"{key}.test"
        self.answers = list(answers)
        self.always = always
        self.attempts = []
        self.taken = []
        self.is_open = False
        self.hold = None
        self.flying = self.most_flying = 0

    async def open(self):
        self.is_open = True

    async def close(self):
        self.is_open = False

    async def deliver(self, notice):
        assert self.is_open
        self.attempts.append(notice)
        self.flying += 1
        self.most_flying = max(self.flying, self.most_flying)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.flying -= 1
        error = self.answers.pop(0) if self.answers else self.always
        if error is not None:
            raise error
        self.taken.append((notice.instance_id, notice.status.value))


class World:
    """A store and a clock, and engines upon them one after the other."""

    def __init__(self, store=None):
        self.store, self.clock = store or MemoryStore(), FakeClock()

    @contextlib.asynccontextmanager
    async def engine(self, *receivers, **settings):
        engine = LocalEngine(
            self.store, None, self.clock, Definitions(),
            EngineSettings(shutdown_grace_s=0, **settings), receivers=receivers, jitter=lambda: 1.0,
        )  # fmt: skip
        await engine.open()
        await engine.save_definition(WorkflowDefinition("order"))
        try:
            yield engine
        finally:
            await engine.close()

    async def pass_(self, seconds, step=1.0):
        left = seconds
        while left > 0:
            self.clock.advance(min(step, left))
            left -= step
            await settled()


@pytest.fixture
def world():
    return World()


async def cancel(engine, *ids):
    for instance_id in ids:
        await engine.start_or_find("order", id=instance_id)
        await engine.cancel(instance_id)
    await settled()


async def test_what_ends_is_told_at_once_and_forgotten(world):
    receiver = Listed()
    async with world.engine(receiver) as engine:
        await cancel(engine, "a", "b")
        assert sorted(receiver.taken) == [("a", "cancelled"), ("b", "cancelled")]
        await world.pass_(10)
        assert len(receiver.attempts) == 2
        assert await world.store.outbox.receivers() == []
    assert not receiver.is_open


async def test_what_parks_is_told_within_a_second(world):
    receiver = Listed()
    async with world.engine(receiver) as engine:
        await engine.start_or_find("order", id="a")
        await world.store.park("a", "unreadable: why")
        await world.pass_(1)
        assert receiver.taken == [("a", "blocked")]


async def test_a_failed_attempt_is_made_again_later_under_the_same_id(world):
    receiver = Listed(answers=[REFUSED, REFUSED])
    async with world.engine(receiver) as engine:
        await cancel(engine, "a")
        await world.pass_(4)
        assert len(receiver.attempts) == 1
        await world.pass_(2)
        assert len(receiver.attempts) == 2
        await world.pass_(8)
        assert len(receiver.attempts) == 2
        await world.pass_(4)
        assert receiver.taken == [("a", "cancelled")]
        assert len({notice.message_id for notice in receiver.attempts}) == 1


async def test_retry_after_is_kept_up_to_an_hour(world):
    receiver = Listed(answers=[NotDeliveredError("429", is_away=True, retry_after_s=600)])
    async with world.engine(receiver) as engine:
        await cancel(engine, "a")
        await world.pass_(595, step=5)
        assert len(receiver.attempts) == 1
        await world.pass_(10)
        assert len(receiver.taken) == 1


async def test_what_was_on_its_way_or_put_off_is_delivered_after_a_restart(world):
    receiver = Listed()
    receiver.hold = asyncio.Event()
    async with world.engine(receiver) as engine:
        await cancel(engine, "a")
        assert receiver.flying == 1
    assert (receiver.flying, receiver.taken) == (0, [])
    again = Listed()
    async with world.engine(again):
        await settled()
        assert again.taken == [("a", "cancelled")]
    assert again.attempts[0].message_id == receiver.attempts[0].message_id


async def test_so_many_are_on_their_way_at_a_time(world):
    receiver = Listed()
    receiver.hold = asyncio.Event()
    async with world.engine(receiver) as engine:
        await cancel(engine, *(f"wf_{number}" for number in range(3 * PLACES)))
        await world.pass_(3)
        assert (receiver.flying, len(receiver.attempts)) == (PLACES, PLACES)
        receiver.hold.set()
        await settled()
        await world.pass_(1)
        assert (len(receiver.taken), receiver.most_flying) == (3 * PLACES, PLACES)


async def test_what_lands_while_the_outbox_is_read_is_not_sent_again(world):
    receiver = Listed()
    receiver.hold = asyncio.Event()
    due, may_go_on = world.store.outbox.due, asyncio.Event()

    async def slowly(*arguments, **options):
        found = await due(*arguments, **options)
        await may_go_on.wait()
        return found

    async with world.engine(receiver) as engine:
        await cancel(engine, "a")
        world.store.outbox.due = slowly
        await world.pass_(1)
        receiver.hold.set()
        await settled()
        assert receiver.taken == [("a", "cancelled")]
        may_go_on.set()
        await settled()
        assert len(receiver.attempts) == 1


async def test_a_receiver_that_holds_on_or_is_away_holds_up_no_other(world):
    stuck, away, well = Listed("stuck"), Listed("away", always=AWAY), Listed("well")
    stuck.hold = asyncio.Event()
    async with world.engine(stuck, away, well) as engine:
        ids = [f"wf_{number}" for number in range(30)]
        await cancel(engine, *ids)
        await world.pass_(1)
        assert len(well.taken) == 30
        await engine.delete("wf_1")


async def test_one_that_is_away_is_asked_seldom_with_one_at_a_time_and_told_of_once(world, caplog):
    receiver = Listed(always=AWAY)
    async with world.engine(receiver) as engine:
        await cancel(engine, *(f"wf_{number}" for number in range(100)))
        receiver.most_flying = 0
        before = len(receiver.attempts)
        await world.pass_(600)
        assert receiver.most_flying == 1
        assert 8 <= len(receiver.attempts) - before <= 18
        warnings = [
            each for each in caplog.records if each.levelno >= logging.WARNING and "not delivered" in each.message
        ]
        assert len(warnings) == 1
        receiver.always = None
        await world.pass_(3700, step=10)
        assert len(receiver.taken) == 100


async def test_a_notice_that_is_refused_does_not_hold_up_others(world):
    receiver = Listed(answers=[REFUSED])
    async with world.engine(receiver) as engine:
        await cancel(engine, "a")
        await cancel(engine, "b", "c")
        assert receiver.taken == [("b", "cancelled"), ("c", "cancelled")]


async def test_a_receiver_with_a_bug_is_tried_again(world, caplog):
    receiver = Listed(answers=[RuntimeError("what")])
    async with world.engine(receiver) as engine:
        await cancel(engine, "a")
        await world.pass_(10)
        assert receiver.taken == [("a", "cancelled")]
    assert "could not be sent" in caplog.text


async def test_after_three_days_it_is_given_up_counted_and_told(world, caplog):
    receiver = Listed(always=AWAY)
    async with world.engine(receiver) as engine:
        await cancel(engine, "a")
        await world.pass_(GIVES_UP_AFTER / timedelta(seconds=1) - 3600, step=600)
        assert engine.given_up_webhooks == 0
        await world.pass_(3 * 3600, step=600)
        assert engine.given_up_webhooks == 1
        assert await world.store.outbox.receivers() == []
    (told,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "given up after 3 days" in told.message
    assert f"{receiver.attempts[0].message_id} about a" in told.message


async def test_what_is_overdue_because_no_engine_ran_is_tried_first(world):
    async with world.engine(Listed(always=AWAY)) as engine:
        await cancel(engine, "a")
    world.clock.advance(10 * DAY)
    late = Listed()
    async with world.engine(late) as engine:
        await settled()
        assert (late.taken, engine.given_up_webhooks) == ([("a", "cancelled")], 0)


async def test_what_is_kept_for_a_receiver_that_is_configured_no_more_is_given_up_in_time(world):
    async with world.engine(Listed("former", always=AWAY)) as engine:
        await cancel(engine, "a")
    async with world.engine() as engine:
        await world.pass_(7200, step=600)
        assert await world.store.outbox.receivers() == ["former"]
        await world.pass_(4 * 86400, step=1800)
        assert (await world.store.outbox.receivers(), engine.given_up_webhooks) == ([], 1)


async def test_only_what_is_wanted_is_told(world):
    receiver = Listed(statuses=(Status.FAILED,))
    async with world.engine(receiver) as engine:
        await cancel(engine, "a")
        await world.pass_(2)
        assert receiver.attempts == []


async def test_retention_deletes_what_is_still_to_be_told(world):
    receiver = Listed(always=AWAY)
    async with world.engine(receiver, retain_finished_for=timedelta(minutes=1)) as engine:
        await cancel(engine, "a")
        await world.pass_(180)
        assert await engine.list() == []
        receiver.always = None
        await world.pass_(300)
        assert receiver.taken == [("a", "cancelled")]


# Notices that cannot be read.


class WorldWithBrokenNotice(World):
    """In its file is a notice about `broken`, which cannot be read, and one about `good` behind it."""

    def __init__(self, path):
        super().__init__(SqliteStore(path))
        self.path = path

    async def fill(self):
        away = Listed(always=AWAY)
        async with self.engine(away) as engine:
            await engine.start_or_find("order", id="broken")
            await engine.cancel("broken")
            await wait_until(lambda: away.attempts)
            await engine.start_or_find("order", id="good")
            await engine.cancel("good")
        self.write("UPDATE outbox SET tags = '[1' WHERE instance_id = 'broken'")

    def write(self, statement):
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement)

    async def until(self, condition):
        """Let seconds pass until it holds."""

        def holds():
            self.clock.advance(1)
            return condition()

        await wait_until(holds)

    @property
    def kept(self):
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return dict(connection.execute("SELECT instance_id, attempts FROM outbox"))


async def test_a_notice_that_cannot_be_read_is_tried_again_told_of_once_and_delivered_when_it_can_be(tmp_path, caplog):
    world = WorldWithBrokenNotice(tmp_path / "w.db")
    await world.fill()
    world.clock.advance(3600)
    receiver = Listed()
    async with world.engine(receiver):
        await world.until(lambda: "good" not in world.kept and world.kept["broken"] > 3)
        assert receiver.taken == [("good", "cancelled")]
        world.write("UPDATE outbox SET tags = '{}'")
        world.clock.advance(3600)
        await world.until(lambda: world.kept == {})
        assert receiver.taken[1:] == [("broken", "cancelled")]
    told = [each.message for each in caplog.records if "cannot be read: tags" in each.message]
    assert len(told) == 1
    assert "webhooks to all.test: the notice 1 about 'broken' cannot be read: tags" in told[0]


async def test_one_that_cannot_be_read_is_given_up_at_the_age_of_all_and_takes_no_other_with_it(tmp_path, caplog):
    world = WorldWithBrokenNotice(tmp_path / "w.db")
    await world.fill()
    receiver = Listed()
    receiver.hold = asyncio.Event()
    world.clock.advance(GIVES_UP_AFTER - timedelta(seconds=1))
    async with world.engine(receiver) as engine:
        await wait_until(lambda: world.kept == {"broken": 2, "good": 0} and receiver.flying)
        assert engine.given_up_webhooks == 0
        world.clock.advance(3600)
        await world.until(lambda: engine.given_up_webhooks == 1)
        assert world.kept == {"good": 0}
        receiver.hold.set()
        await world.until(lambda: world.kept == {})
        assert receiver.taken == [("good", "cancelled")]
    assert "given up after 3 days: the notice 1 about 'broken' cannot be read: tags" in caplog.text
