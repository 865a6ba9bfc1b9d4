from datetime import UTC, datetime
from typing import Any

import pytest

from pylon_workflows.cli.timeline import Row, compact, length, situation, timeline

AT = "2026-11-21T09:00:00.000Z"
LATER = "2026-11-21T09:00:02.500Z"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
STARTED = {"revision": 1, "type": "instance_started", "at": AT, "name": "w", "input": {"a": 1}, "due_at": None}


def second_row(type: str, **members: Any) -> Row:
    first, second = timeline([STARTED, {"revision": 2, "type": type, "at": LATER, **members}])
    assert first == Row(offset_s=0, what="started", name="w", detail='{"a":1}')
    assert second.offset_s == 2.5
    return second


def test_no_history_has_no_rows() -> None:
    assert timeline([]) == []


def test_a_delayed_start_says_until_when() -> None:
    [row] = timeline([{**STARTED, "due_at": LATER, "input": {}}])
    assert row.detail == f"not before {LATER} {{}}"


def test_a_first_answer_is_no_news() -> None:
    assert len(timeline([STARTED, {"revision": 2, "type": "run_started", "at": LATER}])) == 1


def test_a_step_tells_its_output_and_how_long_it_took() -> None:
    row = second_row("step_succeeded", name="charge", duration_ms=120, output={"id": "é"})
    assert row == Row(offset_s=2.5, what="step", name="charge", took_s=0.12, detail='{"id":"é"}')


def test_a_retry_tells_the_error_and_when_it_is_tried_again() -> None:
    row = second_row(
        "attempt_failed", name="mail", duration_ms=5, failures=1, error="no route", retry_at="2026-11-21T09:00:04.000Z"
    )
    assert (row.what, row.detail) == ("retry", "attempt 1 failed: no route; retry in 1.50 s")


@pytest.mark.parametrize(
    ("error", "kind", "shown"),
    [
        ("KeyError: 'nope'", "KeyError", "KeyError: 'nope'"),
        ("no route", "RouteError", "RouteError: no route"),
        ("RouteError", "RouteError", "RouteError"),
        ("Lost: it is gone", "test.<locals>.Lost", "Lost: it is gone"),
    ],
)
def test_an_error_is_shown_with_its_class_once(error: str, kind: str, shown: str) -> None:
    detail = {"type": kind, "message": error}
    row = second_row("step_failed", name="mail", position=1, duration_ms=5, failures=4, error=error, detail=detail)
    assert row.detail == f"attempt 4 failed for good: {shown}"


@pytest.mark.parametrize(
    ("after", "detail", "name"),
    [
        (None, {"type": "ValueError", "message": "bad"}, "the workflow's function"),
        (None, None, "the turn"),
        (0, {"type": "ValueError", "message": "bad"}, "unknown"),
    ],
)
def test_a_retry_of_no_step_says_what_is_tried_again(after: int | None, detail: Any, name: str) -> None:
    entry = {"name": "unknown", "duration_ms": 5, "failures": 1, "error": "bad", "retry_at": LATER}
    assert second_row("attempt_failed", **entry, after=after, detail=detail).name == name


def test_a_final_failure_says_so() -> None:
    row = second_row("step_failed", name="mail", duration_ms=5, failures=4, error="no route")
    assert (row.what, row.name, row.detail) == ("step failed", "mail", "attempt 4 failed for good: no route")


@pytest.mark.parametrize(("position", "what", "name"), [(None, "turn failed", ""), (2, "step failed", "unknown")])
def test_a_failure_of_no_step_is_not_told_as_one(position: int | None, what: str, name: str) -> None:
    """The record of what the workflow's own code raised is named `unknown`, and has no position."""
    row = second_row("step_failed", name="unknown", position=position, duration_ms=5, failures=1, error="no route")
    assert (row.what, row.name) == (what, name)


def test_a_sleep_tells_how_long_and_until_when() -> None:
    row = second_row("sleep_started", name="sleep:24h", due_at="2026-11-22T09:00:02.500Z")
    assert row == Row(offset_s=2.5, what="sleep", name="24h", took_s=86_400, detail="until 2026-11-22T09:00:02.500Z")


def test_a_wait_tells_its_deadline_if_it_has_one() -> None:
    assert second_row("wait_started", event="paid", due_at=None).detail == ""
    assert second_row("wait_started", event="paid", due_at=AT).detail == f"until {AT}"


def test_an_event_tells_its_id_and_data() -> None:
    assert second_row("event_received", event="paid", event_id=None, data={}).detail == "{}"
    row = second_row("event_received", event="paid", event_id="evt_1", data=None)
    assert (row.what, row.name, row.detail) == ("event", "paid", "evt_1 ")


def test_an_event_taken_is_named_by_the_one_that_was_received() -> None:
    received = {"revision": 2, "type": "event_received", "at": AT, "event": "paid", "event_id": None, "data": {}}
    taken = {"revision": 3, "type": "event_taken", "at": LATER, "source": 2, "started_at": AT}
    assert timeline([STARTED, received, taken])[-1] == Row(offset_s=2.5, what="event taken", name="paid", took_s=2.5)


def test_a_wait_without_an_event_times_out() -> None:
    row = second_row("wait_timed_out", event="paid", started_at=AT)
    assert row == Row(offset_s=2.5, what="timed out", name="paid", took_s=2.5, detail="no event came")


def test_the_end_tells_how_long_all_of_it_took() -> None:
    completed = second_row("instance_completed", output={"done": True})
    assert completed == Row(offset_s=2.5, what="completed", took_s=2.5, detail='{"done":true}')
    failed = second_row("instance_failed", error="declined", detail=None)
    assert failed == Row(offset_s=2.5, what="failed", took_s=2.5, detail="declined")


def test_other_facts_are_told_in_their_own_words() -> None:
    assert second_row("instance_blocked", reason="the code has changed").detail == "the code has changed"
    assert [second_row(each).what for each in ("instance_cancelled", "instance_resumed", "woke_up")] == [
        "cancelled",
        "resumed",
        "woke up",
    ]
    unknown = second_row("order_shipped", name="shipping")
    assert (unknown.what, unknown.name) == ("order shipped", "shipping")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, ""),
        ({"blocked_reason": "the code has changed"}, "blocked: the code has changed"),
        ({"waiting_for": "paid"}, "waits for the event paid"),
        (
            {"waiting_for": "paid", "wake_at": 1795251660},
            "waits for the event paid until 2026-11-21 09:01:00 UTC (in 1m)",
        ),
        ({"wake_at": 1795251601.5}, "sleeps until 2026-11-21 09:00:01 UTC (in 1.50 s)"),
        ({"retry_at": 1795251599}, "tries again at 2026-11-21 08:59:59 UTC"),
        ({"waiting_for_runner": None}, ""),
        (
            {"waiting_for_runner": {"reason": "refused", "since": AT, "next_try_at": LATER}},
            f"waits for the runner since {AT}, asks again at 2026-11-21 09:00:02 UTC (in 2.50 s): refused",
        ),
    ],
)
def test_the_situation_is_a_sentence(members: dict[str, Any], said: str) -> None:
    instance = {"blocked_reason": None, "waiting_for": None, "wake_at": None, "retry_at": None, **members}
    assert situation(instance, NOW) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.0124, "12 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1.00 s"),
        (1.25, "1.25 s"),
        (59.99, "59.99 s"),
        (59.999, "1m"),
        (200, "3m 20s"),
        (3600, "1h"),
        (3661, "1h 1m"),
        (86_400 * 2 + 3600 * 4 + 59, "2d 4h"),
    ],
)
def test_a_length_has_the_figures_that_matter(seconds: float, said: str) -> None:
    assert length(seconds) == said


def test_compact_json_is_one_line_and_null_is_nothing() -> None:
    assert compact({"a": ["é\n"]}) == '{"a":["é\\n"]}'
    assert compact(None) == ""


def test_an_error_of_the_code_is_told_with_its_type() -> None:
    row = second_row("instance_failed", error="'nope'", detail={"type": "KeyError", "message": "'nope'"})
    assert (row.what, row.detail) == ("failed", "KeyError: 'nope'")
