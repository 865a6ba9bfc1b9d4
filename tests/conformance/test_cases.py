"""The case files are well made: they refer to rules that exist and send what the engine could send."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from runner_protocol.conformance.cases import Case, CaseError, choose_cases, load_cases
from runner_protocol.conformance.expectation import MATCHERS
from runner_protocol.conformance.question import build_call
from runner_protocol.conformance.workflows import WORKFLOWS
from runner_protocol.messages import parse_request
from runner_protocol.schema import build_schema

PROTOCOL = Path(__file__).parents[2] / "runner_protocol" / "PROTOCOL.md"
WORKFLOWS_TEXT = Path(__file__).parents[2] / "runner_protocol" / "conformance" / "WORKFLOWS.md"
CASES = load_cases()
WITHOUT_A_CASE_YET = {
    "A10", "A11", "A12", "A13", "A14", "A8", "A9", "B1", "G1", "G2", "G3",
    "G4", "G5", "G6", "K6", "N1", "N2", "N3", "N4", "R14",
    "S1", "S10", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "W1", "W2",
}  # fmt: skip
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
        if turn.answer is not None:
            call = build_call(case, turn, "an-id")
            parse_request(call.body)
            Draft202012Validator(request_schema).validate(json.loads(call.body))


def test_every_case_refers_to_rules_of_the_specification_and_every_rule_of_a_runner_has_a_case() -> None:
    rules = set(RULE.findall(PROTOCOL.read_text()))
    referred = {rule for case in CASES for rule in case.rules}
    assert referred <= rules
    of_the_engine = {rule for rule in rules if rule[0] in "CDEFU"}
    assert rules - of_the_engine - referred == WITHOUT_A_CASE_YET


def test_every_case_has_a_workflow_that_is_described_and_implemented() -> None:
    described = set(re.findall(r"^### `([a-z.-]+)`", WORKFLOWS_TEXT.read_text(), re.MULTILINE))
    assert described == set(WORKFLOWS)
    assert {case.workflow for case in CASES} - {"conformance.nobody-has-this"} == described


def test_every_case_is_a_sentence_in_words_and_uses_known_matchers() -> None:
    for case in CASES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", case.name)
        assert not case.rule.endswith(".")
        for turn in case.turns:
            assert set(matchers([turn.answer, turn.status, turn.headers, turn.text])) <= MATCHERS


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


def test_the_plain_profile_is_a_part_of_the_kits() -> None:
    plain, kit = choose_cases(CASES, [], "plain"), choose_cases(CASES, [], "kit")
    assert kit == CASES
    assert {case.name for case in plain} < {case.name for case in kit}
    assert choose_cases(CASES, [kit[-1].name], "plain") == [kit[-1]]
