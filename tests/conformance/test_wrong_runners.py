"""Each wrong runner fails exactly the cases written beside it, and each case is failed by one of them.

A case that no runner fails proves nothing.
"""

import pytest

from runner_protocol.conformance.cases import load_cases
from runner_protocol.conformance.checker import check, play

from .front import Front
from .in_process import Loop
from .wrong import Wrong, divergence, facts, failures, keys, make_front, steps, suspensions, transport, wrong_runners

CASES = load_cases()
MODULES = (transport, keys, steps, failures, suspensions, divergence, facts)
WRONG = [wrong for module in MODULES for wrong in wrong_runners(module)]


def test_the_reference_runner_passes_every_case(loop: Loop) -> None:
    outcomes = check(CASES, loop.exchange_with(Front().reply))
    assert [outcome.case.name for outcome in outcomes if not outcome.has_passed] == []


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_runner_fails_exactly_the_cases_written_beside_it(loop: Loop, wrong: Wrong) -> None:
    failed = {case.name for case in CASES if play(case, loop.exchange_with(make_front(wrong).reply))}
    assert failed == wrong.fails


def test_every_case_is_failed_by_a_wrong_runner() -> None:
    provable = frozenset().union(*(wrong.fails for wrong in WRONG))
    assert {case.name for case in CASES} == provable
