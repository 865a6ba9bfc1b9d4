"""Writes what became of the cases: lines for people, or one JSON object for programs."""

import json
from collections.abc import Iterator, Sequence

from runner_protocol.conformance.cases import Case
from runner_protocol.conformance.checker import Outcome


def list_lines(cases: Sequence[Case]) -> Iterator[str]:
    """One line a case: name, profile, rules, and the rule in words."""
    width = max((len(case.name) for case in cases), default=0)
    for case in cases:
        yield f"{case.name:<{width}}  {case.profile:<5}  {', '.join(case.rules):<8}  {case.rule}"


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """One line for a case that passed; for one that failed the rule, what was expected and what came."""
    case, problem = outcome.case, outcome.problem
    if problem is None:
        yield f"ok    {case.name}"
        return
    yield f"FAIL  {case.name}"
    yield f"      rule {', '.join(case.rules)}: {case.rule}"
    yield f"      turn {problem.turn} of {len(case.turns)}: {problem.say}"
    for wrong in problem.wrong:
        yield f"      - {wrong}"
    yield f"      sent: {problem.sent}"
    yield f"      came: {problem.came}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """The last line: how many passed and how many failed."""
    passed = sum(outcome.has_passed for outcome in outcomes)
    return f"{passed} passed, {len(outcomes) - passed} failed"


def as_json(url: str, outcomes: Sequence[Outcome]) -> str:
    """One object with the counts and, for each case, its rules and what was wrong."""
    passed = sum(outcome.has_passed for outcome in outcomes)
    report = {
        "url": url,
        "passed": passed,
        "failed": len(outcomes) - passed,
        "cases": [_case_as_json(outcome) for outcome in outcomes],
    }
    return json.dumps(report, indent=2, ensure_ascii=False)


def _case_as_json(outcome: Outcome) -> dict[str, object]:
    case, problem = outcome.case, outcome.problem
    described: dict[str, object] = {
        "name": case.name,
        "profile": case.profile,
        "rules": list(case.rules),
        "rule": case.rule,
        "passed": outcome.has_passed,
    }
    if problem is not None:
        described["problem"] = {
            "turn": problem.turn,
            "say": problem.say,
            "wrong": list(problem.wrong),
            "sent": problem.sent,
            "came": problem.came,
        }
    return described
