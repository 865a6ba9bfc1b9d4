"""Each wrong runner fails exactly the cases written beside it, and each case is failed by one of them.

A case that no runner fails proves nothing. Two sorts of cases are played to some runners only, for there are many of
them or they take their time: those of replays after suspensions (R14), and those that wait.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch

import pytest

from runner_protocol.conformance.cases import Case, load_cases
from runner_protocol.conformance.checker import check, play

from .front import SECRET, Front
from .in_process import Loop
from .wrong import (
    Wrong,
    divergence,
    facts,
    failures,
    helpers,
    hooks,
    keys,
    make_front,
    members,
    notes,
    replays,
    signatures,
    steps,
    streams,
    suspensions,
    transport,
    wrong_runners,
)

ALL = load_cases()
REPLAYS = [case for case in ALL if "R14" in case.rules]
WAITING = [case for case in ALL if any(turn.after_s for turn in case.turns)]
CASES = [case for case in ALL if case not in REPLAYS and case not in WAITING]
MODULES = (
    transport,
    signatures,
    keys,
    steps,
    failures,
    suspensions,
    divergence,
    facts,
    helpers,
    hooks,
    notes,
    members,
    streams,
)
WRONG = [wrong for module in MODULES for wrong in wrong_runners(module)]
AT_ONCE = 8


def failed_of(cases: Iterable[Case], wrong: Wrong, loop: Loop) -> set[str]:
    """The cases that the runner fails; each is played to a runner of its own."""

    def has_failed(case: Case) -> str | None:
        return case.name if play(case, loop.exchange_with(make_front(wrong).reply), SECRET) else None

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return {name for name in threads.map(has_failed, cases) if name}


def test_the_reference_runner_passes_every_case(loop: Loop) -> None:
    outcomes = check(ALL, loop.exchange_with(make_front(Front).reply), SECRET)
    assert [outcome.case.name for outcome in outcomes if not outcome.has_passed] == []


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_runner_fails_the_cases_written_beside_it(loop: Loop, wrong: Wrong) -> None:
    assert failed_of([case for case in CASES if case.name in wrong.fails], wrong, loop) == wrong.fails


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_runner_fails_no_other_case(loop: Loop, wrong: Wrong) -> None:
    assert failed_of([case for case in CASES if case.name not in wrong.fails], wrong, loop) == set()


@pytest.mark.parametrize("wrong", replays.FORGETFUL, ids=lambda wrong: wrong.__name__)
def test_a_runner_that_forgets_one_kind_behind_another_fails_the_case_of_the_two(loop: Loop, wrong: Wrong) -> None:
    (case,) = wrong.fails
    first, second = case.split("-is-replayed-after-")
    near = [case for case in REPLAYS if fnmatch(case.name, f"{first}-is-*") or fnmatch(case.name, f"*-after-{second}")]
    assert failed_of(near, wrong, loop) == wrong.fails


def test_a_runner_that_takes_the_records_of_one_run_for_those_of_the_next_fails(loop: Loop) -> None:
    next_runs = {case.name for case in ALL if case.name.endswith("-is-done-anew-in-the-next-run")}
    assert len(next_runs) == len(replays.KINDS)
    assert failed_of(REPLAYS, replays.NeverForgets, loop) == next_runs


@pytest.mark.parametrize("wrong", [streams.GoesOnWithoutACaller], ids=lambda wrong: wrong.__name__)
def test_a_runner_that_goes_on_without_a_caller_fails_the_case_that_waits(loop: Loop, wrong: Wrong) -> None:
    assert failed_of(WAITING, wrong, loop) == {"without-a-caller-no-step-begins"}


def test_every_case_is_failed_by_a_wrong_runner() -> None:
    provable = frozenset().union(*(wrong.fails for wrong in WRONG))
    assert {case.name for case in CASES} == provable
