"""Steps decided together, and folded together, come to what they come to one by one (PROTOCOL.md section 2)."""

import pytest
from histories import at, failed, given, instance_started, pending, sleeping, succeeded
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from pylon_workflows.core.commands import ApplyAction, ApplySteps
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import begin, evolve, evolve_all
from pylon_workflows.core.records import Records
from pylon_workflows.core.transitions import RunStarted, StepSucceeded
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.action_lines import PlainStep

A_LOT = 10**9

STEPS = st.builds(
    PlainStep,
    key=st.sampled_from("abcdefghijklmnop"),
    step_name=st.sampled_from(["a", "b#2"]),
    after=st.sampled_from([0, 0, 0, 1, 5]),
    output_json=st.sampled_from([b"null", b"1", b'{"id":"ch_1"}']),
    duration_ms=st.integers(0, 10) | st.floats(0, 1e300),
    started_at=st.integers(-5, 20).map(at),
    completed_at=st.integers(-5, 20).map(at),
)
STATES = st.sampled_from(
    [
        pending(),
        given(),
        given(succeeded("a", 0)),
        given(succeeded("a", 0), succeeded("b", 1), failed("c", 1, retry_at=15)),
    ]
)


def a_step(key, position, after):
    return StepSucceeded(
        at=at(0),
        key=key,
        name="s",
        position=position,
        started_at=at(0),
        completed_at=at(1),
        duration_ms=1,
        output_json=b"1",
        after=after,
    )


def one_by_one(instance, steps, *, goes_on=False, turn_began=1, max_bytes=A_LOT):
    """What follows from each in turn, up to one that is refused or comes when the run is full; and the state then."""
    decided = []
    for number, step in enumerate(steps):
        if (number or goes_on) and instance.history_bytes >= max_bytes:
            break
        began = at(turn_began) if number == 0 else at(10)
        command = ApplyAction(action=step.action, turn_started_at=began, goes_on=goes_on or number > 0)
        try:
            transitions = decide(instance, command, at(10))
        except MalformedAnswerError:
            break
        for transition in transitions:
            instance = evolve(instance, transition)
        decided += transitions
    return decided, instance


def together(instance, steps, *, goes_on=False, turn_began=1, max_bytes=A_LOT):
    command = ApplySteps(steps=steps, turn_started_at=at(turn_began), goes_on=goes_on, max_bytes=max_bytes)
    return decide(instance, command, at(10))


@settings(max_examples=80)
@drawn(state=STATES, steps=st.lists(STEPS, max_size=8), goes_on=st.booleans(), max_bytes=st.sampled_from([A_LOT, 9]))
def test_steps_together_come_to_what_they_come_to_one_by_one(state, steps, goes_on, max_bytes):
    decided = together(state, steps, goes_on=goes_on, max_bytes=max_bytes)
    count = sum(isinstance(each, StepSucceeded) for each in decided)
    alone, after = one_by_one(state, steps[:count], goes_on=goes_on, max_bytes=max_bytes)
    assert decided == alone
    assert evolve_all(state, decided) == after
    more, _ = one_by_one(state, steps[: count + 1], goes_on=goes_on, max_bytes=max_bytes)
    assert more == alone, "it ended before a step that could have followed"


@settings(max_examples=60)
@drawn(
    before=st.lists(st.sampled_from("ab"), max_size=3),
    steps=st.lists(st.tuples(st.sampled_from("cdefgh"), st.none() | st.integers(0, 9)), max_size=12),
)
def test_records_of_steps_added_together_are_those_added_one_by_one(before, steps):
    state = given(*(succeeded(name, position) for position, name in enumerate(before)))
    added = [
        a_step(f"{name}#{position}", position, after=None if after is None else min(after, position))
        for position, (name, after) in enumerate(steps, len(before))
    ]
    one_by_one = state
    for step in added:
        one_by_one = evolve(one_by_one, step)
    records, expected = state.records.add_steps(added), one_by_one.records
    asked = [None, *range(len(expected) + 1)]
    assert [records.frontier(after) for after in asked] == [expected.frontier(after) for after in asked]
    assert [records.with_key(each.key) for each in added] == expected[len(before) :]
    assert records == expected
    assert state.records == given(*(succeeded(name, position) for position, name in enumerate(before))).records
    assert state.records.add_steps(added[:1]) == Records(expected[: len(before) + len(added[:1])])


def plain(key):
    return PlainStep(key, "s", 0, at(1), at(2), 1.0, b"null")


def test_the_first_steps_of_an_instance_begin_its_run():
    decided = together(pending(), [plain("a"), plain("b")], turn_began=3)
    assert [type(each).__name__ for each in decided] == ["RunStarted", "StepSucceeded", "StepSucceeded"]
    assert decided[0] == RunStarted(at=at(3))


@pytest.mark.parametrize("late", [given(sleeping(0)), begin(instance_started(due_at=at(9)))], ids=["asleep", "delayed"])
def test_steps_that_nobody_waits_for_decide_nothing(late):
    assert together(late, [plain("a"), plain("b")]) == []


def test_steps_whose_positions_are_not_the_next_ones_are_not_added():
    with pytest.raises(ValueError, match="at position 5, after 0 others"):
        Records().add_steps([succeeded("a", 5)])


def test_a_step_that_comes_after_more_positions_than_there_are_is_not_added():
    with pytest.raises(LookupError, match="after more positions"):
        Records().add_steps([a_step("a", 0, after=1)])
