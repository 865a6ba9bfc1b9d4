"""The pure bookkeeping: keys, the order of hand-out, divergence."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playing import STARTED_AT, completed, record

from runner_protocol.kit.replay import THE_END, Call, CallKind, Replay
from runner_protocol.messages import Diverged, StepRecord
from tests.calls import counted_calls


def replay_of(*records: dict[str, Any]) -> Replay[Call]:
    return Replay([StepRecord.model_validate(each) for each in records], STARTED_AT)


def call(replay: Replay[Call], name: str | None, kind: CallKind = "step") -> Call:
    made = Call(kind, name, replay.take_key(kind, name))
    replay.open(made)
    return made


def test_a_key_is_the_first_free_one_in_the_order_of_calls() -> None:
    replay = replay_of()
    asked: list[tuple[CallKind, str | None]] = [
        ("step", "a"),
        ("step", "a"),
        ("step", "b"),
        ("sleep", None),
        ("sleep", None),
        ("sleep", "nap"),
        ("sleep", "nap"),
        ("event", "go"),
        ("event", "go"),
        ("step", "sleep"),
        ("step", "go"),
    ]
    assert [replay.take_key(kind, name) for kind, name in asked] == [
        "a",
        "a#2",
        "b",
        "sleep",
        "sleep#2",
        "sleep:nap",
        "sleep:nap#2",
        "event:go",
        "event:go#2",
        "sleep#3",
        "go",
    ]


@given(st.lists(st.tuples(st.sampled_from(["step", "sleep", "event"]), st.sampled_from(["a", "sleep", "b c", "é"]))))
def test_no_two_calls_have_one_key(asked: list[tuple[CallKind, str]]) -> None:
    replay = replay_of()
    keys = [replay.take_key(kind, name) for kind, name in asked]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "name",
    ["", "n" * 129, "a#2", "a[0", "a]", "a/b", "event:paid", "sleep:nap", "\ud800"],
)
@pytest.mark.parametrize("kind", ["step", "sleep", "event"])
def test_a_name_that_would_make_an_ambiguous_key_is_refused(kind: CallKind, name: str) -> None:
    with pytest.raises(ValueError, match="a name"):
        replay_of().take_key(kind, name)


@pytest.mark.parametrize("kind", ["step", "event"])
def test_a_name_is_a_text(kind: CallKind) -> None:
    for name in (None, 3):
        with pytest.raises(TypeError, match=r"a name .* is a text"):
            replay_of().take_key(kind, name)  # type: ignore[arg-type]


def test_a_name_of_128_characters_is_taken() -> None:
    assert replay_of().take_key("step", "n" * 128) == "n" * 128


def test_records_are_handed_out_in_recorded_order() -> None:
    replay = replay_of(*completed(("b", 1), ("a", 2)))
    first, second = call(replay, "a"), call(replay, "b")
    handed = [replay.hand_out(), replay.hand_out()]
    assert [each[0] if isinstance(each, tuple) else each for each in handed] == [second, first]
    assert replay.hand_out() is None
    assert replay.waiting == 0


def test_failures_to_be_retried_are_counted_and_not_handed_out() -> None:
    failed = record("a", position=None, status="failed", error="no")
    replay = replay_of(failed, failed)
    waiting = call(replay, "a")
    assert replay.hand_out() is None
    assert replay.next_step() is waiting
    assert [failure.error for failure in replay.failures("a")] == ["no", "no"]
    assert replay.failures("b") == ()


def test_now_moves_with_the_hand_out() -> None:
    replay = replay_of(record("a", position=0))
    assert replay.now == STARTED_AT
    call(replay, "a")
    replay.hand_out()
    assert replay.now == datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)


def test_a_record_that_nobody_asks_for_diverges_with_both_sides_named() -> None:
    replay = replay_of(*completed(("a", 1), ("b", 2)))
    call(replay, "a")
    replay.hand_out()
    call(replay, "c")
    call(replay, "d")
    assert replay.hand_out() == Diverged(position=1, expected="b", got="c")


def test_a_call_taken_back_is_not_what_the_code_asks_for() -> None:
    replay = replay_of(*completed(("b", 1)))
    replay.drop(call(replay, "a"))
    assert replay.hand_out() == Diverged(position=0, expected="b", got=THE_END)


def test_a_record_of_another_kind_diverges() -> None:
    replay = replay_of(record("sleep", position=0, kind="step"))
    call(replay, None, "sleep")
    assert replay.hand_out() == Diverged(position=0, expected="sleep (a step)", got="sleep (a sleep)")
    replay = replay_of(record("sleep", position=0, kind="sleep"))
    call(replay, "sleep")
    assert replay.hand_out() == Diverged(position=0, expected="sleep (a sleep)", got="sleep (a step)")


def test_a_step_may_be_recorded_as_any_kind_of_work() -> None:
    replay = replay_of(record("a", position=0, kind="http"))
    call(replay, "a")
    assert isinstance(replay.hand_out(), tuple)


def test_at_the_end_records_that_were_asked_for_are_ignored() -> None:
    replay = replay_of(*completed(("a", 1), ("b", 2)))
    call(replay, "a")
    call(replay, "b")
    replay.hand_out()
    assert replay.check_end() is None


def test_at_the_end_a_record_that_nobody_asked_for_diverges() -> None:
    replay = replay_of(*completed(("a", 1), ("b", 2)))
    call(replay, "a")
    assert replay.check_end() == Diverged(position=1, expected="b", got="the end of the workflow")


def test_each_step_is_given_once_and_of_suspensions_the_first_called() -> None:
    replay = replay_of()
    sleep, step = call(replay, None, "sleep"), call(replay, "a")
    dropped, last = call(replay, "b"), call(replay, "c")
    replay.drop(dropped)
    assert [replay.next_step(), replay.next_step(), replay.next_step()] == [step, last, None]
    assert replay.suspension() is sleep


def test_what_a_turn_records_is_handed_out_like_a_record() -> None:
    replay = replay_of(*completed(("a", 1)))
    first, second, third = call(replay, "a"), call(replay, "b"), call(replay, "c")
    replay.hand_out()
    replay.drop(third)
    later = datetime(2026, 1, 1, 0, 0, 9, tzinfo=UTC)
    assert replay.hand_out_live(second, later)
    assert not replay.hand_out_live(third, later)
    fourth = call(replay, "d")
    assert (replay.now, replay.handed_out, replay.waiting) == (later, 3, 1)
    assert [each.after for each in (first, second, third, fourth)] == [0, 0, 0, 3]
    assert replay.hand_out() is replay.check_end() is None


def test_dropping_twice_or_after_the_hand_out_changes_nothing() -> None:
    replay = replay_of(*completed(("a", 1)))
    first, second = call(replay, "a"), call(replay, "b")
    replay.hand_out()
    replay.drop(first)
    replay.drop(second)
    replay.drop(second)
    assert replay.waiting == 0


def test_ten_thousand_records_are_about_ten_times_the_work_of_a_thousand() -> None:
    def calls_of(count: int) -> int:
        keys = ["a", *(f"a#{number}" for number in range(2, count + 1))]
        records = [StepRecord.model_validate(record(key, position=index)) for index, key in enumerate(keys)]
        with counted_calls() as calls:
            replay: Replay[Call] = Replay(records, STARTED_AT)
            for _ in range(count):
                call(replay, "a")
            while replay.hand_out() is not None:
                pass
        return calls.count

    assert calls_of(10_000) < 12 * calls_of(1_000)
