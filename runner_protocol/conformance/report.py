"""Writes what became of the cases: lines for people, or one JSON object for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence

from runner_protocol.conformance.cases import Case
from runner_protocol.conformance.checker import Outcome


def list_lines(cases: Sequence[Case]) -> Iterator[str]:
    """One line a case: name, profile, rules, and the rule in words."""
    width = max((len(case.name) for case in cases), default=0)
    for case in cases:
        yield f"{case.name:<{width}}  {case.profile:<6}  {', '.join(case.rules):<8}  {case.rule}"


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


def matrix(found: Mapping[str, Sequence[Outcome]]) -> str:
    """Which runner keeps which rule, as a page in Markdown: a column a runner, a row a case that any of them played."""
    by_runner = {runner: {outcome.case.name: outcome for outcome in outcomes} for runner, outcomes in found.items()}
    cases = {outcome.case.name: outcome.case for outcomes in found.values() for outcome in outcomes}
    runners = list(found)
    lines = [
        "# Conformance",
        "",
        "What `make conformance` finds: each runner of this repository against the cases of",
        "[runner_protocol/conformance](runner_protocol/conformance/WORKFLOWS.md), over HTTP. The rules are those of",
        "[PROTOCOL.md](runner_protocol/PROTOCOL.md). A dash: the case does not concern the runner, which has no kit",
        "or does one step a turn, or was not started with a secret.",
        "",
        f"| case | rules | {' | '.join(runners)} |",
        f"|---|---|{'---|' * len(runners)}",
        f"| **all that concern it** | | {' | '.join(_count(found[runner]) for runner in runners)} |",
    ]
    for name, case in sorted(cases.items()):
        cells = [_cell(by_runner[runner].get(name)) for runner in runners]
        lines.append(f"| {name} | {', '.join(case.rules)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _count(outcomes: Sequence[Outcome]) -> str:
    return f"{sum(outcome.has_passed for outcome in outcomes)} of {len(outcomes)}"


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return "-"
    return "yes" if outcome.has_passed else "**no**"
