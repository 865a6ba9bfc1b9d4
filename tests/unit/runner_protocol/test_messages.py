"""The messages: what is taken, what is refused, and what a refusal says (PROTOCOL.md sections 1, 2 and 4)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playing import completed, request_for

from runner_protocol.fields import MAX_KEY_LENGTH, MAX_NAME_LENGTH, format_timestamp, parse_timestamp
from runner_protocol.messages import (
    Action,
    Complete,
    Defer,
    Diverged,
    ErrorDetail,
    Fail,
    MalformedMessageError,
    NotJsonMessageError,
    Sleep,
    StepComplete,
    StepRecord,
    WaitEvent,
    encode_message,
    parse_action,
    parse_request,
    read_action,
)
from runner_protocol.strict_json import MAX_DEPTH

AT = datetime(2026, 12, 1, 9, 0, 0, 123_000, tzinfo=UTC)

ACTIONS: list[tuple[dict[str, Any], Action]] = [
    ({"action": "step_complete"}, StepComplete()),
    (
        {
            "action": "step_complete",
            "step_name": "charge",
            "key": "charge#2",
            "output": {"id": 1},
            "started_at": "2026-12-01T09:00:00.123Z",
            "completed_at": "2026-12-01T09:00:00.123Z",
            "duration_ms": 1.5,
        },
        StepComplete(
            step_name="charge", key="charge#2", output={"id": 1}, started_at=AT, completed_at=AT, duration_ms=1.5
        ),
    ),
    ({"action": "sleep", "duration": "24h"}, Sleep(duration="24h")),
    ({"action": "wait_event", "event": "paid"}, WaitEvent(event="paid")),
    (
        {"action": "wait_event", "event": "paid", "key": "event:paid", "timeout": "3d"},
        WaitEvent(event="paid", key="event:paid", timeout=timedelta(days=3)),
    ),
    ({"action": "complete", "output": [1]}, Complete(output=[1])),
    ({"action": "fail", "error": "declined"}, Fail(error="declined")),
    (
        {"action": "fail", "key": "a", "retryable": False, "retry_after": "30s", "max_retries": 5},
        Fail(key="a", retryable=False, retry_after=timedelta(seconds=30), max_retries=5),
    ),
    (
        {"action": "fail", "error": {"type": "E", "message": "no", "code": 3, "stack": "..."}, "on_exhausted": "throw"},
        Fail(error=ErrorDetail(type="E", message="no", code=3, stack="..."), on_exhausted="throw"),
    ),
    (
        {"action": "defer", "retry_after": "5s", "reason": "busy"},
        Defer(retry_after=timedelta(seconds=5), reason="busy"),
    ),
    (
        {"action": "diverged", "position": 2, "expected": "a", "got": "b"},
        Diverged(position=2, expected="a", got="b"),
    ),
]


@pytest.mark.parametrize(("written", "meant"), ACTIONS)
def test_an_action_is_read_and_written(written: dict[str, Any], meant: Action) -> None:
    body = json.dumps(written).encode()
    assert parse_action(body) == read_action(written) == meant
    assert json.loads(encode_message(meant)) == written


def test_a_default_that_is_spelt_out_is_the_same_action() -> None:
    assert parse_action(b'{"action":"fail","retryable":true,"error":null,"vars":null}') == Fail()
    assert parse_action(b'{"action":"sleep","duration":90}') == Sleep(duration="90")
    assert Sleep(duration=timedelta(hours=1)) == Sleep(duration="1h")  # type: ignore[arg-type]


def test_unknown_fields_are_ignored() -> None:
    assert parse_action(b'{"action":"complete","output":1,"newer":{"percent":3},"new":[]}') == Complete(output=1)


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (Fail(), "Unknown error"),
        (Fail(error="declined"), "declined"),
        (Fail(error=ErrorDetail()), "Unknown error"),
        (Fail(error=ErrorDetail(message="declined", data={"a": 1})), "declined"),
    ],
)
def test_an_error_has_one_sentence(fail: Fail, message: str) -> None:
    assert fail.message == message


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("[]", "the message is no JSON object"),
        ("null", "the message is no JSON object"),
        ("{}", "action: the field is missing"),
        ('{"action":"jump"}', "action: 'jump' is no action that this release knows"),
        ('{"action":3}', "action: '3' is no action"),
        ('{"action":"sleep"}', "the message: either a duration or an until is needed, and not both"),
        ('{"action":"sleep","duration":"soon"}', "duration: 'soon' is no duration"),
        ('{"action":"sleep","duration":[]}', "duration: should be a duration"),
        ('{"action":"sleep","duration":1,"until":"2026-12-01T09:00:00Z"}', "the message: either a duration or"),
        ('{"action":"sleep","duration":-1}', "duration: a duration must not be negative"),
        ('{"action":"sleep","duration":true}', "duration: a duration is a text"),
        ('{"action":"wait_event","event":""}', "event: String should have at least 1 character"),
        ('{"action":"wait_event","event":"e","timeout":[]}', "timeout: should be a duration"),
        ('{"action":"wait_event","event":"e","on_timeout":"explode"}', "on_timeout: Input should be"),
        ('{"action":"wait_event","event":"e","match":[]}', "match: Input should be a valid dictionary"),
        ('{"action":"complete","vars":[1]}', "vars: Input should be a valid dictionary"),
        ('{"action":"complete","usage":{"cost_usd":0.1}}', "usage.cost_usd: Input should be a valid string"),
        ('{"action":"step_complete","kind":"map"}', "kind: 'map' is what another action records"),
        ('{"action":"step_complete","duration_ms":-1}', "duration_ms: Input should be greater than or equal to 0"),
        ('{"action":"step_complete","duration_ms":"1"}', "duration_ms: Input should be a valid number"),
        ('{"action":"step_complete","started_at":1}', "started_at: should be an RFC 3339 time"),
        ('{"action":"step_complete","started_at":"2026-12-01"}', "started_at: should be an RFC 3339 time"),
        ('{"action":"step_complete","started_at":"2026-13-01T00:00:00Z"}', "started_at: month must be in 1..12"),
        ('{"action":"step_complete","step_name":"%s"}' % ("n" * 129), "step_name: String should have at most 128"),
        ('{"action":"fail","max_retries":1.5}', "max_retries: Input should be a valid integer"),
        ('{"action":"fail","max_retries":true}', "max_retries: Input should be a valid integer"),
        ('{"action":"fail","retryable":"no"}', "retryable: Input should be a valid boolean"),
        ('{"action":"fail","kind":"child"}', "kind: 'child' is what another action records"),
        ('{"action":"fail","kind":"%s"}' % ("n" * 129), "kind: String should have at most 128"),
        ('{"action":"fail","kind":null}', "kind: Input should be a valid string"),
        ('{"action":"fail","error":3}', "error.str: Input should be a valid string"),
        ('{"action":"diverged","position":-1,"expected":"a","got":"b"}', "position: Input should be greater"),
        ('{"action":"complete","output":NaN}', "NaN is not JSON"),
        ('{"action":"complete","action":"complete"}', "stands twice"),
    ],
)
def test_what_is_no_proper_action_is_refused_and_the_field_named(body: str, sentence: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        parse_action(body.encode())
    assert str(caught.value).startswith(sentence) or sentence in str(caught.value).partition(";")[0]
    assert "; the body begins " in str(caught.value)
    assert not isinstance(caught.value, NotJsonMessageError)


def test_what_is_no_json_is_told_apart() -> None:
    with pytest.raises(NotJsonMessageError, match=r"not JSON.*the body begins '<html>'"):
        parse_action(b"<html>")


def test_only_the_beginning_of_a_body_is_shown() -> None:
    with pytest.raises(MalformedMessageError) as caught:
        parse_action(b'{"action":"jump","x":"' + b"\xc3\xa9" * 1000 + b'"}')
    assert len(str(caught.value)) < 500


def test_an_action_that_never_was_text_shows_no_body() -> None:
    with pytest.raises(MalformedMessageError) as caught:
        read_action({"action": "sleep"})
    assert str(caught.value) == "the message: either a duration or an until is needed, and not both"


def test_a_key_may_be_longer_than_a_name() -> None:
    key = "sleep:" + "n" * MAX_NAME_LENGTH + "#1000"
    assert read_action({"action": "step_complete", "key": key}) == StepComplete(key=key)
    with pytest.raises(MalformedMessageError, match="key"):
        read_action({"action": "step_complete", "key": "k" * (MAX_KEY_LENGTH + 1)})


def test_depth_is_counted_from_the_value_and_not_from_the_envelope() -> None:
    def deep(depth: int) -> str:
        return "[" * depth + "]" * depth

    assert parse_action(f'{{"action":"complete","output":{deep(MAX_DEPTH)}}}'.encode())
    with pytest.raises(MalformedMessageError, match="nested deeper"):
        parse_action(f'{{"action":"complete","output":{deep(MAX_DEPTH + 1)}}}'.encode())
    records = completed(("a", json.loads(deep(MAX_DEPTH))))
    assert parse_request(json.dumps(request_for("deep", records)).encode())


def test_a_request_is_read_and_written() -> None:
    written = request_for("order", completed(("a", 1)), {"n": 1})
    request = parse_request(json.dumps(written).encode())
    assert request.completed_steps[0] == StepRecord.model_validate(written["completed_steps"][0])
    assert parse_request(encode_message(request)) == request
    assert request.started_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_request_that_is_none_is_refused() -> None:
    with pytest.raises(MalformedMessageError, match="no JSON object"):
        parse_request(b"[]")
    with pytest.raises(MalformedMessageError, match="current_step: Input should be a valid integer"):
        parse_request(json.dumps(request_for("order", current_step="0")).encode())
    with pytest.raises(NotJsonMessageError):
        parse_request(b"")


@pytest.mark.parametrize(
    "written",
    [
        "2026-12-01T09:00:00.123Z",
        "2026-12-01T09:00:00.123456789Z",
        "2026-12-01t09:00:00.123z",
        "2026-12-01 09:00:00.123+00:00",
        "2026-12-01T10:30:00.123+01:30",
    ],
)
def test_a_time_is_read_whatever_its_offset(written: str) -> None:
    assert format_timestamp(parse_timestamp(written)) == "2026-12-01T09:00:00.123Z"


def test_a_time_that_was_read_already_stays() -> None:
    assert parse_timestamp(AT) is AT


@pytest.mark.parametrize("written", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_utc_cannot_hold_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="between the years 1 and 9999"):
        parse_timestamp(written)
