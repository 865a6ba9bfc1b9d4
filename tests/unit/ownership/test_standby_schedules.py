"""A worker that does not own the file makes, steers and reads schedules as the owner does."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from owner import Mute, Owner, worker

from pylon_workflows import UnknownScheduleError
from pylon_workflows.testing import wait_until

DAILY = "0 9 * * *"
TERMS = {"timezone": "Europe/Berlin", "missed": "skip", "tags": {"team": "blue"}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


async def test_a_standby_does_all_that_an_owner_does(path):
    async with Owner(path) as owner, worker(path) as standby:
        made = await standby.schedule(DAILY, "order", {"n": [1, "ä"]}, id="daily", **TERMS)
        assert made == await owner.engine.get_schedule("daily") == await standby.get_schedule("daily")
        assert (made.input_json, made.timezone, made.missed) == ('{"n":[1,"ä"]}'.encode(), "Europe/Berlin", "skip")
        assert await standby.schedule(DAILY, "order", {"n": [1, "ä"]}, id="daily", **TERMS) == made
        assert await standby.schedules() == [made]
        paused = await standby.pause_schedule("daily")
        assert (paused.is_paused, paused.next_at) == (True, None)
        assert await standby.resume_schedule("daily") == made
        changed = await standby.schedule("* * * * *", "order", id="daily")
        assert (changed.cron, changed.created_at) == ("* * * * *", made.created_at)
        await standby.unschedule("daily")
        assert await standby.schedules() == []
        with pytest.raises(UnknownScheduleError):
            await standby.get_schedule("daily")


async def test_without_an_id_it_is_the_schedule_that_the_owner_would_have_made(path):
    async with Owner(path) as owner, worker(path) as standby:
        here = await owner.engine.schedule(DAILY, "order", {"n": 1}, **TERMS)
        assert await standby.schedule(DAILY, "order", {"n": 1}, **TERMS) == here


REFUSED = {
    "unknown workflow": lambda engine: engine.schedule(DAILY, "mail"),
    "no cron text": lambda engine: engine.schedule("0 9 * *", "order"),
    "no time zone": lambda engine: engine.schedule(DAILY, "order", timezone="Mars/Olympus"),
    "no such way": lambda engine: engine.schedule(DAILY, "order", missed="twice"),
    "no id": lambda engine: engine.schedule(DAILY, "order", id="a/b"),
    "reserved tag": lambda engine: engine.schedule(DAILY, "order", tags={"schedule": "x"}),
    "input that is no JSON": lambda engine: engine.schedule(DAILY, "order", float("nan")),
    "input too large": lambda engine: engine.schedule(DAILY, "order", "x" * 1024 * 1024),
    "get of nobody": lambda engine: engine.get_schedule("nobody"),
    "pause of nobody": lambda engine: engine.pause_schedule("nobody"),
    "resume of an id that none can have": lambda engine: engine.resume_schedule("a/b?c"),
    "removal of nobody": lambda engine: engine.unschedule("nobody"),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_is_refused_with_the_owners_error_and_sentence(path, call):
    async with Owner(path) as owner, worker(path) as standby:
        with pytest.raises(Exception) as here:
            await call(owner.engine)
        with pytest.raises(type(here.value)) as there:
            await call(standby)
        assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))


@pytest.mark.parametrize(
    ("path_asked", "call"),
    [
        ("/schedules", lambda standby: standby.schedule("0 9 1 * *", "order")),
        ("/schedules/daily", lambda standby: standby.unschedule("daily")),
        ("/pause", lambda standby: standby.pause_schedule("daily")),
    ],
)
async def test_what_an_owner_did_that_died_before_its_answer_is_found_done(path, path_asked, call):
    mute = Mute(path_asked)
    owner = Owner(path, mute)
    async with owner, worker(path) as standby:
        await owner.engine.schedule(DAILY, "order", id="daily")
        calling = asyncio.create_task(call(standby))
        await asyncio.wait_for(mute.has_done.wait(), 10)
        await owner.die()
        await asyncio.wait_for(calling, 10)
        await wait_until(lambda: standby.role == "owner")
        found = {each.id: each.is_paused for each in await standby.schedules()}
        assert (
            found
            == {
                "/schedules": {"daily": False, **dict.fromkeys(found.keys() - {"daily"}, False)},
                "/schedules/daily": {},
                "/pause": {"daily": True},
            }[path_asked]
        )
        assert len(found) == {"/schedules": 2, "/schedules/daily": 0, "/pause": 1}[path_asked]


async def test_whoever_takes_over_starts_what_was_missed_and_once(path):
    async with Owner(path) as owner:
        await owner.engine.schedule("* * * * *", "order", id="minutely")
    with closing(sqlite3.connect(path)) as connection:
        an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1_000_000
        connection.execute("UPDATE schedules SET next_at = ?", (int(an_hour_ago) // 60_000_000 * 60_000_000,))
        connection.commit()
    async with worker(path) as engine:
        await wait_until(lambda: _count_is(engine, 1))
        schedule = await engine.get_schedule("minutely")
        assert schedule.next_at > datetime.now(UTC) - timedelta(seconds=61)
        assert datetime.now(UTC) - schedule.last_at < timedelta(seconds=61)


async def _count_is(engine, count):
    return len(await engine.list()) >= count
