"""Places go to workflows fairly (PROMISES.md P20): who holds the fewest comes first, and some are left for others."""

from collections import Counter

import pytest

from pylon_workflows.fair_queue import FairQueue


def a_queue(places=8, room=1000, *, limits=None, is_shared=False):
    return FairQueue(places=places, room=room, limit_of=(limits or {}).get, is_shared=lambda: is_shared)


def offer(queue, name, count, *, first=0):
    return [queue.offer(f"{name}-{number}", name) for number in range(first, first + count)]


def take_all(queue):
    """Take places until nobody may take one; the ids in the order in which they got theirs."""
    taken = []
    while (name := queue.next_name()) is not None:
        taken.append(queue.take(name))
    return taken


def names(ids):
    return Counter(each.partition("-")[0] for each in ids)


def test_within_a_workflow_who_came_first_goes_first():
    queue = a_queue(places=3)
    offer(queue, "wf", 5)
    assert take_all(queue) == ["wf-0", "wf-1", "wf-2"]
    queue.give_back("wf")
    assert take_all(queue) == ["wf-3"]
    assert len(queue) == 1
    assert ("wf-4" in queue, "wf-3" in queue) == (True, False)


def test_one_that_waits_behind_many_of_another_workflow_gets_the_next_place():
    queue = a_queue(places=1)
    offer(queue, "noisy", 100)
    assert take_all(queue) == ["noisy-0"]
    offer(queue, "quiet", 1)
    queue.give_back("noisy")
    assert take_all(queue) == ["quiet-0"]


def test_workflows_that_hold_alike_come_in_turn():
    queue = a_queue(places=1)
    for name in "abc":
        offer(queue, name, 3)
    order = []
    for _ in range(9):
        (taken,) = take_all(queue)
        order.append(taken)
        queue.give_back(taken[0])
    assert order == ["a-0", "b-0", "c-0", "a-1", "b-1", "c-1", "a-2", "b-2", "c-2"]


def test_the_only_workflow_there_is_takes_all_places():
    queue = a_queue(places=8)
    offer(queue, "only", 20)
    assert len(take_all(queue)) == 8
    assert queue.is_crowded("only")


def test_where_there_are_others_one_workflow_takes_three_quarters_of_the_places():
    queue = a_queue(places=512, is_shared=True)
    offer(queue, "noisy", 600)
    assert len(take_all(queue)) == 384


def test_however_slow_the_turns_of_one_others_find_places():
    queue = a_queue(places=512, is_shared=True)
    offer(queue, "noisy", 600)
    take_all(queue)
    offer(queue, "quiet", 50)
    assert names(take_all(queue)) == {"quiet": 50}
    offer(queue, "third", 20)
    assert names(take_all(queue)) == {"third": 20}


def test_two_that_give_places_back_end_with_equal_shares_and_leave_some_free():
    queue = a_queue(places=70, is_shared=True)
    offer(queue, "noisy", 300)
    held = names(take_all(queue))
    assert held == {"noisy": 53}
    offer(queue, "other", 300)
    held += names(take_all(queue))
    while queue.is_crowded("noisy") and held["noisy"] > held["other"]:
        queue.give_back("noisy")
        held["noisy"] -= 1
        held += names(take_all(queue))
    assert held == {"noisy": 30, "other": 30}, "and 10 are free"


def test_a_workflow_that_holds_few_need_not_step_back_for_one_that_holds_many():
    queue = a_queue(places=512, is_shared=True)
    offer(queue, "noisy", 600)
    offer(queue, "quiet", 5)
    take_all(queue)
    assert (queue.is_crowded("noisy"), queue.is_crowded("quiet")) == (True, False)


def test_who_holds_too_many_steps_back_even_when_nobody_of_its_own_waits():
    queue = a_queue(places=8, is_shared=True)
    offer(queue, "early", 6)
    assert len(take_all(queue)) == 6
    assert not queue.is_crowded("early")
    offer(queue, "late", 9)
    assert len(take_all(queue)) == 2
    assert queue.is_crowded("early")


def test_when_there_are_more_workflows_than_places_each_steps_back_after_its_turn():
    queue = a_queue(places=2)
    for name in "abc":
        offer(queue, name, 1)
    assert names(take_all(queue)) == {"a": 1, "b": 1}
    assert queue.is_crowded("a")
    queue.give_back("a")
    assert take_all(queue) == ["c-0"]


def test_a_workflow_takes_no_more_places_than_its_definition_allows():
    queue = a_queue(places=8, limits={"limited": 2, "other": None})
    offer(queue, "limited", 5)
    assert len(take_all(queue)) == 2
    assert queue.is_crowded("limited")
    offer(queue, "other", 3)
    assert names(take_all(queue)) == {"other": 3}
    assert not queue.is_crowded("other"), "a place of its own would not help one that has all it may have"
    queue.give_back("limited")
    assert take_all(queue) == ["limited-2"]


def test_a_limit_that_is_raised_counts_with_the_next_offer_or_place():
    limits = {"wf": 1}
    queue = a_queue(limits=limits)
    offer(queue, "wf", 3)
    assert len(take_all(queue)) == 1
    limits["wf"] = 2
    offer(queue, "wf", 1, first=3)
    assert len(take_all(queue)) == 1
    limits["wf"] = 3
    queue.give_back("wf")
    assert len(take_all(queue)) == 2


def test_of_places_that_are_withheld_none_is_taken_and_who_holds_more_steps_back():
    queue = a_queue(places=8)
    offer(queue, "wf", 8)
    queue.allow(3)
    assert len(take_all(queue)) == 3
    queue.allow(8)
    assert len(take_all(queue)) == 5
    assert not queue.is_crowded("wf")
    queue.allow(7)
    assert queue.is_crowded("wf"), "though nobody waits"


def test_a_workflow_that_holds_none_gets_a_place_though_those_allowed_are_held_by_slow_turns():
    queue = a_queue(places=8)
    offer(queue, "slow", 5)
    take_all(queue)
    queue.allow(3)
    offer(queue, "quiet", 2)
    assert take_all(queue) == ["quiet-0"]
    assert (queue.is_crowded("slow"), queue.is_crowded("quiet")) == (True, True)
    queue.give_back("quiet")
    assert take_all(queue) == ["quiet-1"]
    assert not queue.is_crowded("quiet"), "its only place would be taken again at once"


def test_the_shares_are_of_the_places_that_there_are_now():
    queue = a_queue(places=512, is_shared=True)
    queue.allow(128)
    offer(queue, "noisy", 600)
    assert len(take_all(queue)) == 96


def test_a_workflow_that_is_held_back_waits_and_others_do_not():
    queue = a_queue(places=4)
    offer(queue, "down", 3)
    offer(queue, "up", 1)
    queue.hold_back("down")
    assert take_all(queue) == ["up-0"]
    assert queue.is_crowded("down")
    queue.let_go("up")
    assert take_all(queue) == []
    queue.let_go("down")
    assert names(take_all(queue)) == {"down": 3}


def test_all_that_are_held_back_are_let_go_together():
    queue = a_queue()
    for name in "ab":
        offer(queue, name, 1)
        queue.hold_back(name)
    queue.let_go()
    assert names(take_all(queue)) == {"a": 1, "b": 1}


def test_one_workflow_may_fill_half_of_the_room_and_another_still_has_some():
    queue = a_queue(places=1, room=100)
    assert sum(offer(queue, "noisy", 200)) == 50
    assert all(offer(queue, "quiet", 10))
    assert sum(offer(queue, "third", 200)) == 20


@pytest.mark.parametrize("room", [1, 2, 3])
def test_each_workflow_may_have_at_least_one_waiting(room):
    queue = a_queue(places=1, room=room)
    offer(queue, "noisy", 9)
    assert [offer(queue, name, 1) for name in "abc"] == [[True]] * 3


def test_there_is_room_again_when_half_of_what_may_wait_has_gone():
    queue = a_queue(places=10, room=12)
    assert sum(offer(queue, "wf", 9)) == 6
    assert not queue.has_room("wf")
    for _ in range(2):
        queue.take("wf")
    assert queue.has_room("wf")


def test_nothing_is_left_after_it_has_been_cleared():
    queue = a_queue(places=2)
    offer(queue, "a", 3)
    take_all(queue)
    offer(queue, "b", 3)
    queue.hold_back("b")
    queue.clear()
    assert (len(queue), queue.next_name()) == (0, None)
    offer(queue, "b", 2)
    assert take_all(queue) == ["b-0", "b-1"]


def test_an_id_is_withdrawn_from_other_workflows_and_keeps_its_place_in_its_own():
    queue = FairQueue(places=1, room=10)
    for instance_id in ("a", "b"):
        queue.offer(instance_id, "one")
    queue.withdraw_from_others("a", "one")
    queue.withdraw_from_others("unknown", "one")
    assert len(queue) == 2
    queue.withdraw_from_others("a", "two")
    assert ("a" in queue, len(queue), queue.take(queue.next_name())) == (False, 1, "b")
