"""The request's bytes are what `runner_protocol.messages` reads (PROTOCOL.md section 1)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pylon_workflows.core.evolution import begin, evolve
from pylon_workflows.core.instance import Status
from pylon_workflows.core.records import Record, Records
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import GroupStarted, InstanceStarted, MemberAttemptFailed, RunContinued
from pylon_workflows.core.variables import Variables
from pylon_workflows.turn_request import (
    JoinedRecords,
    idempotency_key,
    member_idempotency_key,
    member_request_body,
    record_json,
    request_body,
)
from runner_protocol.messages import parse_request
from runner_protocol.strict_json import encode, parse

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ['"', "\\", "\x00\x1f\x7f", "\u2028\u2029", "\ufeff", "😀", "é\u0301", "</script>", "\r\n\t"]
)
NAMES = TEXTS.filter(bool)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59), timezones=st.just(UTC))  # noqa: DTZ001
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NOTES = st.fixed_dictionaries(
    {},
    optional={
        "usage": st.just({"cost_usd": "0.25", "input_tokens": 7, "output_tokens": 0}),
        "vars": st.dictionaries(NAMES, VALUES, max_size=2),
        "unset": st.lists(NAMES, min_size=1, max_size=2),
    },
).filter(bool)
RECORDS = st.builds(
    Record,
    key=NAMES,
    name=NAMES,
    kind=st.sampled_from(["step", "sleep", "event", "approval", "child", "map", "shell"]),
    status=st.sampled_from(["completed", "failed", "skipped"]),
    position=st.none() | st.integers(0, 10_000),
    started_at=TIMES,
    completed_at=TIMES,
    duration_ms=st.integers(0, 2**53 - 1),
    output_json=VALUES.map(encode),
    error=st.none() | TEXTS,
    retry_count=st.integers(0, 1_000_000),
    final=st.booleans(),
    timed_out=st.booleans(),
    input_json=st.none() | VALUES.map(encode),
    notes_json=st.none() | NOTES.map(encode),
    depends_on=st.lists(NAMES, max_size=3).map(tuple),
)


def an_instance(records: list[Record] = [], *, input: Any = None, **changes: Any):  # noqa: B006 -- never changed
    started = InstanceStarted(
        at=NOON,
        id="wf_1",
        name=changes.pop("name", "order"),
        version=changes.pop("version", None),
        input_json=encode(input),
        idempotency_key=None,
        seed="0123456789abcdef" * 2,
        policy=RetryPolicy(max_retries=3),
        step_timeout=timedelta(seconds=30),
    )
    return replace(begin(started), status=Status.RUNNING, records=Records(records), **changes)


def request_of(instance, *, began_at=NOON, deadline=NOON):
    return request_body(instance, JoinedRecords().json(instance), began_at=began_at, deadline=deadline)


def to_milliseconds(moment):
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    records=st.lists(RECORDS, max_size=4),
    name=NAMES,
    version=st.none() | NAMES,
    input=VALUES,
    last_error=st.none() | TEXTS,
    last_position_at=st.none() | TIMES,
    started_at=st.none() | TIMES,
)
def test_whatever_the_records_hold_the_request_reads_as_it_was_meant(
    *, records, name, version, input, last_error, last_position_at, started_at
):
    instance = an_instance(
        records,
        name=name,
        version=version,
        input=input,
        last_error=last_error,
        last_position_at=last_position_at,
        run_started_at=started_at,
        current_step=5,
        failures_here=2,
        history_bytes=77,
    )
    request = parse_request(request_of(instance, began_at=NOON, deadline=NOON + timedelta(seconds=30)))
    run_started_at = to_milliseconds(started_at or NOON)
    assert (request.workflow_id, request.workflow_name, request.workflow_version) == ("wf_1", name, version)
    assert encode(request.input) == encode(input)
    assert (request.protocol, request.mode, request.run, request.current_step) == (2, "advance", 1, 5)
    assert (request.attempt.number, request.attempt.max, request.attempt.last_error) == (3, 4, last_error)
    assert (request.idempotency_key, request.seed) == ("wf_1:1:5", "0123456789abcdef" * 2)
    assert (request.history.steps, request.history.bytes) == (len(records), 77)
    assert (request.started_at, request.deadline) == (run_started_at, NOON + timedelta(seconds=30))
    assert request.now == (to_milliseconds(last_position_at) if last_position_at else run_started_at)
    assert len(request.completed_steps) == len(records)
    for index, (sent, record) in enumerate(zip(request.completed_steps, records, strict=True)):
        assert sent.step_id == f"step_{index}"
        assert encode(sent.output) == record.output_json
        assert (sent.started_at, sent.completed_at) == (
            to_milliseconds(record.started_at),
            to_milliseconds(record.completed_at),
        )
        for field in ("key", "name", "kind", "status", "position", "duration_ms", "error", "retry_count"):
            assert getattr(sent, field) == getattr(record, field)
        assert (sent.final, sent.timed_out) == (record.final, record.timed_out)
        assert encode(sent.input) == (record.input_json or b"null")
        assert tuple(sent.depends_on) == record.depends_on
        notes = parse(record.notes_json or b"{}")
        assert (encode(sent.vars), sent.unset) == (encode(notes.get("vars")), notes.get("unset"))
        assert (sent.usage is None) == ("usage" not in notes)
        assert sent.usage is None or sent.usage.cost_usd == "0.25"


def test_numbers_stay_numbers_and_statuses_lower_case():
    body = parse(request_of(an_instance([a_record("a")], current_step=1)))
    assert body["current_step"] == 1
    assert body["completed_steps"][0]["status"] == "completed"
    assert body["attempt"] == {"number": 1, "max": 4}


def test_bytes_of_outputs_are_sent_as_they_were_stored():
    body = request_of(an_instance([replace(a_record("a"), output_json=b'{"z":1,"a":1.0}')]))
    assert b'"output":{"z":1,"a":1.0}' in body


def test_records_that_are_asked_for_again_cost_only_what_is_new():
    joined = JoinedRecords()
    first, second = a_record("a"), a_record("b")
    assert parse(joined.json(an_instance())) == []
    one = joined.json(an_instance([first]))
    assert one == b"[%b]" % record_json(first, 0)
    assert joined.json(an_instance([first])) == one
    assert joined.json(an_instance([first, second])) == b"[%b,%b]" % (record_json(first, 0), record_json(second, 1))


def test_a_repeated_turn_has_the_same_key_and_the_next_position_another():
    assert idempotency_key(an_instance(current_step=3)) == "wf_1:1:3"
    assert idempotency_key(an_instance(current_step=4, run=2)) == "wf_1:2:4"


def a_record(key):
    return Record(key=key, name=key, position=0, started_at=NOON, completed_at=NOON, duration_ms=0)


@given(name=NAMES, item=VALUES, error=st.none() | TEXTS)
@settings(max_examples=50)
def test_the_call_of_a_member_reads_as_it_was_meant(name, item, error):
    started = GroupStarted(
        at=NOON,
        kind="parallel",
        key="checks",
        name="checks",
        fail_fast=True,
        max_in_flight=2,
        members_json=encode([["other", None], [name, item]]),
    )
    instance = evolve(an_instance([], input={"a": 1}), started)
    if error is not None:
        failed = {"at": NOON, "started_at": NOON, "completed_at": NOON, "duration_ms": 1, "failures": 1}
        instance = evolve(instance, MemberAttemptFailed(index=1, error=error, retry_at=NOON, **failed))
    body = member_request_body(instance, instance.group, 1, b"[]", began_at=NOON, deadline=NOON + timedelta(seconds=30))
    request = parse_request(body)
    key = f"checks/{name}"
    assert request.mode == "run_step"
    assert request.member.model_dump() == {
        "group": "checks",
        "name": name,
        "key": key,
        "index": 1,
        "total": 2,
        "input": item,
    }
    assert request.attempt.model_dump() == {"number": 1 + (error is not None), "max": 4, "last_error": error}
    assert request.idempotency_key == member_idempotency_key(instance, instance.group, 1) == f"wf_1:1:{key}"
    assert (request.input, request.completed_steps, request.workflow_name) == ({"a": 1}, [], "order")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(variables=st.dictionaries(NAMES, VALUES, max_size=3), key=st.none() | NAMES, noted=st.integers(0, 99))
def test_what_the_run_began_with_reads_as_it_was_meant(*, variables, key, noted):
    instance = an_instance(run_vars=Variables().changed(variables), vars=Variables().changed({"later": 1}), noted=noted)
    instance = replace(instance, origin=replace(instance.origin, parent_id="wf_0", parent_key=key))
    request = parse_request(request_of(instance))
    assert (encode(request.vars), request.noted) == (encode(variables), noted)
    assert (request.parent.workflow_id, request.parent.key) == ("wf_0", key)


def test_what_version_1_does_not_have_is_left_out_while_there_is_nothing_to_say():
    body = parse(request_of(an_instance([a_record("a")])))
    assert not {"vars", "noted", "parent", "member"} & set(body)
    assert not {"input", "usage", "vars", "unset", "depends_on"} & set(body["completed_steps"][0])
    request = parse_request(request_of(an_instance()))
    assert (request.vars, request.noted, request.parent) == ({}, 0, None)


def test_the_next_run_is_asked_about_with_its_own_input_terms_start_and_seed():
    first = an_instance([a_record("a")], input={"run": 1}, version="1", run_started_at=NOON)
    joined = JoinedRecords()
    joined.json(first)
    continued = RunContinued(
        at=NOON + timedelta(hours=1),
        input_json=b'{"run":2}',
        version="2",
        policy=RetryPolicy(max_retries=8),
        step_timeout=timedelta(seconds=5),
    )
    second = evolve(first, continued)
    assert joined.json(second) == b"[]"
    request = parse_request(request_of(second))
    assert (request.run, request.input, request.workflow_version, request.attempt.max) == (2, {"run": 2}, "2", 9)
    assert request.started_at == request.now == NOON + timedelta(hours=1)
    assert request.seed == second.seed != first.seed
    assert (request.idempotency_key, request.current_step, request.completed_steps) == ("wf_1:2:0", 0, [])
    third = replace(second, records=Records([a_record("b")]))
    assert joined.json(third) == b"[%b]" % record_json(a_record("b"), 0)
