"""A worker that does not own the file publishes events as the owner does."""

import asyncio

import pytest
from owner import Mute, Owner, worker

from pylon_workflows import EngineSettings, PublishedStart, Status
from pylon_workflows.testing import wait_until
from runner_protocol.messages import WaitEvent

KEY = "order:7"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


async def waiting(engine, id="wf_1"):
    await engine.start_or_find("order", id=id)
    await engine.apply(id, WaitEvent(event="paid", correlation=KEY))


async def got(engine, id="wf_1"):
    return [record.output for record in (await engine.get(id)).steps]


async def has_gone_on(engine, id="wf_1"):
    return (await engine.get(id)).status is Status.RUNNING


def duplicates(receipts):
    return [receipt.is_duplicate for receipt in receipts]


async def test_what_a_standby_publishes_resumes_an_instance_of_the_owner(path):
    async with Owner(path) as owner, worker(path) as standby:
        await waiting(owner.engine)
        receipts = [
            await standby.publish("paid", {"text": "é"}, correlation=KEY, event_id="evt_1", source="shop")
            for _ in range(2)
        ]
        assert duplicates(receipts) == [False, True]
        assert (await owner.engine.publish("paid", correlation=KEY, event_id="evt_1", source="shop")).is_duplicate
        await wait_until(lambda: has_gone_on(standby))
        assert await got(standby) == [{"text": "é"}]


async def test_without_an_id_each_is_new(path):
    async with Owner(path) as owner, worker(path) as standby:
        receipts = [await standby.publish("paid", n, correlation=KEY) for n in range(3)]
        assert duplicates(receipts) == [False] * 3
        for n in range(3):
            await waiting(owner.engine, f"wf_{n}")
            await wait_until(lambda n=n: has_gone_on(standby, f"wf_{n}"))
        assert [await got(standby, f"wf_{n}") for n in range(3)] == [[0], [1], [2]]


async def test_what_a_standby_publishes_starts_an_instance(path):
    async with Owner(path), worker(path) as standby:
        start = PublishedStart("order", {"n": 7}, id="order-7", tags={"team": "blue"})
        await standby.publish("paid", correlation=KEY, start=start)
        await wait_until(lambda: _count_is(standby, 1))
        instance = await standby.get("order-7")
        assert (instance.input, instance.tags) == ({"n": 7}, {"team": "blue"})


async def _count_is(engine, count):
    return len(await engine.list()) == count


def deep(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


async def test_what_the_owner_takes_a_standby_forwards(path):
    most = EngineSettings()
    data, largest_input = "x" * (most.max_event_bytes - 2), "y" * (most.max_input_bytes - 2)
    async with Owner(path), worker(path) as standby:
        await standby.publish("paid", data, correlation="x" * 512, start=PublishedStart("order", largest_input))
        await standby.publish("paid", deep(64), correlation=KEY, start=PublishedStart("order", deep(64)))
        await wait_until(lambda: _count_is(standby, 2))


REFUSED = {
    "no such workflow": lambda engine: engine.publish("paid", correlation=KEY, start=PublishedStart("nobody")),
    "no name": lambda engine: engine.publish("", correlation=KEY),
    "no key": lambda engine: engine.publish("paid", correlation=""),
    "a long key": lambda engine: engine.publish("paid", correlation="x" * 513),
    "a source that is none": lambda engine: engine.publish("paid", correlation=KEY, source="a b"),
    "a long id": lambda engine: engine.publish("paid", correlation=KEY, event_id="x" * 129),
    "much data": lambda engine: engine.publish("paid", "x" * 300_000, correlation=KEY),
    "deep data": lambda engine: engine.publish("paid", deep(65), correlation=KEY),
    "NaN": lambda engine: engine.publish("paid", float("nan"), correlation=KEY),
    "a bad start": lambda engine: engine.publish("paid", correlation=KEY, start=PublishedStart("order", id="a b")),
    "a large start": lambda engine: engine.publish("paid", correlation=KEY, start=PublishedStart("order", "x" * 2**20)),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_is_refused_with_the_owners_error_and_sentence(path, call):
    async with Owner(path) as owner, worker(path) as standby:
        with pytest.raises(Exception) as here:
            await call(owner.engine)
        with pytest.raises(type(here.value)) as there:
            await call(standby)
        assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))


async def test_what_an_owner_stored_that_died_before_its_answer_is_applied_once(path):
    mute = Mute("/events")
    owner = Owner(path, mute)
    async with owner, worker(path) as standby:
        publishing = asyncio.create_task(standby.publish("paid", 1, correlation=KEY))
        await asyncio.wait_for(mute.has_done.wait(), 10)
        await owner.die()
        assert (await asyncio.wait_for(publishing, 10)).is_duplicate is False
        await wait_until(lambda: standby.role == "owner")
        for each in ("wf_1", "wf_2"):
            await waiting(standby, each)
        await wait_until(lambda: has_gone_on(standby, "wf_1"))
        await wait_until(lambda: standby._engine._matcher.is_idle)
        assert [await got(standby, each) for each in ("wf_1", "wf_2")] == [[1], []]


async def test_whoever_takes_over_matches_what_was_left(path, monkeypatch):
    owner = Owner(path)
    async with owner, worker(path) as standby:
        monkeypatch.setattr(owner.engine._matcher, "_match", _never)
        await waiting(owner.engine)
        await owner.engine.publish("paid", 1, correlation=KEY)
        await owner.die()
        await wait_until(lambda: standby.role == "owner")
        await wait_until(lambda: has_gone_on(standby))
        assert await got(standby) == [1]


async def _never(*_arguments):
    await asyncio.Event().wait()
