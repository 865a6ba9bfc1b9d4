"""What a start may say beside name and input: read at the door, and what a repeated one says changes nothing."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pylon_workflows import WorkflowDefinition
from pylon_workflows.core.instance import Status
from pylon_workflows.errors import DurationTooLongError, InvalidIdError, InvalidInputError, StartConflictError
from pylon_workflows.start_options import checked_start
from pylon_workflows.testing import FakeClock, engine_in_memory

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
async def engine():
    engine = engine_in_memory(None, clock=FakeClock(NOW))
    engine.register(WorkflowDefinition("order"))
    async with engine:
        yield engine


@pytest.mark.parametrize(
    ("options", "due_in"),
    [
        ({}, None),
        ({"delay": None, "at": None}, None),
        ({"delay": 0}, None),
        ({"delay": "0s"}, None),
        ({"delay": "1h30m"}, timedelta(minutes=90)),
        ({"delay": 1.5}, timedelta(seconds=1.5)),
        ({"delay": timedelta(microseconds=1)}, timedelta(microseconds=1)),
        ({"delay": timedelta(days=36525)}, timedelta(days=36525)),
        ({"at": NOW}, None),
        ({"at": NOW - timedelta(days=1)}, None),
        ({"at": NOW + timedelta(microseconds=1)}, timedelta(microseconds=1)),
        ({"at": "2026-11-21T11:00:00.000001+01:00"}, timedelta(hours=1, microseconds=1)),
        ({"at": datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=2)))}, timedelta(hours=1)),
    ],
)
def test_a_start_is_due_after_its_delay_or_at_its_time(options, due_in):
    assert checked_start(options, NOW).due_at == (None if due_in is None else NOW + due_in)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"delay": 1, "at": NOW}, InvalidInputError, "delay: goes not with at"),
        ({"delay": timedelta(seconds=-1)}, InvalidInputError, "delay: a duration must not be negative"),
        ({"delay": timedelta.max}, DurationTooLongError, "delay: .* at most 100 years"),
        ({"delay": float("nan")}, InvalidInputError, "delay: a duration must be finite"),
        ({"delay": NOW}, InvalidInputError, "delay: .* not datetime"),
        ({"at": NOW.replace(tzinfo=None)}, InvalidInputError, "at: must be a time with a zone"),
        ({"at": 5}, InvalidInputError, "at: should be an RFC 3339 time"),
        ({"at": datetime.max.replace(tzinfo=UTC)}, DurationTooLongError, "at: must be at most 100 years from now"),
        ({"parent_id": "a b"}, InvalidIdError, "parent_id: 'a b' must be"),
        ({"tags": "a=1"}, InvalidInputError, "tags: must map texts to texts, not str"),
        ({"tags": {"a": "\ud800"}}, InvalidInputError, "tags.a: must have no control"),
        ({"tags": {1: "a"}}, InvalidInputError, "tags: 1 is no name"),
    ],
)
def test_what_does_not_hold_is_told(options, kind, words):
    with pytest.raises(kind, match=words):
        checked_start(options, NOW)


def test_a_delay_that_ends_after_all_years_is_too_long():
    with pytest.raises(DurationTooLongError, match="delay: ends after the year 9999"):
        checked_start({"delay": "1d"}, datetime.max.replace(tzinfo=UTC))


async def test_an_argument_that_there_is_not_is_a_mistake_of_the_program(engine):
    with pytest.raises(TypeError, match="no argument 'tag'"):
        await engine.start("order", tag={"a": "1"})
    assert await engine.list() == []


async def test_a_repeated_start_finds_the_first_one_whatever_its_tags_and_its_time(engine):
    first = await engine.start("order", id="a", idempotency_key="k", tags={"n": "1"}, delay="1h", parent_id="p")
    again = await engine.start_or_find("order", idempotency_key="k", tags={"n": "2"}, at=NOW + timedelta(days=2))
    assert (again.id, again.is_new) == (first, False)
    instance = await engine.get(first)
    assert (instance.tags, instance.parent_id, instance.wake_at) == ({"n": "1"}, "p", NOW + timedelta(hours=1))
    with pytest.raises(StartConflictError):
        await engine.start("order", {"another": "input"}, id="a", delay="1h", tags={"n": "1"})


async def test_an_instance_that_is_due_later_can_take_events_and_be_woken_by_hand_not_before(engine):
    await engine.start("order", id="a", delay="1h")
    await engine.send_event("a", "paid")
    assert await engine.advance("a") is Status.PENDING
    assert (await engine.get("a")).wake_at == NOW + timedelta(hours=1)
