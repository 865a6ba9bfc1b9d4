"""Which connections end when, without a socket and without waiting."""

from dataclasses import dataclass, field

import pytest

from pylon_workflows.edge.connections import Awaited, Connections, EdgeLimits
from pylon_workflows.errors import InvalidInputError


@dataclass(eq=False)
class Caller:
    """A connection that remembers its end."""

    ended: list[Awaited | None] = field(default_factory=list)

    def end_late(self, awaited: Awaited | None) -> None:
        self.ended.append(awaited)


class World:
    def __init__(self, most: int = 100) -> None:
        self.now = 0.0
        limits = EdgeLimits(max_connections=most, head_timeout_s=10, body_timeout_s=35, all_bodies_bytes=1000)
        self.connections = Connections(limits, lambda: self.now)

    def caller(self, awaited: Awaited | None = Awaited.HEAD) -> Caller:
        caller = Caller()
        assert self.connections.enter(caller)
        self.connections.expect(caller, awaited)
        return caller

    def at(self, now: float) -> None:
        self.now = now
        self.connections.look()


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(("awaited", "seconds"), [(Awaited.HEAD, 10), (Awaited.BODY, 35), (Awaited.UNREAD_BODY, 5)])
def test_what_is_late_ends_at_its_deadline_and_once(world: World, awaited: Awaited, seconds: float) -> None:
    caller = world.caller(awaited)
    world.at(seconds - 0.001)
    assert caller.ended == []
    world.at(seconds)
    world.at(seconds * 2)
    assert (caller.ended, len(world.connections)) == ([awaited], 0)


def test_the_time_of_a_head_is_its_own_and_not_the_bodys(world: World) -> None:
    caller = world.caller()
    world.at(9)
    world.connections.expect(caller, Awaited.BODY)
    world.at(43)
    assert caller.ended == []
    world.connections.expect(caller, Awaited.NEXT_REQUEST)
    world.at(1000)
    world.connections.expect(caller, Awaited.HEAD)
    world.at(1009)
    assert caller.ended == []
    world.at(1010)
    assert caller.ended == [Awaited.HEAD]


def test_a_request_that_is_worked_on_has_no_deadline(world: World) -> None:
    caller = world.caller(None)
    world.at(10**6)
    assert caller.ended == []


def test_whoever_takes_nothing_of_his_answer_ends(world: World) -> None:
    stuck, slow = world.caller(None), world.caller(None)
    for caller in (stuck, slow):
        world.connections.stall(caller)
    world.at(30)
    world.connections.stall(stuck)
    world.connections.flow(slow)
    world.connections.stall(slow)
    world.at(60)
    assert (stuck.ended, slow.ended) == ([None], [])


def test_who_has_left_is_not_ended(world: World) -> None:
    callers = [world.caller(awaited) for awaited in (*Awaited, None)]
    for caller in callers:
        world.connections.stall(caller)
        world.connections.leave(caller)
        world.connections.leave(caller)
    world.at(1000)
    assert (len(world.connections), [caller.ended for caller in callers]) == (0, [[]] * 5)


def test_of_many_only_the_late_end(world: World) -> None:
    callers = []
    for n in range(50):
        world.now = n * 0.1
        callers.append(world.caller())
    world.at(12.05)
    assert [bool(caller.ended) for caller in callers] == [True] * 21 + [False] * 29


def test_the_slowest_makes_room_for_a_new_one() -> None:
    world = World(most=4)
    at_work, head, idle, unread = (
        world.caller(awaited) for awaited in (None, Awaited.HEAD, Awaited.NEXT_REQUEST, Awaited.UNREAD_BODY)
    )
    for now in (0.8, 0.9, 1.0):
        world.now = now
        world.caller(None)
    assert [caller.ended for caller in (unread, idle, head)] == [
        [Awaited.UNREAD_BODY],
        [Awaited.NEXT_REQUEST],
        [Awaited.HEAD],
    ]
    assert (at_work.ended, len(world.connections)) == ([], 4)
    assert not world.connections.enter(Caller())
    assert len(world.connections) == 4


def test_a_head_that_is_slow_goes_before_an_idle_connection_and_that_before_a_body() -> None:
    world = World(most=3)
    idle, body, head = (world.caller(awaited) for awaited in (Awaited.NEXT_REQUEST, Awaited.BODY, Awaited.HEAD))
    world.now = 1.0
    for caller, awaited in ((head, Awaited.HEAD), (idle, Awaited.NEXT_REQUEST), (body, Awaited.BODY)):
        assert caller.ended == []
        world.caller(None)
        assert caller.ended == [awaited]


def test_whoever_takes_nothing_of_his_answer_makes_room_before_an_idle_one() -> None:
    world = World(most=3)
    quick, stalled, idle = world.caller(None), world.caller(None), world.caller(Awaited.NEXT_REQUEST)
    world.connections.stall(stalled)
    world.connections.stall(quick)
    world.connections.flow(quick)
    world.now = 1.0
    world.caller(None)
    assert [caller.ended for caller in (quick, stalled, idle)] == [[], [None], []]
    world.connections.stall(quick)
    world.caller(None)
    assert [caller.ended for caller in (quick, idle)] == [[], [Awaited.NEXT_REQUEST]]


def test_of_several_it_is_the_one_that_has_waited_longest() -> None:
    world = World(most=3)
    first, second, third = (world.caller() for _ in range(3))
    world.now = 1
    world.connections.expect(first, Awaited.HEAD)
    world.caller()
    assert [caller.ended for caller in (first, second, third)] == [[], [Awaited.HEAD], []]


def test_where_nobody_is_slow_a_body_that_did_not_come_with_its_head_makes_room() -> None:
    world = World(most=2)
    head, body = world.caller(), world.caller(Awaited.BODY)
    world.caller(None)
    assert (head.ended, body.ended) == ([], [Awaited.BODY])
    world.caller(None)
    assert head.ended == [Awaited.HEAD]


def test_when_bodies_are_too_much_together_the_slowest_ends(world: World, caplog: pytest.LogCaptureFixture) -> None:
    whole, slow, quick = world.caller(None), world.caller(Awaited.BODY), world.caller(Awaited.BODY)
    world.connections.hold(whole, 400)
    world.connections.hold(slow, 300)
    world.connections.hold(quick, 300)
    assert slow.ended == []
    world.connections.hold(quick, 1)
    assert [caller.ended for caller in (whole, slow, quick)] == [[], [Awaited.BODY], []]
    world.connections.hold(slow, 10**6)
    world.connections.release(whole)
    world.connections.hold(quick, 699)
    assert quick.ended == []
    world.connections.hold(quick, 1)
    assert (quick.ended, len(world.connections)) == ([Awaited.BODY], 1)
    world.connections.hold(whole, 1001)
    assert whole.ended == []
    assert caplog.messages == ["bodies of 1001 bytes wait for their ends: the slowest make room, 0 so far"]


def test_that_places_are_short_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    world = World(most=1)
    world.caller()
    for now in (0, 1, 59, 60, 61):
        world.now = now
        world.caller()
    assert [record.getMessage() for record in caplog.records] == [
        "all 1 connections are taken: the slowest make room, 0 so far",
        "all 1 connections are taken: the slowest make room, 3 so far",
    ]


@pytest.mark.parametrize(
    "name", ["max_connections", "head_timeout_s", "body_timeout_s", "answer_timeout_s", "all_bodies_bytes"]
)
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name}: must be positive"):
        EdgeLimits(**{"max_connections": 1, name: 0})
