"""`schema.json` says what the messages say, and is not stale."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]

from runner_protocol import schema
from runner_protocol.conformance.cases import load_cases
from runner_protocol.conformance.question import build_call
from runner_protocol.messages import (
    DESCRIBE_REQUEST,
    MalformedMessageError,
    parse_action,
    parse_description,
    parse_question,
    parse_request,
)

ACTIONS: list[dict[str, Any]] = [
    {"action": "step_complete", "step_name": "charge", "output": {"id": "ch_1"}, "duration_ms": 120},
    {"action": "step_complete", "key": "a", "started_at": "2026-01-01T00:00:00Z", "later": True},
    {"action": "sleep", "duration": "24h"},
    {"action": "sleep", "duration": 90, "name": "launch", "key": "sleep:launch"},
    {"action": "wait_event", "event": "paid", "timeout": "3d", "on_timeout": "return"},
    {"action": "complete"},
    {"action": "fail", "error": {"message": "declined", "code": 7}, "on_exhausted": "throw"},
    {"action": "fail", "error": "declined", "retryable": False, "retry_after": "30s", "max_retries": 5},
    {"action": "defer", "retry_after": "5s", "reason": "not yet"},
    {"action": "diverged", "position": 2, "expected": "charge", "got": "email"},
    {"action": "step_complete", "kind": "http", "input": {"url": "u"}, "after": 3, "noted": 1, "vars": {"a": None}},
    {"action": "step_complete", "usage": {"cost_usd": "0.01"}, "progress": {"percent": 1}, "unset": ["b"]},
    {"action": "step_start", "step_name": "render", "key": "render", "timeout": "10m"},
    {"action": "step_skip", "step_name": "remind", "reason": "done"},
    {"action": "sleep", "until": "2026-12-01T09:00:00Z"},
    {"action": "wait_event", "event": "paid", "match": {"a.b": [1]}, "correlation": "c", "on_timeout": "fail"},
    {"action": "approval", "name": "gate", "data": {}, "timeout": "2d", "on_timeout": "fail"},
    {"action": "parallel", "name": "checks", "members": [{"name": "lint"}], "max_in_flight": 1},
    {"action": "map", "name": "resize", "items": [1, None], "fail_fast": False},
    {"action": "start_child", "name": "ship", "workflow": "shipping", "wait": False, "on_parent_close": "abandon"},
    {"action": "continue_as_new", "input": {"cursor": 900}},
]
NO_ACTIONS: list[Any] = [
    {},
    [],
    {"output": 1},
    {"action": "dance"},
    {"action": "sleep"},
    {"action": "wait_event"},
    {"action": "wait_event", "event": ""},
    {"action": "wait_event", "event": "paid", "on_timeout": "throw"},
    {"action": "wait_event", "event": "paid", "match": ["order"]},
    {"action": "step_complete", "duration_ms": -1},
    {"action": "step_complete", "vars": ["a"]},
    {"action": "fail", "max_retries": 1.5},
    {"action": "fail", "retryable": "no"},
    {"action": "diverged", "position": -1, "expected": "a", "got": "b"},
    {"action": "diverged", "expected": "a", "got": "b"},
    {"action": "step_complete", "after": -1},
    {"action": "step_complete", "usage": {"cost_usd": 0.1}},
    {"action": "step_complete", "progress": {"percent": 101}},
    {"action": "step_start", "timeout": "10m"},
    {"action": "approval", "name": "gate", "on_timeout": "approve"},
    {"action": "parallel", "name": "checks", "members": ["lint"]},
    {"action": "map", "name": "resize", "items": {"a": 1}},
    {"action": "map", "name": "resize", "items": [], "max_in_flight": 0},
    {"action": "start_child", "name": "ship"},
    {"action": "start_child", "name": "ship", "workflow": "shipping", "id": "a/b"},
]
DESCRIPTIONS: list[dict[str, Any]] = [
    {"action": "description", "workflows": []},
    {"action": "description", "protocol": 2, "kit": "k", "workflows": [{"name": "a", "version": None}]},
]
NO_DESCRIPTIONS: list[Any] = [
    {"action": "complete"},
    {"action": "description"},
    {"action": "description", "workflows": [{"version": "1"}]},
    {"action": "description", "workflows": [{"name": "a", "max_retries": -1}]},
]


def validator(message: str) -> Draft202012Validator:
    built = json.loads(schema.SCHEMA_PATH.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(built)
    return Draft202012Validator({"$defs": built["$defs"], "$ref": f"#/$defs/{message}"})


def test_the_file_is_what_the_messages_say_now(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("action", ACTIONS, ids=json.dumps)
def test_a_proper_action_fits_the_schema_and_the_messages(action: dict[str, Any]) -> None:
    parse_action(json.dumps(action).encode())
    validator("Action").validate(action)


@pytest.mark.parametrize("action", NO_ACTIONS, ids=json.dumps)
def test_what_is_no_action_fits_neither(action: Any) -> None:
    with pytest.raises(MalformedMessageError):
        parse_action(json.dumps(action).encode())
    with pytest.raises(ValidationError):
        validator("Action").validate(action)


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=json.dumps)
def test_a_description_fits_the_schema_and_the_messages(description: dict[str, Any]) -> None:
    parse_description(json.dumps(description).encode())
    validator("Description").validate(description)


@pytest.mark.parametrize("description", NO_DESCRIPTIONS, ids=json.dumps)
def test_what_is_no_description_fits_neither(description: Any) -> None:
    with pytest.raises(MalformedMessageError):
        parse_description(json.dumps(description).encode())
    with pytest.raises(ValidationError):
        validator("Description").validate(description)


def test_the_question_for_a_description_fits_the_schema_and_the_messages() -> None:
    assert parse_question(DESCRIBE_REQUEST) is None
    validator("DescribeRequest").validate(json.loads(DESCRIBE_REQUEST))
    with pytest.raises(ValidationError):
        validator("DescribeRequest").validate({"mode": "advance"})


@pytest.mark.parametrize("field", ["workflow_id", "completed_steps", "seed"])
def test_a_request_without_a_field_fits_neither(field: str) -> None:
    case = load_cases()[0]
    request = json.loads(build_call(case, case.turns[0], "an-id").body)
    del request[field]
    with pytest.raises(MalformedMessageError):
        parse_request(json.dumps(request).encode())
    with pytest.raises(ValidationError):
        validator("TurnRequest").validate(request)


def test_a_stale_file_is_found_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "SCHEMA_PATH", tmp_path / "schema.json")
    assert schema.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert schema.main(["--write"]) == 0
    assert schema.main(["--check"]) == 0


def test_wrong_usage_is_answered_by_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main(["--what"]) == 2
    assert "--check | --write" in capsys.readouterr().err
