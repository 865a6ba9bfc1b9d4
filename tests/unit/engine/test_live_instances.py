"""The cache of instances: all users of an id share one lock, and what is not in use is bounded."""

import asyncio

import pytest
from engine_parts import an_instance

from pylon_workflows.live_instances import LiveInstance, LiveInstances


def test_all_users_of_an_id_share_one_entry():
    instances = LiveInstances(10)
    with instances.use("a") as first, instances.use("a") as second, instances.use("b") as other:
        assert first is second
        assert first is not other


def test_an_entry_in_use_is_never_dropped_however_full_it_gets():
    instances = LiveInstances(2)
    with instances.use("a") as held:
        for number in range(10):
            with instances.use(f"other {number}"):
                pass
        with instances.use("a") as again:
            assert again is held
        assert len(instances) == 2


def test_what_was_used_last_stays():
    instances = LiveInstances(2)
    with instances.use("a") as a, instances.use("b"):
        pass
    with instances.use("a"):
        pass
    with instances.use("c"):
        pass
    with instances.use("a") as again:
        assert again is a


def test_after_a_burst_the_cache_shrinks_to_its_bound_again():
    instances = LiveInstances(3)
    burst = [instances.acquire(f"wf_{number}") for number in range(50)]
    assert len(instances) == 50
    for live in burst:
        instances.release(live)
    with instances.use("one more"):
        assert len(instances) == 3


def test_a_deleted_instance_is_forgotten_and_those_who_use_it_share_their_entry_with_the_next():
    instances = LiveInstances(10)
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
    instances = LiveInstances(10)
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
    assert live.end_turn(first)
    assert not live.end_turn(first)
    second = live.begin_turn()
    assert not live.end_turn(first)
    assert live.end_turn(second)


async def test_giving_up_a_turn_stops_whoever_waits_for_its_answer():
    live = LiveInstance()
    turn = live.begin_turn()
    live.asking = asyncio.create_task(asyncio.sleep(3600))
    asking = live.asking
    live.give_up_turn()
    assert not live.end_turn(turn)
    with pytest.raises(asyncio.CancelledError):
        await asking
    live.give_up_turn()
