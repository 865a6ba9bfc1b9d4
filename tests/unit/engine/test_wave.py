"""Which member is called next, and how many at a time."""

from datetime import timedelta

from engine_parts import at

from pylon_workflows.call_places import CallPlaces
from pylon_workflows.core.groups import Group
from pylon_workflows.core.transitions import GroupStarted
from pylon_workflows.wave import Wave


def a_group(count):
    return Group(
        GroupStarted(
            at=at(0),
            kind="map",
            key="m",
            name="m",
            fail_fast=False,
            max_in_flight=10,
            members_json=f"[{','.join(['1'] * count)}]".encode(),
        )
    )


def rest(wave, group, *, seconds=0.0, monotonic=0.0):
    found = []
    while (index := wave.next(group, at(seconds), monotonic)) is not None:
        found.append(index)
    return found


def test_members_come_in_their_order_and_each_once():
    group = a_group(3)
    wave = Wave(group)
    assert rest(wave, group) == [0, 1, 2]
    assert rest(wave, group) == []
    assert wave.seconds_until_next(at(0), 0.0) is None


def test_finished_members_are_left_out_and_those_that_wait_come_when_their_time_has_come():
    group = a_group(5).with_success(1, b"1").with_failure(3, 1, "no").with_retry(2, 1, "no", at(10))
    wave = Wave(group)
    assert rest(wave, group) == [0, 4]
    assert wave.seconds_until_next(at(4), 0.0) == 6
    assert rest(wave, group, seconds=9.9) == []
    assert rest(wave, group, seconds=10) == [2]


def test_a_member_that_was_woken_comes_at_once_although_the_clock_was_set_back():
    group = a_group(1).with_retry(0, 1, "no", at(10))
    wave = Wave(group)
    assert rest(wave, group) == []
    assert rest(wave, group.woken(at(10)), seconds=0) == [0]


def test_held_members_come_by_the_clock_that_does_not_jump():
    group = a_group(2)
    wave = Wave(group)
    assert rest(wave, group) == [0, 1]
    wave.hold(1, 5.0)
    assert wave.seconds_until_next(at(0), 1.0) == 4
    assert rest(wave, group, seconds=1e6, monotonic=4.9) == []
    assert rest(wave, group, monotonic=5.0) == [1]


def test_what_has_finished_in_another_way_meanwhile_is_not_called():
    group = a_group(2)
    wave = Wave(group)
    assert rest(wave, group) == [0, 1]
    wave.retry(0, at(1))
    wave.hold(1, 1.0)
    assert rest(wave, group.with_success(0, b"1").with_success(1, b"1"), seconds=2, monotonic=2) == []


def test_it_knows_its_group():
    group = a_group(2)
    assert Wave(group).is_of(group.with_success(0, b"1"))
    assert not Wave(group).is_of(a_group(2))


def test_each_member_is_looked_at_once_however_many_there_are(monkeypatch):
    looked_at, is_unfinished = [], Group.is_unfinished

    def counted(group, index):
        looked_at.append(index)
        return is_unfinished(group, index)

    monkeypatch.setattr(Group, "is_unfinished", counted)
    group = a_group(10_000)
    wave = Wave(group)
    while (index := wave.next(group, at(0), 0.0)) is not None:
        group = group.with_success(index, b"1")
    assert looked_at == list(range(10_000))


class Lease:
    def __init__(self, places, name="order"):
        self.wakes = 0
        self.lease = places.lease(name, self.wake)

    def wake(self):
        self.wakes += 1


def free(limit=None):
    return lambda _, calls: limit is None or 1 + calls < limit


def test_the_first_call_needs_no_place_and_each_further_one_does():
    places = CallPlaces(2, free())
    one = Lease(places).lease
    assert [one.cover(calls) for calls in (1, 2, 3, 4)] == [True, True, True, False]
    assert one.taken == 2
    one.keep(2)
    assert one.taken == 1
    one.end()
    assert one.taken == 0


def test_a_place_that_is_given_back_goes_to_whoever_has_waited_longest():
    places = CallPlaces(1, free())
    first, second, third = Lease(places), Lease(places), Lease(places)
    assert first.lease.cover(2)
    assert not second.lease.cover(2)
    assert not third.lease.cover(2)
    first.lease.keep(1)
    assert (first.wakes, second.wakes, third.wakes) == (0, 1, 0)
    assert second.lease.taken == 1
    assert not first.lease.cover(2), "it waits behind the others now"
    second.lease.end()
    assert (first.wakes, third.wakes) == (0, 1)
    third.lease.end()
    assert first.wakes == 1


def test_who_has_gone_waits_for_nothing():
    places = CallPlaces(1, free())
    first, second, third = Lease(places), Lease(places), Lease(places)
    assert first.lease.cover(2)
    assert not second.lease.cover(2)
    assert not third.lease.cover(2)
    second.lease.end()
    first.lease.end()
    assert (second.wakes, third.wakes) == (0, 1)
    third.lease.end()
    assert second.lease.cover(2)


def test_a_workflow_has_no_more_than_its_own_limit():
    places = CallPlaces(9, free(limit=3))
    one, other = Lease(places).lease, Lease(places).lease
    assert [one.cover(calls) for calls in (2, 3, 4)] == [True, True, False]
    assert not other.cover(2)
    assert Lease(CallPlaces(9, free()), "mail").lease.cover(5)


def test_places_may_be_withheld_and_are_handed_out_when_they_are_there_again():
    places = CallPlaces(4, free())
    first, second = Lease(places), Lease(places)
    assert first.lease.cover(5)
    places.allow(2)
    assert not second.lease.cover(2)
    first.lease.keep(3)
    assert (second.wakes, places.taken) == (0, 2), "what is withheld is not handed out"
    places.allow(4)
    assert (second.wakes, places.taken) == (1, 3)


def test_the_time_until_the_next_is_that_of_the_earlier_clock():
    group = a_group(3).with_retry(0, 1, "no", at(10))
    wave = Wave(group)
    assert rest(wave, group) == [1, 2]
    wave.hold(1, 3.0)
    assert wave.seconds_until_next(at(0), 0.0) == 3
    assert wave.seconds_until_next(at(9), 0.0) == 1
    assert wave.seconds_until_next(at(0) + timedelta(hours=1), 0.0) == 0
