"""PROTOCOL.md sections 2 and 3: which event a wait takes, and what its end without one comes to."""

from datetime import timedelta

import pytest
from histories import after, answer, at, event, given, kinds, received

from pylon_workflows.core.commands import WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.deciding.matching import matches, may_match
from pylon_workflows.core.instance import EventWait, Status
from pylon_workflows.core.transitions import WaitStarted, WaitTimedOut
from runner_protocol.messages import WaitEvent
from runner_protocol.strict_json import encode

FOR_ORDER_7 = answer(WaitEvent(event="paid", match={"order.id": 7}))


def test_a_wait_says_what_it_takes_and_where_else_it_can_be_reached():
    action = WaitEvent(event="paid", timeout="1m", match={"order.id": 7}, correlation="order:7", on_timeout="fail")
    assert decide(given(), answer(action), at(5)) == [
        WaitStarted(
            at=at(5),
            event="paid",
            key="event:paid",
            due_at=at(65),
            match_json=b'{"order.id":7}',
            correlation="order:7",
            on_timeout="fail",
        )
    ]
    waiting = after(given(), answer(action), second=5)
    assert waiting.wait == EventWait(
        event="paid",
        key="event:paid",
        started_at=at(5),
        match_json=b'{"order.id":7}',
        correlation="order:7",
        on_timeout="fail",
    )


def test_of_the_events_that_came_before_the_first_that_matches_is_taken():
    instance = given(
        received("paid", {"order": {"id": 6}}),
        received("refunded", {"order": {"id": 7}}),
        received("paid", {"order": {"id": 7}, "n": 1}),
        received("paid", {"order": {"id": 7}, "n": 2}),
    )
    instance = after(instance, FOR_ORDER_7)
    assert instance.steps[0].output == {"order": {"id": 7}, "n": 1}
    assert [unread.revision for unread in instance.inbox] == [3, 4, 6]


def test_an_event_that_does_not_match_stays_in_the_inbox_and_does_not_wake():
    waiting = after(given(), FOR_ORDER_7)
    transitions = decide(waiting, event("paid", {"order": {"id": 8}}), at(1))
    assert kinds(transitions) == ["EventReceived"]
    waiting = after(waiting, event("paid", {"order": {"id": 8}}))
    assert (waiting.status, len(waiting.inbox)) == (Status.WAITING_FOR_EVENT, 1)
    assert kinds(decide(waiting, event("paid", {"order": {"id": 7}}), at(1))) == ["EventReceived", "EventTaken"]


def test_an_event_that_one_wait_passed_over_feeds_the_next():
    instance = after(given(received("paid", {"order": {"id": 8}})), FOR_ORDER_7, event("paid", {"order": {"id": 7}}))
    instance = after(instance, answer(WaitEvent(event="paid")))
    assert [record.output["order"]["id"] for record in instance.steps] == [7, 8]


def test_a_wait_that_asks_for_nothing_takes_whatever_comes():
    waiting = after(given(), answer(WaitEvent(event="paid", match={})))
    assert waiting.wait.match_json is None
    assert after(waiting, event("paid", None)).steps[0].output is None


DATA = {
    "id": 7,
    "ok": True,
    "none": None,
    "ratio": 0.5,
    "tags": ["a", {"b": [1]}],
    "a": {"b": {"c": "deep"}},
    "": {"": 1},
}


@pytest.mark.parametrize(
    "match",
    [
        {"id": 7},
        {"id": 7.0},
        {"ok": True},
        {"none": None},
        {"ratio": 0.5},
        {"a.b.c": "deep"},
        {"a": {"b": {"c": "deep"}}},
        {"tags": ["a", {"b": [1.0]}]},
        {"tags.0": "a"},
        {"tags.1.b.0": 1},
        {"id": 7, "a.b.c": "deep"},
        {".": 1},
        {},
    ],
    ids=str,
)
def test_equal_as_json_values_at_every_path(match):
    assert matches(match, encode(DATA))


@pytest.mark.parametrize(
    "match",
    [
        {"id": "7"},
        {"id": True},
        {"ok": 1},
        {"ok": None},
        {"missing": None},
        {"none.deeper": None},
        {"id": 7, "a.b.c": "other"},
        {"a.b": {"c": "deep", "d": 1}},
        {"a.b": {}},
        {"a.b": []},
        {"tags": ["a"]},
        {"tags": {"0": "a"}},
        {"tags.2": None},
        {"tags.-1": {"b": [1]}},
        {"tags.٠": "a"},
        {"tags.1.b": [True]},
        {"id.0": 7},
        {"a..c": "deep"},
    ],
    ids=str,
)
def test_what_is_missing_or_of_another_type_does_not_match(match):
    assert not matches(match, encode(DATA))


@pytest.mark.parametrize("data", [None, 7, "text", [], [1]])
def test_data_without_members_has_no_paths(data):
    assert not matches({"id": None}, encode(data))
    assert matches({}, encode(data))


def test_numbers_beyond_doubles_are_compared_exactly():
    assert matches({"n": 2**63}, encode({"n": 2**63}))
    assert not matches({"n": 2**53 + 1}, encode({"n": float(2**53)}))


def test_a_wait_that_fails_at_its_timeout_is_a_final_failure_thrown_into_the_code():
    waiting = after(given(), answer(WaitEvent(event="paid", timeout=timedelta(seconds=60), on_timeout="fail")))
    assert decide(waiting, WakeUp(), at(60)) == [
        WaitTimedOut(at=at(60), event="paid", key="event:paid", position=0, started_at=at(0), is_failure=True)
    ]
    instance = after(waiting, WakeUp(), second=60)
    [record] = instance.steps
    assert (record.status, record.final, record.timed_out, record.retry_count) == ("failed", True, True, 1)
    assert (record.key, record.name, record.kind, record.position) == ("event:paid", "event:paid", "event", 0)
    assert (record.error, record.output) == ("timed out waiting for event 'paid'", None)
    assert (instance.is_runnable, instance.wait, instance.current_step) == (True, None, 1)


def test_only_what_certainly_does_not_match_may_not():
    several = [b'{"n":1}', b'{"n":2}', None, b"{", b"[1]", b"\xff", b""]
    assert may_match(several, b'{"n":1}') == [True, False, True, True, True, True, True]
    assert may_match([None, None], b'{"n":1}') == [True, True]
