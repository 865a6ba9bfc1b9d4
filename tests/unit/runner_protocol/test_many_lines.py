"""Lines read together are what they are read alone (PROTOCOL.md section 2); P31 for each of them."""

import json
import re
from datetime import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner_protocol.action_lines import PlainStep, parse_actions
from runner_protocol.fields import parse_timestamp
from runner_protocol.messages import MalformedMessageError, StepComplete, parse_action
from runner_protocol.strict_json import encode, parse, parse_objects

LINE = b'{"action":"step_complete","key":"a","after":0,"step_name":"a","output":%b}'
DEEP = b"[" * 64 + b"]" * 64

GOOD = [LINE % b'{"id":1}', LINE % b"[[1],[2.5]]", LINE % b'"\xc3\xa9"', LINE % DEEP, b'{"action":"complete"}']
BAD = [
    b"",
    b"1",
    b"[]",
    b'{"action":"step_complete","output":{}',
    b'{"action":"step_complete","output":[{}',
    b'{}]},{"action":"complete","output":{}}',
    b'{"action":"complete"},{"action":"complete"}',
    b'{"action":"step_complete","output":1,"output":2}',
    b'{"action": "complete"}',
    b'{"action":"complete","output":NaN}',
    b'{"action":"complete","output":1e999}',
    b'{"action":"complete","output":"\\ud800"}',
    b'{"action":"step_complete","key":3}',
    b'{"action":"dance"}',
    b"\xff",
    LINE % b"18446744073709551616",
    LINE % b"18446744073709551615",
    LINE % (b"[%b]" % DEEP),
    LINE % (b"[" * 300 + b"]" * 300),
]


def one_by_one(lines):
    actions = []
    for line in lines:
        try:
            actions.append(parse_action(line))
        except MalformedMessageError as error:
            return actions, (type(error), str(error))
    return actions, None


@settings(max_examples=300)
@given(st.lists(st.sampled_from(GOOD * 4 + BAD), min_size=1, max_size=6))
@example([b'{"action":"complete","output":[{}', b'{}]},{"action":"complete","output":{}}'])
@example([LINE % (b"[%b]" % DEEP), *[b"1"] * 70])
@example([LINE % (b"[%b]" % DEEP), *GOOD * 20])
def test_lines_together_are_what_they_are_alone(lines):
    actions, trouble = parse_actions(lines)
    assert (list(actions), None if trouble is None else (type(trouble), str(trouble))) == one_by_one(lines)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(GOOD * 4 + BAD), min_size=1, max_size=6))
@example([b"[" * 70 + b"]" * 70, b"1", b"2"])
def test_objects_that_are_read_together_are_what_they_are_alone(bodies):
    values = parse_objects(bodies)
    if values is not None:
        assert json.dumps(values) == json.dumps([parse(body) for body in bodies])


def test_lines_as_kits_write_them_are_read_together():
    assert parse_objects(GOOD[:3] * 20) == [parse(body) for body in GOOD[:3] * 20]


@pytest.mark.parametrize("body", BAD[:12])
def test_what_is_to_be_read_by_itself_is_not_read_together(body):
    assert parse_objects([GOOD[0], body]) is None


RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]([0-9]{2}:){2}[0-9]{2}[.][0-9]{1,9}([Zz]|[+-][0-9]{2}:[0-9]{2})")
TIME = "2026-11-21T09:39:04.926Z"
ODD = st.tuples(st.integers(0, len(TIME) - 1), st.sampled_from("0939:.-TZtz ,W+٣１"))


@settings(max_examples=500)
@given(st.lists(ODD, max_size=2))
@example([(5, "W"), (7, "-")])
def test_a_time_that_looks_like_a_kits_is_one_or_is_refused(changes):
    text = list(TIME)
    for place, character in changes:
        text[place] = character
    changed = "".join(text)
    try:
        expected = datetime.fromisoformat(changed.upper()) if RFC_3339.fullmatch(changed) else None
    except ValueError:
        expected = None
    if expected is None:
        with pytest.raises(ValueError):
            parse_timestamp(changed)
    else:
        assert parse_timestamp(changed) == expected


def a_line(**changes):
    fields = {
        "action": "step_complete",
        "key": "a",
        "after": 0,
        "step_name": "a",
        "duration_ms": 12.5,
        "started_at": TIME,
        "completed_at": TIME,
        "output": {"id": "ch_1"},
    }
    return encode({name: value for name, value in (fields | changes).items() if value is not ...})


ODD_VALUES = st.sampled_from(
    [
        ...,
        None,
        "",
        "x" * 128,
        "x" * 129,
        "x" * 512,
        "x" * 513,
        0,
        1,
        -1,
        2**53 - 1,
        2**53,
        1.0,
        -0.5,
        True,
        [],
        {},
        TIME,
    ]
)


@settings(max_examples=500)
@given(
    st.sampled_from(["action", "key", "after", "step_name", "duration_ms", "started_at", "output", "kind"]), ODD_VALUES
)
def test_a_plain_step_is_the_message_that_it_would_be(field, value):
    line = a_line(**{field: value})
    actions, trouble = parse_actions([line])
    assert (list(actions), None if trouble is None else (type(trouble), str(trouble))) == one_by_one([line])


def test_a_step_as_kits_write_it_is_kept_as_a_plain_one():
    actions, _ = parse_actions([a_line(key="a"), a_line(key="b", vars={"n": 1}), a_line(key="c", output=...)])
    assert [type(entry) for entry in actions.entries] == [PlainStep, StepComplete, PlainStep]
    assert [type(action) for action in actions] == [StepComplete] * 3
    assert [(action.key, action.output) for action in actions[1:]] == [("b", {"id": "ch_1"}), ("c", None)]
    assert actions.entries[0].output_json == b'{"id":"ch_1"}'
