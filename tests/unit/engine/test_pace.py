"""How many places there are follows the lag of the loop (PROMISES.md P20): numbers in, a number out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylon_workflows.pace import FLOOR, LATE_S, Pace

MOST = 512


def a_pace(most=MOST, *, is_shared=True):
    return Pace(most, is_shared=lambda: is_shared)


def look(pace, *, lag_s, turn_s, taken=None):
    """A look of a tenth of a second at a loop that is so late, while turns take so long; all places are taken."""
    taken = pace.places if taken is None else taken
    pace.look([lag_s] * 5, taken=taken, turns=round(taken * 0.1 / turn_s), over_s=0.1)


def looked(places, **facts):
    pace = a_pace()
    pace.places = places
    look(pace, **facts)
    return pace.places


def test_all_places_are_there_until_the_loop_says_otherwise():
    assert a_pace().places == MOST
    assert a_pace(3).places == 3


def test_short_turns_that_stand_in_line_for_the_loop_lose_places_within_three_looks():
    pace = a_pace()
    seen = []
    for _ in range(4):
        look(pace, lag_s=0.015, turn_s=0.085)
        seen.append(pace.places)
    assert seen == [256, 128, FLOOR, FLOOR]


def test_a_little_lag_takes_a_little():
    assert looked(400, lag_s=LATE_S * 1.25, turn_s=0.02) == 320


def test_a_loop_that_is_at_hand_gets_all_of_them_within_a_second():
    pace = a_pace()
    pace.places = FLOOR
    for _ in range(10):
        look(pace, lag_s=0.001, turn_s=0.02)
    assert pace.places == MOST


def test_between_the_two_nothing_changes():
    assert looked(150, lag_s=0.003, turn_s=0.02) == 150


@pytest.mark.parametrize("lag_s", [0.005, 0.03, 0.1])
def test_slow_turns_wait_for_the_runner_and_so_lose_nothing_when_the_host_is_busy(lag_s):
    assert looked(MOST, lag_s=lag_s, turn_s=lag_s * 20) == MOST
    assert looked(FLOOR, lag_s=lag_s, turn_s=30.0) == 81


def test_where_no_turn_ends_the_lag_is_not_theirs():
    pace = a_pace()
    pace.look([5.0] * 5, taken=MOST, turns=0, over_s=25.0)
    assert pace.places == MOST


def test_where_no_other_workflow_is_known_the_loop_is_not_looked_at():
    assert not a_pace(is_shared=False).is_to_be_kept(MOST)


def test_a_single_pause_is_no_line():
    pace = a_pace()
    pace.look([0.001, 0.001, 2.0, 0.001, 0.5], taken=MOST, turns=4000, over_s=2.6)
    assert pace.places == MOST


def test_no_place_is_lost_to_a_busy_host_while_few_are_taken():
    assert looked(MOST, lag_s=0.5, turn_s=0.1, taken=FLOOR) == MOST
    assert looked(200, lag_s=0.5, turn_s=0.1, taken=FLOOR) == 200


def test_what_is_taken_counts_not_what_might_have_been():
    assert looked(MOST, lag_s=0.008, turn_s=0.02, taken=300) == 150


def test_the_loop_is_looked_at_only_while_that_could_change_anything():
    pace = a_pace()
    assert [pace.is_to_be_kept(taken) for taken in (0, FLOOR, FLOOR + 1)] == [False, False, True]
    pace.places = FLOOR
    assert pace.is_to_be_kept(0), "until all places are there again"
    few = a_pace(FLOOR)
    assert not few.is_to_be_kept(FLOOR)


LAGS = st.lists(st.floats(0, 100), min_size=5, max_size=5)


@given(
    most=st.integers(1, 5000),
    looks=st.lists(st.tuples(LAGS, st.integers(0, 5000), st.integers(0, 10_000), st.floats(0.1, 500))),
)
def test_whatever_is_seen_there_are_never_too_few_nor_too_many_and_all_come_back_within_seconds(most, looks):
    pace = a_pace(most)
    for lags_s, taken, turns, over_s in looks:
        before = pace.places
        pace.look(lags_s, taken=min(taken, most), turns=turns, over_s=over_s)
        assert min(FLOOR, most) <= pace.places <= most
        assert pace.places <= before * 1.25 + 1
    for _ in range(25):
        pace.look([0.0] * 5, taken=0, turns=0, over_s=0.1)
    assert pace.places == most
    assert not pace.is_to_be_kept(0)
