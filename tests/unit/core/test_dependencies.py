"""Every record says what it came after, so that a graph can be drawn."""

import time

import pytest
from histories import after, answer, at, event, given, next_line, pending, received, succeeded

from pylon_workflows.core.commands import DecideApproval, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.records import Record, Records
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.messages import Approval, Fail, Sleep, StepComplete, StepSkip, WaitEvent


def step(name, positions=None):
    return next_line(StepComplete(step_name=name, key=name, after=positions))


def graph(*commands):
    instance = after(given(), *commands)
    return {record.key: list(record.depends_on) for record in instance.steps}


def test_one_step_after_the_other_is_a_chain():
    assert graph(step("a", 0), step("b", 1), step("c", 2)) == {"a": [], "b": ["a"], "c": ["b"]}


def test_without_a_word_about_it_a_record_depends_on_the_one_at_the_last_position():
    instance = after(given(succeeded("a", 0), succeeded("b", 1)), answer(StepComplete(step_name="c")))
    assert [record.depends_on for record in instance.steps] == [(), ("a",), ("b",)]


def test_steps_that_were_asked_for_together_depend_on_the_same_and_the_next_on_all_of_them():
    assert graph(step("a", 0), step("x", 1), step("y", 1), step("z", 1), step("b", 4)) == {
        "a": [],
        "x": ["a"],
        "y": ["a"],
        "z": ["a"],
        "b": ["x", "y", "z"],
    }


def test_branches_of_different_lengths_are_kept_apart():
    # gather(x1 then x2, y): x2 is asked for when x1 has been handed out, y has not
    assert graph(step("x1", 0), step("y", 0), step("x2", 1), step("end", 3)) == {
        "x1": [],
        "y": [],
        "x2": ["x1"],
        "end": ["y", "x2"],
    }


def test_a_wave_after_a_wave_depends_on_all_of_the_first():
    wave = [step("a", 0), step("b", 0), step("c", 2), step("d", 2), step("e", 4)]
    assert graph(*wave) == {"a": [], "b": [], "c": ["a", "b"], "d": ["a", "b"], "e": ["c", "d"]}


def test_a_failed_attempt_says_what_it_came_after_and_nothing_depends_on_it():
    failing = next_line(Fail(step_name="b", key="b", after=1))
    instance = after(given(), step("a", 0), failing)
    instance = after(instance, WakeUp(), second=60)
    instance = after(instance, step("b", 1), step("c", 2), second=60)
    assert [(record.key, record.status, record.depends_on) for record in instance.steps] == [
        ("a", "completed", ()),
        ("b", "failed", ("a",)),
        ("b", "completed", ("a",)),
        ("c", "completed", ("b",)),
    ]


def test_whatever_makes_a_record_says_what_it_came_after():
    instance = after(given(received("early", 1)), step("a", 0), step("b", 0))
    instance = after(instance, answer(StepSkip(step_name="s", after=2)), answer(Sleep(duration="1s", after=3)))
    instance = after(instance, WakeUp(), second=1)
    instance = after(instance, answer(WaitEvent(event="early", after=0)), answer(WaitEvent(event="late", after=5)))
    instance = after(instance, event("late"), answer(Approval(name="gate", after=1)))
    instance = after(instance, DecideApproval(key="approval:gate", is_approved=True))
    assert {record.key: list(record.depends_on) for record in instance.steps} == {
        "a": [],
        "b": [],
        "s": ["a", "b"],
        "sleep": ["s"],
        "event:early": [],
        "event:late": ["sleep", "event:early"],
        "approval:gate": ["a"],
    }


def test_of_more_than_thirty_two_dependencies_the_last_ones_are_said_and_none_comes_back():
    names = [f"s{number}" for number in range(100)]
    found = graph(*(step(name, 0) for name in names), step("sum", 100), step("next", 101))
    assert found["sum"] == names[68:]
    assert found["next"] == ["sum"]


def test_positions_that_have_not_been_taken_are_malformed():
    with pytest.raises(MalformedAnswerError, match="after: 2 positions, but this run has taken 1"):
        decide(given(succeeded("a", 0)), step("b", 2), at(0))
    with pytest.raises(MalformedAnswerError, match="after: 1 positions, but this run has taken 0"):
        decide(pending(), answer(StepComplete(after=1)), at(0))


def record(key, position, positions=None):
    return Record(
        key=key,
        name=key,
        position=position,
        started_at=at(0),
        completed_at=at(0),
        duration_ms=0,
        after=positions,
    )


def test_an_older_version_and_a_branch_have_frontiers_of_their_own():
    two = Records([record("a", 0, 0), record("b", 1, 0)])
    left = two.add(record("c", 2, 2))
    right = two.add(record("d", 2, 1))
    assert (two.frontier(2), two.frontier(None)) == (("a", "b"), ("b",))
    assert (left.frontier(3), right.frontier(3)) == (("c",), ("b", "d"))
    assert (left.frontier(2), left.frontier(1), left.frontier(0)) == (("a", "b"), ("a",), ())
    assert (right.frontier(None), Records().frontier(None)) == (("d",), ())


def test_a_record_is_found_by_the_key_that_it_has_taken():
    one = Records([record("a", 0)])
    two = one.add(record("b", 1))
    assert two.with_key("b") == record("b", 1)
    assert (one.with_key("b"), two.with_key("c")) == (None, None)


def test_a_record_costs_the_same_after_ten_thousand_as_after_a_hundred():
    def cost(count, positions):
        best = None
        for _ in range(2):
            records = Records()
            began = time.process_time()
            for number in range(count):
                handed_out = positions(number)
                records.frontier(handed_out)
                records = records.add(record(f"s{number}", number, handed_out))
            spent = (time.process_time() - began) / count
            best = spent if best is None else min(best, spent)
        return best

    for positions in (lambda number: 0, lambda number: number, lambda number: None, lambda number: number // 2):
        assert (
            cost(10_000, positions) < cost(100, positions) * 12
        )  # were it linear in their number, it would be a hundred
