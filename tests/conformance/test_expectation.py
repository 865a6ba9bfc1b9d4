from typing import Any

import pytest

from runner_protocol.conformance.expectation import MATCHERS, differences


def matches(expected: Any, got: Any) -> bool:
    return differences(expected, got, {}) == []


@pytest.mark.parametrize(
    ("expected", "fitting", "unfitting"),
    [
        ({"$any": True}, 0, None),
        ({"$absent": True}, None, 0),
        ({"$type": "string"}, "a", 1),
        ({"$type": "number"}, 1.5, True),
        ({"$type": "integer"}, 1, 1.5),
        ({"$type": "boolean"}, False, 0),
        ({"$type": "object"}, {}, []),
        ({"$type": "array"}, [], {}),
        ({"$type": "null"}, None, 0),
        ({"$regex": "^a.c$"}, "abc", "abd"),
        ({"$in": [True, None]}, True, 1),
        ({"$between": [400, 499]}, 404, 500),
        ({"$duration": "1h"}, "60m", "61m"),
        ({"$duration": "1h"}, 3600, "an hour"),
        ({"$time": True}, "2026-01-01T00:00:00Z", "2026-01-01"),
        ({"$moment": "2026-01-01T00:00:00Z"}, "2026-01-01T01:00:00.000+01:00", "2026-01-01T01:00:00Z"),
        ({"$moment": "2026-01-01T00:00:00Z"}, "2026-01-01T00:00:00Z", 7),
        ({"$not": {"$any": True}}, None, 1),
        (1, 1.0, True),
        (True, True, 1),
        (None, None, False),
        ([1, 2], [1, 2], [1]),
        ({"a": 1}, {"a": 1, "b": 2}, {"b": 2}),
        ({"output": {"a": 1}}, {"output": {"a": 1}}, {"output": {"a": 1, "b": 2}}),
        ({"output": {"a": None}}, {"output": {"a": None}}, {"output": {}}),
        ({"output": None}, {}, {"output": 0}),
    ],
)
def test_an_expectation_fits_what_it_should_and_nothing_else(expected: Any, fitting: Any, unfitting: Any) -> None:
    assert matches(expected, fitting)
    assert not matches(expected, unfitting)


def test_a_saved_value_is_compared_in_a_later_turn() -> None:
    saved: dict[str, Any] = {}
    assert differences({"a": {"$save": "number"}}, {"a": 0.5}, saved) == []
    assert differences({"b": {"$saved": "number"}}, {"b": 0.5}, saved) == []
    assert differences({"b": {"$saved": "number"}}, {"b": 0.6}, saved) != []
    assert differences({"a": {"$save": "nothing"}}, {}, saved) != []


def test_a_difference_names_the_place_what_was_expected_and_what_came() -> None:
    (difference,) = differences({"error": {"message": "declined"}}, {"error": {"message": "lost"}}, {}, "answer")
    assert str(difference) == 'answer.error.message: expected "declined", got "lost"'
    (difference,) = differences({"items": [1, {"b": 2}]}, {"items": [1, {}]}, {}, "answer")
    assert str(difference) == "answer.items[1].b: expected 2, got nothing"


def test_a_long_value_is_shown_shortened() -> None:
    (difference,) = differences("a", "b" * 1000, {})
    assert len(str(difference)) < 400


def test_every_matcher_is_known_by_name() -> None:
    assert "$regex" in MATCHERS
    with pytest.raises(KeyError):
        matches({"$regexp": "a"}, "a")
