"""`schema.json` says what the messages say, and is not stale."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]

from runner_protocol import schema
from runner_protocol.conformance.cases import load_cases
from runner_protocol.conformance.question import build_call
from runner_protocol.messages import MalformedMessageError, parse_action, parse_request

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
