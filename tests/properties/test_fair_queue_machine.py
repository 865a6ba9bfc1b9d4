"""The fair queue against its laws, for any order of offers, turns, steps back and outages."""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pylon_workflows.fair_queue import SHARE, TURNS_IN_A_ROW, FairQueue

NAMES = st.sampled_from("abcdef")


class FairQueueMachine(RuleBasedStateMachine):
    """A model of plain lists: who waits, in order, and how many places each holds."""

    @initialize(
        places=st.integers(1, 20),
        room=st.integers(1, 30),
        limits=st.dictionaries(NAMES, st.integers(1, 5)),
        is_shared=st.booleans(),
    )
    def begin(self, places: int, room: int, limits: dict[str, int], is_shared: bool) -> None:
        self.places, self.room, self.limits, self.is_shared = places, room, limits, is_shared
        self.queue = FairQueue(places=places, room=room, limit_of=limits.get, is_shared=lambda: is_shared)
        self.waiting: dict[str, list[str]] = {}
        self.held: Counter[str] = Counter()
        self.held_back: set[str] = set()
        self.number = 0
        self.withheld = 0

    @property
    def free(self) -> int:
        return self.places - self.held.total()

    def may_take(self, name: str) -> bool:
        held = self.held[name]
        allowed = self.free - self.withheld
        has_others = self.is_shared or len(self.waiting) > 1
        return (
            bool(self.waiting[name])
            and name not in self.held_back
            and held < self.limits.get(name, self.places)
            and self.free > 0
            and (held == 0 or (allowed > 0 and (not has_others or held < SHARE * allowed)))
        )

    @rule(name=NAMES)
    def offer(self, name: str) -> None:
        self.number += 1
        waiting = self.waiting.setdefault(name, [])
        is_room = not waiting or len(waiting) < self.room - sum(map(len, self.waiting.values()))
        assert self.queue.offer(str(self.number), name) == is_room
        if is_room:
            waiting.append(str(self.number))

    @rule(data=st.data(), name=NAMES)
    def withdraw_from_others(self, data: Any, name: str) -> None:
        known = [each for waiting in self.waiting.values() for each in waiting]
        instance_id = data.draw(st.sampled_from([*known, "unknown"]))
        self.queue.withdraw_from_others(instance_id, name)
        for other in self.waiting.keys() - {name}:
            self.waiting[other] = [each for each in self.waiting[other] if each != instance_id]

    @rule()
    def take(self) -> None:
        able = [name for name in self.waiting if self.may_take(name)]
        name = self.queue.next_name()
        if name is None:
            assert not able, "a place stays free though somebody may take it"
            return
        assert name in able
        assert self.held[name] == min(self.held[each] for each in able)
        assert self.queue.take(name) == self.waiting[name].pop(0)
        self.held[name] += 1

    @precondition(lambda self: self.held.total())
    @rule(data=st.data())
    def give_back(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(+self.held)))
        self.queue.give_back(name)
        self.held[name] -= 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def hold_back(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.waiting)))
        self.queue.hold_back(name)
        self.held_back.add(name)

    @rule(name=st.none() | NAMES)
    def let_go(self, name: str | None) -> None:
        self.queue.let_go(*(() if name is None else (name,)))
        self.held_back -= {name} if name is not None else set(self.held_back)

    @rule(data=st.data())
    def allow(self, data: Any) -> None:
        places = data.draw(st.integers(1, self.places))
        self.queue.allow(places)
        self.withheld = self.places - places

    @invariant()
    def who_waits_is_who_was_let_in(self) -> None:
        if hasattr(self, "queue"):
            assert len(self.queue) == sum(map(len, self.waiting.values()))
            assert all(each in self.queue for waiting in self.waiting.values() for each in waiting)

    @invariant()
    def a_place_is_wanted_when_somebody_could_use_it(self) -> None:
        for name in getattr(self, "waiting", ()):
            if self.waiting[name] and not self.may_take(name):
                asked = TURNS_IN_A_ROW if self.withheld else 1
                assert any(self.queue.is_crowded(name) for _ in range(asked))

    @invariant()
    def who_holds_more_than_is_allowed_steps_back(self) -> None:
        for name, held in getattr(self, "held", Counter()).items():
            if held > 1 and self.free < self.withheld:
                assert self.queue.is_crowded(name)


TestFairQueue = FairQueueMachine.TestCase
TestFairQueue.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
