"""Whatever an instance waits for and whatever has come, it can be said why it does not go on."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pylon_workflows.api.explanation_view import ExplanationAnswer, explanation_json
from pylon_workflows.cli.why import lines
from pylon_workflows.core.commands import ApplyAction, DeliverEvent
from pylon_workflows.core.decider import decide
from pylon_workflows.core.deciding.matching import matches, mismatches
from pylon_workflows.core.evolution import replay
from pylon_workflows.core.instance import Status
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import InstanceStarted
from pylon_workflows.explain.reasons import explained
from pylon_workflows.explain.shapes import Driving, Facts, KeptEvent, Reason
from pylon_workflows.ownership.live_requests import _EXPLANATION
from pylon_workflows.published import KeptUnder
from runner_protocol.messages import WaitEvent
from runner_protocol.strict_json import encode_parsed, parse

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
PARTS = st.sampled_from(["a", "b", "0", "1", "", "é", "\x1b[2J"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0]) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PARTS, inner, max_size=3),
    max_leaves=6,
)
MATCHES = st.dictionaries(st.lists(PARTS, min_size=1, max_size=3).map(".".join).filter(bool), VALUES, max_size=3)
NAMES = st.sampled_from(["paid", "Paid", "payed", "it's\npaid", "hook:psp"])
EVENTS = st.lists(st.tuples(NAMES, VALUES), max_size=15)


def waiting(event: str, match: dict[str, Any], correlation: str | None, inbox: list[tuple[str, Any]]) -> Any:
    started = InstanceStarted(
        at=BEGINNING, id="a", name="order", version=None, input_json=b"{}", idempotency_key=None, seed="0" * 32,
        policy=RetryPolicy(), step_timeout=timedelta(seconds=30),
    )  # fmt: skip
    history: list[Any] = [started]
    commands: list[Any] = [
        DeliverEvent(event=name, data_json=encode_parsed(data), event_id=None) for name, data in inbox
    ]
    action = WaitEvent(event=event, match=match, correlation=correlation, timeout=timedelta(hours=1))
    commands.append(ApplyAction(action=action, turn_started_at=BEGINNING, jitter=1.0))
    for command in commands:
        history += decide(replay(history), command, BEGINNING)
    return replay(history), history


@settings(deadline=None)
@given(NAMES, MATCHES, st.none() | st.just("order:7"), EVENTS, EVENTS, st.lists(TEXTS, max_size=8))
def test_every_wait_is_explained_with_what_it_does_not_take(
    event: str,
    match: dict[str, Any],
    correlation: str | None,
    inbox: list[tuple[str, Any]],
    kept: list[tuple[str, Any]],
    others: list[str],
) -> None:
    instance, history = waiting(event, match, correlation, inbox)
    keeping = [KeptEvent(event=name, received_at=BEGINNING, data_json=encode_parsed(data)) for name, data in kept]
    under = [KeptUnder(key, BEGINNING) for key in others]
    driving = Driving(place="queued")
    facts = Facts(now=BEGINNING, driving=driving, recent=history, kept=keeping, under_other_keys=under)
    found = explained(instance, facts)
    text = explanation_json(found)
    ExplanationAnswer.model_validate_json(text)
    assert _EXPLANATION.validate_python(parse(text)) == found
    assert lines(json.loads(text), BEGINNING)[0].startswith("a  order  ")
    assert found.unread_events == len(instance.inbox)
    if instance.status is not Status.WAITING_FOR_EVENT:
        assert (found.reason, found.near_misses) == (Reason.QUEUED, ())
        return
    assert found.reason is Reason.EVENT
    unfit = [name for name, data in kept if name != event or not matches(match, encode_parsed(data))]
    assert len(found.near_misses) == min(10, len(inbox) + len(unfit)), "the inbox holds none that would be taken"
    places = [miss.event != event for miss in found.near_misses]
    assert places == sorted(places), "those of the same name come first"


@given(MATCHES, VALUES)
def test_what_does_not_match_says_where(match: dict[str, Any], data: Any) -> None:
    text = encode_parsed(data)
    wrong = mismatches(match, text)
    assert matches(match, text) == (wrong == [])
    assert [match[path] for path, _, _ in wrong] == [wanted for _, wanted, _ in wrong]
