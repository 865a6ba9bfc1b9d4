"""Whatever a transition holds comes back from its columns as it was, and nothing but what was written is read."""

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import InstanceStarted, Transition
from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.store.codec import decode_history, encode
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
            field.name: st.one_of([BY_TYPE[each] for each in get_args(hints[field.name]) or (hints[field.name],)])
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
