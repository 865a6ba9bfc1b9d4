"""The case files are well made: they refer to rules that exist and send what the engine could send."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from runner_protocol.conformance.cases import Case, CaseError, Profile, choose_cases, load_cases
from runner_protocol.conformance.expectation import MATCHERS
from runner_protocol.conformance.question import build_call
from runner_protocol.conformance.workflows import VERSIONS, WORKFLOWS
from runner_protocol.messages import parse_request
from runner_protocol.schema import build_schema

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ROOT = Path(__file__).parents[2]
PROTOCOL = ROOT / "runner_protocol" / "PROTOCOL.md"
WORKFLOWS_TEXT = ROOT / "runner_protocol" / "conformance" / "WORKFLOWS.md"
CASES = load_cases()
RULE = re.compile(r"^\*\*([A-Z]\d+)\*\*", re.MULTILINE)


def matchers(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (key for key in value if key.startswith("$"))
        for member in value.values():
            yield from matchers(member)
    elif isinstance(value, list):
        for member in value:
            yield from matchers(member)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_case_sends_is_what_the_engine_could_send(case: Case) -> None:
    """But for the turns that expect a refusal."""
    request_schema = {**build_schema(), "$ref": "#/$defs/TurnRequest"}
    del request_schema["anyOf"]
    for turn in case.turns:
        if turn.answer is not None or turn.lines is not None:
            call = build_call(case, turn, "an-id", SECRET)
            parse_request(call.body)
            Draft202012Validator(request_schema).validate(json.loads(call.body))


def test_every_case_refers_to_rules_of_the_specification_and_every_rule_of_a_runner_has_a_case() -> None:
    rules = set(RULE.findall(PROTOCOL.read_text()))
    referred = {rule for case in CASES for rule in case.rules}
    assert referred <= rules
    of_the_engine = {rule for rule in rules if rule[0] in "CDEFU"}
    assert rules - of_the_engine - referred == set()


def test_every_case_has_a_workflow_that_is_described_and_implemented() -> None:
    described = set(re.findall(r"^### `([a-z.-]+)`", WORKFLOWS_TEXT.read_text(), re.MULTILINE))
    assert described == {*WORKFLOWS, *VERSIONS}
    assert {case.workflow for case in CASES} - {"conformance.nobody-has-this"} == described


def test_every_case_is_a_sentence_in_words_and_uses_known_matchers() -> None:
    for case in CASES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", case.name)
        assert not case.rule.endswith(".")
        for turn in case.turns:
            expected = [turn.answer, turn.lines, turn.description, turn.status, turn.headers, turn.text]
            assert set(matchers(expected)) <= MATCHERS


def test_a_misspelt_field_of_a_case_is_an_error(tmp_path: Path) -> None:
    turn = {"say": "it is asked", "anwser": {"action": "complete"}}
    case = {"rule": "r", "rules": ["T1"], "profile": "kit", "workflow": "w", "turns": [turn]}
    (tmp_path / "misspelt.json").write_text(json.dumps(case))
    with pytest.raises(CaseError, match=r"(?s)misspelt\.json.*anwser"):
        load_cases(tmp_path)


@pytest.mark.parametrize("record", [{}, {"step": "a", "sleep": "1h"}])
def test_a_record_that_is_not_of_one_kind_is_an_error(tmp_path: Path, record: dict[str, str]) -> None:
    turn = {"say": "it is asked", "records": [record], "status": 200}
    case = {"rule": "r", "rules": ["T1"], "profile": "kit", "workflow": "w", "turns": [turn]}
    (tmp_path / "odd.json").write_text(json.dumps(case))
    with pytest.raises(CaseError, match="exactly one of"):
        load_cases(tmp_path)


def test_a_turn_that_expects_nothing_is_an_error(tmp_path: Path) -> None:
    case = {"rule": "r", "rules": ["T1"], "profile": "kit", "workflow": "w", "turns": [{"say": "it is asked"}]}
    (tmp_path / "idle.json").write_text(json.dumps(case))
    with pytest.raises(CaseError, match="expects an answer or a status"):
        load_cases(tmp_path)


def test_each_profile_is_a_part_of_the_next() -> None:
    plain, kit, stream = (choose_cases(CASES, [], profile) for profile in get_args(Profile))
    assert stream == [case for case in CASES if not case.is_signed]
    assert choose_cases(CASES, [], "stream", is_signed=True) == CASES
    assert {case.name for case in plain} < {case.name for case in kit} < {case.name for case in stream}
    assert choose_cases(CASES, [stream[-1].name], "plain") == [stream[-1]]


def test_the_cases_of_replays_after_suspensions_are_those_of_the_tool() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "replay_cases.py", "--check"], check=False)
    assert done.returncode == 0
