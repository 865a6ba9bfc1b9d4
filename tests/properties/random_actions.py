"""Actions as a runner might answer them, drawn by hypothesis: few names and keys, so that they meet each other."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from runner_protocol.messages import (
    Approval,
    Complete,
    Defer,
    Diverged,
    ErrorDetail,
    Fail,
    LogLine,
    Map,
    Member,
    Parallel,
    Progress,
    Sleep,
    StartChild,
    StepComplete,
    StepSkip,
    StepStart,
    Usage,
    WaitEvent,
)

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

NAMES = st.sampled_from(["a", "b", "a#2", "sleep", "event:x", 'é\n"', "unknown"])
KEYS = st.none() | st.sampled_from(["a", "a#2", "a#3", "b", "sleep", "sleep:nap", "event:x", "k"])
EVENTS = st.sampled_from(["x", "y"])
VALUES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8"), max_size=5)
)
OUTPUTS = VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.sampled_from(["k", "l"]), VALUES, max_size=2)
SECONDS = st.sampled_from([0, 0.001, 1, 59.9, 60, 3600]) | st.floats(0, 10_000)
DURATIONS = SECONDS.map(lambda seconds: timedelta(seconds=seconds))
ERRORS = (
    st.none()
    | st.text(st.characters(codec="utf-8"), max_size=4)
    | st.builds(ErrorDetail, message=st.just("bad"), data=OUTPUTS)
)

COSTS = st.sampled_from(["0", "0.1", "0.000000000000000001", "999999999999999.999999999999999999", "7"])
USAGES = st.builds(Usage, cost_usd=COSTS, input_tokens=st.integers(0, 9))
MATCHES = st.dictionaries(st.sampled_from(["k", "l", "k.l"]), VALUES, max_size=1)

NOTES = {
    "vars": st.none() | st.dictionaries(st.sampled_from(["v", "w"]), OUTPUTS, max_size=2),
    "unset": st.none() | st.lists(st.sampled_from(["v", "w"]), max_size=1),
    "usage": st.none() | USAGES,
    "progress": st.none() | st.builds(Progress, percent=st.floats(0, 100)),
    "logs": st.none() | st.just([LogLine(at=BEGINNING, message="line")]),
    "noted": st.none() | st.integers(0, 3),
}
NO_NOTES = dict.fromkeys(NOTES, st.none())
RECORDING = {"key": KEYS, "after": st.none() | st.integers(0, 3)}


def acts(action, /, **fields):
    """Actions of that kind, half of them without notes."""
    return st.builds(action, **fields, **NO_NOTES) | st.builds(action, **fields, **NOTES)


COMPLETIONS = acts(
    StepComplete,
    step_name=st.none() | NAMES,
    output=OUTPUTS,
    kind=st.sampled_from(["step", "shell"]),
    input=st.none() | OUTPUTS,
    duration_ms=st.none() | st.floats(0, 1e300),
    **RECORDING,
)
FAILURES = acts(
    Fail,
    step_name=st.none() | NAMES,
    error=ERRORS,
    retryable=st.booleans(),
    retry_after=st.none() | DURATIONS,
    max_retries=st.none() | st.integers(0, 3),
    on_exhausted=st.none() | st.just("throw"),
    **RECORDING,
)
ITEMS = st.lists(OUTPUTS, min_size=1, max_size=4) | st.just([])
GROUPS = st.one_of(
    acts(
        Map,
        name=NAMES,
        items=st.lists(OUTPUTS, min_size=1, max_size=4) | st.just([]),
        fail_fast=st.booleans(),
        **RECORDING,
    ),
    acts(
        Parallel,
        name=NAMES,
        members=st.lists(st.builds(Member, name=NAMES, input=OUTPUTS), max_size=3, unique_by=lambda each: each.name),
        fail_fast=st.booleans(),
        **RECORDING,
    ),
)
ACTIONS = st.one_of(
    COMPLETIONS,
    FAILURES,
    acts(StepSkip, step_name=st.none() | NAMES, reason=NAMES, **RECORDING),
    acts(
        Sleep,
        duration=SECONDS.map(lambda seconds: f"{seconds:.3f}s"),
        name=st.none() | NAMES,
        **RECORDING,
    ),
    acts(Sleep, until=SECONDS.map(lambda seconds: BEGINNING + timedelta(seconds=seconds)), **RECORDING),
    acts(
        WaitEvent,
        event=EVENTS,
        timeout=st.none() | DURATIONS,
        on_timeout=st.sampled_from(["return", "fail"]),
        match=st.none() | MATCHES,
        **RECORDING,
    ),
    acts(
        Approval,
        name=NAMES,
        timeout=st.none() | DURATIONS,
        on_timeout=st.sampled_from(["reject", "fail"]),
        **RECORDING,
    ),
    GROUPS,
    st.builds(StepStart, key=st.just("k"), timeout=DURATIONS),
    st.builds(Defer, retry_after=DURATIONS),
)
CHILDREN = acts(
    StartChild,
    name=NAMES,
    workflow=NAMES,
    wait=st.booleans(),
    on_parent_close=st.sampled_from(["cancel", "abandon"]),
    **RECORDING,
)
MEMBERS_ANSWERS = st.one_of(
    st.builds(StepComplete, output=OUTPUTS, **{name: NOTES[name] for name in ("vars", "usage")}),
    st.builds(Fail, error=ERRORS, retryable=st.booleans(), retry_after=st.none() | DURATIONS, usage=NOTES["usage"]),
    st.just("timed out after 30 s"),
    st.builds(Defer, retry_after=DURATIONS),
    st.builds(Diverged, position=st.integers(0, 9), expected=NAMES, got=NAMES),
    st.builds(StepComplete, key=KEYS, noted=st.none() | st.just(1)),
    st.builds(Complete),
)
RARE_ACTIONS = st.one_of(
    acts(Complete, output=OUTPUTS),
    st.builds(Diverged, position=st.integers(0, 9), expected=NAMES, got=NAMES),
)
