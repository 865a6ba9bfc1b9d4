"""The cache of instances: all users of an id share one lock, and what is not in use is bounded."""

import asyncio
from dataclasses import replace

import pytest
from engine_parts import BEGINNING, an_instance

from pylon_workflows.core.instance import InboxEvent, Status
from pylon_workflows.core.records import Record
from pylon_workflows.live_instances import LiveInstance, LiveInstances


def a_large_instance(instance_id, *, input_bytes=2, output_bytes=0, inbox_bytes=0, records_bytes=0):
    small = an_instance(instance_id)
    inbox = (InboxEvent(event="paid", data_json=bytes(inbox_bytes), revision=2),) if inbox_bytes else ()
    record = Record(
        key="s",
        name="s",
        position=0,
        started_at=BEGINNING,
        completed_at=BEGINNING,
        duration_ms=0,
        output_json=b'"' + b"x" * records_bytes + b'"',
    )
    return replace(
        small,
        terms=replace(small.terms, input_json=bytes(input_bytes)),
        output_json=bytes(output_bytes) or None,
        inbox=inbox,
        records=small.records.add(record) if records_bytes else small.records,
        history_bytes=records_bytes,
    )


def test_a_finished_instance_is_kept_for_as_long_as_it_is_used():
    instances = LiveInstances(10, 1_000_000)
    with instances.use("a") as live:
        live.instance = replace(an_instance("a"), status=Status.COMPLETED)
        with instances.use("a") as same:
            assert same is live
        assert len(instances) == 1
    assert len(instances) == 0


def test_all_users_of_an_id_share_one_entry():
    instances = LiveInstances(10, 1_000_000)
    with instances.use("a") as first, instances.use("a") as second, instances.use("b") as other:
        assert first is second
        assert first is not other


def test_an_entry_in_use_is_never_dropped_however_full_it_gets():
    instances = LiveInstances(2, 1_000_000)
    with instances.use("a") as held:
        for number in range(10):
            with instances.use(f"other {number}"):
                pass
        with instances.use("a") as again:
            assert again is held
        assert len(instances) == 3


def test_what_was_used_last_stays():
    instances = LiveInstances(2, 1_000_000)
    with instances.use("a") as a, instances.use("b"):
        pass
    with instances.use("a"):
        pass
    with instances.use("c"):
        pass
    with instances.use("a") as again:
        assert again is a


def test_after_a_burst_the_cache_shrinks_to_its_bound_again():
    instances = LiveInstances(3, 1_000_000)
    burst = [instances.acquire(f"wf_{number}") for number in range(50)]
    assert len(instances) == 50
    for live in burst:
        instances.release(live)
    with instances.use("one more"):
        assert len(instances) == 4


def test_those_in_use_take_no_room_of_the_others():
    instances = LiveInstances(3, 1_000_000)
    held = [instances.acquire(f"held {number}") for number in range(10)]
    for number in range(5):
        with instances.use(f"wf_{number}"):
            pass
    with instances.use("one more"):
        assert len(instances) == 14
    for live in held:
        instances.release(live)
    with instances.use("and another"):
        assert len(instances) == 4


def test_what_is_not_in_use_is_bounded_in_bytes_too():
    instances = LiveInstances(100, 60_000)
    for number in range(10):
        with instances.use(f"wf_{number}") as live:
            live.instance = a_large_instance(f"wf_{number}", input_bytes=10_000)
    assert len(instances) == 4
    with instances.use("wf_9") as live:
        assert live.instance is not None, "the one used last"
    with instances.use("wf_5") as live:
        assert live.instance is None


@pytest.mark.parametrize("where", ["input", "output", "inbox", "records", "joined records"])
def test_all_that_may_be_large_counts(where):
    instances = LiveInstances(100, 60_000)
    with instances.use("small") as small:
        small.instance = an_instance("small")
    with instances.use("large") as large:
        large.instance = a_large_instance("large", **{} if where == "joined records" else {f"{where}_bytes": 100_000})
        if where == "joined records":
            large.records.json(a_large_instance("large", records_bytes=100_000))
        assert len(instances) == 2, "as long as it is in use"
    assert len(instances) == 0


def test_an_entry_in_use_counts_for_nothing():
    instances = LiveInstances(100, 60_000)
    with instances.use("small") as small:
        small.instance = an_instance("small")
    with instances.use("large") as large:
        large.instance = a_large_instance("large", input_bytes=50_000)
    with instances.use("large") as large:
        large.instance = a_large_instance("large", input_bytes=100_000)
        with instances.use("other"):
            pass
        assert len(instances) == 3
    with instances.use("next"):
        pass
    assert len(instances) == 2, "the oldest went first, the large one with them"


def test_nothing_is_counted_of_what_has_been_dropped_or_cleared():
    instances = LiveInstances(100, 60_000)
    for _ in range(20):
        with instances.use("large") as large:
            large.instance = a_large_instance("large", input_bytes=50_000)
        instances.drop("large")
        with instances.use("large") as large:
            large.instance = a_large_instance("large", input_bytes=50_000)
        assert len(instances) == 1
        instances.clear()


def test_a_deleted_instance_is_forgotten_and_those_who_use_it_share_their_entry_with_the_next():
    instances = LiveInstances(10, 1_000_000)
    with instances.use("a") as old:
        old.instance = an_instance("a")
        instances.drop("a")
        assert old.instance is None
        with instances.use("a") as new:
            assert new is old, "two locks would guard one id"
    instances.drop("a")
    with instances.use("a") as new:
        assert new is not old
    instances.drop("never there")


def test_nothing_is_left_when_it_is_cleared():
    instances = LiveInstances(10, 1_000_000)
    with instances.use("a") as live:
        live.instance = an_instance("a")
    instances.clear()
    assert len(instances) == 0
    with instances.use("a") as live:
        assert live.instance is None


def test_an_entry_that_was_never_loaded_says_so():
    with pytest.raises(RuntimeError, match="has not been loaded"):
        _ = LiveInstance().loaded


def test_a_turn_is_ended_once_and_only_by_its_number():
    live = LiveInstance()
    first = live.begin_turn()
    live.end_turn(first)
    assert live.open_turn is None
    second = live.begin_turn()
    live.end_turn(first)
    assert live.open_turn == second
    live.end_turn(second)
    assert live.open_turn is None


async def test_giving_up_a_turn_stops_whoever_waits_for_its_answer():
    live = LiveInstance()
    live.begin_turn()
    live.asking = asyncio.create_task(asyncio.sleep(3600))
    asking = live.asking
    live.give_up_turn()
    assert live.open_turn is None
    with pytest.raises(asyncio.CancelledError):
        await asking
    live.give_up_turn()
