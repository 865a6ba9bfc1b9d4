"""Cancelling and resuming many: what a filter chooses, a page at a time, and everything only when it is asked for."""

from datetime import UTC, datetime

import pytest
from engine_parts import TroubledStore

from pylon_workflows import WorkflowDefinition, bulk_changes
from pylon_workflows.core.instance import Status
from pylon_workflows.errors import (
    EngineNotRunningError,
    InvalidInputError,
    ListLimitError,
    OwnershipLostError,
    StorageFullError,
    StoreError,
)
from pylon_workflows.testing import FakeClock, engine_in_memory
from runner_protocol.messages import Complete, Diverged, Sleep, WaitEvent

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
BLOCK = Diverged(position=0, expected="a", got="b")


@pytest.fixture
def store():
    return TroubledStore()


@pytest.fixture
async def engine(store):
    engine = engine_in_memory(None, store=store, clock=FakeClock(NOW))
    engine.register(WorkflowDefinition("order"))
    engine.register(WorkflowDefinition("refund"))
    async with engine:
        yield engine


async def statuses(engine):
    return {found.id: found.status.value for found in await engine.list()}


async def pages(call, **terms):
    found, after = [], None
    while not found or after is not None:
        receipt = await call(**terms, after=after)
        assert not receipt.failures
        found.append(receipt.count)
        after = receipt.after
    return found


async def test_the_unfinished_that_a_filter_chooses_are_cancelled(engine):
    for number, action in enumerate((Sleep(duration="1h"), WaitEvent(event="e"), BLOCK, Complete(), None)):
        await engine.start("order", id=f"o{number}", tags={"n": str(number % 2)})
        if action is not None:
            await engine.apply(f"o{number}", action)
    await engine.start("refund", id="r")
    await engine.start("order", id="later", delay="1h")
    assert await pages(engine.cancel_many, name="order", tags={"n": "0"}) == [3]
    assert await statuses(engine) == {
        "o0": "cancelled", "o1": "waiting_for_event", "o2": "cancelled", "o3": "completed", "o4": "cancelled",
        "r": "pending", "later": "pending",
    }  # fmt: skip
    assert await pages(engine.cancel_many, name="order", statuses=[Status.PENDING]) == [1]
    assert await pages(engine.cancel_many, name="order", tags={"n": "0"}) == [0]
    assert await pages(engine.cancel_many, all=True) == [2]
    assert set((await statuses(engine)).values()) == {"cancelled", "completed"}


async def test_the_blocked_that_a_filter_chooses_are_resumed(engine):
    for name in ("order", "refund"):
        for number in range(2):
            await engine.start(name, id=f"{name}{number}")
            await engine.apply(f"{name}{number}", BLOCK)
    await engine.start("order", id="sound")
    assert await pages(engine.resume_many, name="order") == [2]
    assert await pages(engine.resume_many, statuses=[Status.BLOCKED], name="order") == [0]
    assert await pages(engine.resume_many, all=True) == [2]
    assert set((await statuses(engine)).values()) == {"running", "pending"}


async def test_pages_come_to_an_end_and_nothing_is_changed_twice(engine):
    for number in range(45):
        await engine.start("order", id=f"o{number}")
    assert await pages(engine.cancel_many, name="order", limit=10, dry_run=True) == [10, 10, 10, 10, 5]
    assert await pages(engine.cancel_many, name="order", limit=10) == [10, 10, 10, 10, 5]
    assert await pages(engine.cancel_many, name="order", limit=10) == [0]


async def test_what_starts_in_the_meantime_is_left(engine):
    for number in range(3):
        await engine.start("order", id=f"o{number}")
    first = await engine.cancel_many(name="order", limit=2)
    await engine.start("order", id="new")
    rest = await engine.cancel_many(name="order", limit=2, after=first.after)
    assert (first.count, rest.count, rest.after) == (2, 1, None)
    assert (await engine.get("new")).status is Status.PENDING


async def test_a_cursor_that_was_deleted_begins_at_the_front(engine):
    for number in range(4):
        await engine.start("order", id=f"o{number}")
    first = await engine.cancel_many(name="order", limit=2)
    await engine.delete(first.after)
    assert (await engine.cancel_many(name="order", limit=2, after=first.after)).count == 2
    assert {"pending"}.isdisjoint((await statuses(engine)).values())


async def test_a_page_ends_when_it_has_taken_long_enough(engine, monkeypatch):
    monkeypatch.setattr(bulk_changes, "_AT_A_TIME", 2)
    monkeypatch.setattr(bulk_changes, "_LONGEST_S", 0)
    for number in range(5):
        await engine.start("order", id=f"o{number}")
    assert await pages(engine.cancel_many, all=True) == [2, 2, 1]


async def test_what_cannot_be_read_is_told_and_the_others_are_changed(engine, store):
    for number in range(3):
        await engine.start("order", id=f"o{number}")
    store.unreadable.add("o1")
    engine._engine._live.clear()
    receipt = await engine.cancel_many(name="order")
    assert (receipt.count, receipt.after) == (2, None)
    assert [(failure.id, failure.code) for failure in receipt.failures] == [("o1", "corrupt-database")]
    assert "revision 1: unreadable" in receipt.failures[0].detail


async def test_the_files_trouble_is_everybodys(engine, store):
    await engine.start("order", id="o")
    store.write_trouble = StorageFullError("full")
    with pytest.raises(StorageFullError):
        await engine.cancel_many(all=True)


async def test_a_term_that_there_is_not_is_a_type_error_which_tells_which_there_are(engine):
    await engine.start("order", id="o")
    for call in (engine.cancel_many, engine.resume_many):
        with pytest.raises(TypeError, match=r"has no argument 'status'; there are statuses, name, .*, dry_run, after"):
            await call(status="pending", name="order")
    with pytest.raises(TypeError, match=r"a filter has no argument 'status'; there are statuses, name, tags, "):
        await engine.list(status="pending")
    assert (await engine.get("o")).status is Status.PENDING


@pytest.mark.parametrize("trouble", [OwnershipLostError("replaced"), EngineNotRunningError("closed")])
async def test_who_has_changed_some_does_not_say_that_another_is_to_be_asked(engine, store, monkeypatch, trouble):
    """For the other would change as many again."""
    monkeypatch.setattr(bulk_changes, "_AT_A_TIME", 2)
    for number in range(5):
        await engine.start("order", id=f"o{number}")
    append = store.append

    def fail_after_three(*arguments, **options):
        if store.appends == 3:
            store.write_trouble = trouble
        return append(*arguments, **options)

    store.appends = 0
    monkeypatch.setattr(store, "append", fail_after_three)
    with pytest.raises(StoreError, match="3 were changed; then: ") as told:
        await engine.cancel_many(all=True, limit=4)
    assert type(told.value) is StoreError
    with pytest.raises(type(trouble)):
        await engine.cancel_many(all=True, limit=4)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({}, "all: nothing says which"),
        ({"all": False}, "all: nothing says which"),
        ({"statuses": [], "tags": {}, "name": None}, "all: nothing says which"),
        ({"all": True, "name": "order"}, "all: means every instance"),
        (
            {"statuses": [Status.COMPLETED]},
            "status: this cannot be done with instances that are completed",
        ),
        ({"name": ""}, "name: must have 1 to 128"),
        ({"name": "order", "limit": 201}, "limit: must be from 1 to 200"),
        ({"name": "order", "limit": "5"}, "limit: must be a whole number, not '5'"),
        ({"statuses": "blocked"}, r"statuses: must be a list, such as \['blocked'\], not 'blocked'"),
    ],
)
async def test_a_choice_that_says_too_little_or_what_cannot_be_is_refused(engine, terms, words):
    await engine.start("order", id="o")
    for call in (engine.cancel_many, engine.resume_many):
        with pytest.raises((InvalidInputError, ListLimitError), match=words):
            await call(**terms)
    with pytest.raises(InvalidInputError, match="instances that are running"):
        await engine.resume_many(statuses=[Status.RUNNING])
    assert (await engine.get("o")).status is Status.PENDING
