"""Whatever a transition holds comes back from its columns as it was, and nothing but what was written is read."""

import json
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylon_workflows.api.history_shapes import TransitionAnswer
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import InstanceStarted, Transition
from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.store.codec import decode_history, encode
from pylon_workflows.transition_json import HistoryFormatError, transition_from, transition_json
from runner_protocol import strict_json
from runner_protocol.durations import MAX_DURATION

WHOLE = st.integers(0, 2**63 - 1)
TIMES = st.datetimes(timezones=st.just(UTC))
DURATIONS = st.timedeltas(timedelta(0), MAX_DURATION)
POLICIES = st.builds(
    RetryPolicy, max_retries=st.integers(0, 10**6), initial_backoff=DURATIONS, maximum_backoff=DURATIONS
)
JSON_TEXT = st.text().map(strict_json.encode)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    bool: st.booleans(),
    int: WHOLE,
    datetime: TIMES,
    timedelta: DURATIONS,
    RetryPolicy: POLICIES,
    bytes: JSON_TEXT,
    type(None): st.none(),
}


def transitions_of(kind: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(
        kind,
        **{
            field.name: st.just(1)  # the revision at which these tests have it
            if field.name == "replaces"
            else st.one_of([BY_TYPE[each] for each in get_args(hints[field.name]) or (hints[field.name],)])
            for field in fields(kind)
        },
    )


@pytest.mark.parametrize("kind", get_args(Transition), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_transition_comes_back_equal(kind: type, data: st.DataObject) -> None:
    transition = data.draw(transitions_of(kind))
    assert decode_history("wf_1", [(1, *encode(transition))], revision=1) == [transition]


@pytest.mark.parametrize("kind", get_args(Transition), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_body_is_compact_json_as_the_serializer_writes_it(kind: type, data: st.DataObject) -> None:
    body = encode(data.draw(transitions_of(kind))).body
    assert body.encode() == strict_json.encode_parsed(json.loads(body))


@pytest.mark.parametrize("kind", get_args(Transition), ids=lambda kind: kind.__name__)
@given(data=st.data(), revision=st.integers(1, 10**6))
def test_every_transition_comes_back_equal_from_its_json(kind: type, data: st.DataObject, revision: int) -> None:
    transition = data.draw(transitions_of(kind))
    value = strict_json.parse(transition_json(revision, transition))
    assert transition_from(value) == (revision, transition)
    answer = TransitionAnswer.model_validate_json(transition_json(revision, transition)).root
    assert type(answer).__name__ == kind.__name__, "openapi.json describes it"
    assert set(value) <= set(type(answer).model_fields)
    assert transition_json(revision, transition_from(value)[1]) == transition_json(revision, transition)


@pytest.mark.parametrize("kind", get_args(Transition), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_transition_of_other_json_is_refused_or_is_one(kind: type, data: st.DataObject) -> None:
    value = strict_json.parse(transition_json(1, data.draw(transitions_of(kind))))
    name = data.draw(st.sampled_from(sorted(value)))
    value[name] = data.draw(st.none() | st.text(max_size=5) | st.integers() | st.booleans() | st.just({}))
    try:
        _, found = transition_from(value)
    except HistoryFormatError as error:
        assert str(error).startswith(name)
    else:
        assert type(found) in get_args(Transition)
        assert encode(found)


@pytest.mark.parametrize("kind", get_args(Transition), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_damaged_row_is_its_instances_error_and_never_another(kind: type, data: st.DataObject) -> None:
    columns = list(encode(data.draw(transitions_of(kind))))
    place = data.draw(st.integers(0, 3))
    columns[place] = data.draw(st.none() | st.text(max_size=5) | st.binary(max_size=5) | st.integers() | st.floats())
    try:
        (found,) = decode_history("wf_1", [(1, *columns)], revision=1)
    except CorruptDatabaseError as error:
        assert "wf_1" in str(error)
    else:
        assert isinstance(found, kind)


@given(body=st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_a_policy_of_another_form_is_refused(body: Any) -> None:
    started = InstanceStarted(
        at=datetime.now(UTC),
        id="wf_1",
        name="order",
        version=None,
        input_json=b"{}",
        idempotency_key=None,
        seed="",
        policy=RetryPolicy(),
        step_timeout=timedelta(1),
    )
    name, at, text, payload = encode(started)
    damaged = text.replace('{"max_retries":3,"initial_backoff":1000000,"maximum_backoff":300000000}', json.dumps(body))
    assert damaged != text
    with pytest.raises(CorruptDatabaseError, match="revision 1"):
        decode_history("wf_1", [(1, name, at, damaged, payload)], revision=1)


@pytest.mark.parametrize("kind", get_args(Transition), ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_what_holds_its_default_is_left_out_and_read_all_the_same(kind: type, data: st.DataObject) -> None:
    transition = data.draw(transitions_of(kind))
    payload = next((field.name for field in fields(kind) if field.name.endswith("_json")), None)
    optional = [field.name for field in fields(kind) if field.default is not MISSING and field.name != payload]
    plain = replace(transition, **{name: kind.__dataclass_fields__[name].default for name in optional})
    encoded = encode(plain)
    assert not set(json.loads(encoded.body)) & set(optional)
    assert decode_history("wf_1", [(1, *encoded)], revision=1) == [plain]
    written = {name: getattr(plain, name) for name in optional if not isinstance(getattr(plain, name), bytes)}
    body = json.dumps({**json.loads(encoded.body), **written})
    assert decode_history("wf_1", [(1, *encoded[:2], body, encoded.payload)], revision=1) == [plain]


@pytest.mark.parametrize("kind", get_args(Transition), ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_a_field_that_is_none_or_is_missing_is_the_instances_error(kind: type, data: st.DataObject) -> None:
    name, at, body, payload = encode(data.draw(transitions_of(kind)))
    members = json.loads(body)
    required = [field.name for field in fields(kind) if field.default is MISSING and field.name in members]
    damaged = [{**members, "color": 1}, *({**members, each: [1]} for each in members)]
    damaged += [{key: members[key] for key in members if key != each} for each in required]
    for each in damaged:
        with pytest.raises(CorruptDatabaseError, match="wf_1, revision 1: unreadable"):
            decode_history("wf_1", [(1, name, at, json.dumps(each), payload)], revision=1)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[1,]", "\ud800"])
def test_json_within_the_body_is_read_as_strictly_as_the_payload(text: str) -> None:
    members = {"key": "a", "name": "a", "position": 0, "started_at": 0, "completed_at": 0, "duration_ms": 0}
    members["input_json"] = text
    with pytest.raises(CorruptDatabaseError, match="wf_1, revision 1: unreadable"):
        decode_history("wf_1", [(1, "StepSucceeded", 0, json.dumps(members), b"1")], revision=1)
    members["input_json"] = "[1]"
    decode_history("wf_1", [(1, "StepSucceeded", 0, json.dumps(members), b"1")], revision=1)
