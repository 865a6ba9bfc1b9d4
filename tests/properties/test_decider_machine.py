"""Random commands against the rules: what holds of an instance whatever happens to it (docs/decisions/0004).

One run is one history. Commands are given to instances in any state, early, late and repeated; time passes and jumps
back. In the end the whole history must fold to the state, before and after a trip through the store's rows.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pylon_workflows.core.commands import ApplyAction, Block, Cancel, DeliverEvent, FailTurn, Resume, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import begin, evolve, replay
from pylon_workflows.core.instance import Status
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import (
    AttemptFailed,
    EventReceived,
    EventTaken,
    InstanceStarted,
    SleepStarted,
    WaitTimedOut,
    WokeUp,
)
from pylon_workflows.errors import InstanceFinishedError, InstanceNotBlockedError, MalformedAnswerError
from pylon_workflows.store.codec import decode_history, encode
from runner_protocol.messages import (
    Complete,
    Defer,
    Diverged,
    ErrorDetail,
    Fail,
    Sleep,
    StepComplete,
    WaitEvent,
)
from runner_protocol.strict_json import encode as to_json

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

ACTIONS = st.one_of(
    st.builds(
        StepComplete,
        step_name=st.none() | NAMES,
        key=KEYS,
        output=OUTPUTS,
        duration_ms=st.none() | st.floats(0, 1e300),
    ),
    st.builds(Sleep, duration=SECONDS.map(lambda seconds: f"{seconds:.3f}s"), name=st.none() | NAMES, key=KEYS),
    st.builds(WaitEvent, event=EVENTS, key=KEYS, timeout=st.none() | DURATIONS),
    st.builds(
        Fail,
        step_name=st.none() | NAMES,
        key=KEYS,
        error=ERRORS,
        retryable=st.booleans(),
        retry_after=st.none() | DURATIONS,
        max_retries=st.none() | st.integers(0, 3),
        on_exhausted=st.none() | st.just("throw"),
    ),
    st.builds(Defer, retry_after=DURATIONS),
)
RARE_ACTIONS = st.one_of(
    st.builds(Complete, output=OUTPUTS),
    st.builds(Diverged, position=st.integers(0, 9), expected=NAMES, got=NAMES),
)


class DeciderMachine(RuleBasedStateMachine):
    """An instance, its history, and a small model of what must have become of its events and timers."""

    @initialize(max_retries=st.integers(0, 3), delay=st.none() | SECONDS)
    def start(self, max_retries, delay):
        self.now = BEGINNING
        started = InstanceStarted(
            at=self.now,
            id="wf_1",
            name="order",
            version=None,
            input_json=b"{}",
            idempotency_key=None,
            seed="0" * 32,
            policy=RetryPolicy(max_retries=max_retries),
            step_timeout=timedelta(seconds=30),
            due_at=None if delay is None else BEGINNING + timedelta(seconds=delay),
        )
        self.history = [started]
        self.instance = begin(started)
        self.accepted = {"x": [], "y": []}
        self.taken = {"x": [], "y": []}
        self.ids = set()
        self.versions = []

    def command(self, command):
        before = self.instance
        try:
            transitions = decide(before, command, self.now)
        except (MalformedAnswerError, InstanceFinishedError, InstanceNotBlockedError) as error:
            assert is_to_be_raised(error, before, command)
            return []
        for transition in transitions:
            assert transition.at <= self.now or isinstance(command, ApplyAction | FailTurn)
            self.watch(transition)
            self.history.append(transition)
            self.instance = evolve(self.instance, transition)
        self.versions.append((before, before.steps, tuple(before.event_ids), before.inbox))
        if before.is_finished:
            assert transitions == [], "a terminal state never changes"
        if not transitions:
            assert self.instance is before
        assert self.instance.revision == before.revision + len(transitions)
        return transitions

    def watch(self, transition):
        """Hold each transition to what is true of it where it happens."""
        here = self.instance
        match transition:
            case WokeUp() | WaitTimedOut():
                assert here.due_at is not None
                assert transition.at >= here.due_at, "never early"
            case SleepStarted() | AttemptFailed():
                until = transition.due_at if isinstance(transition, SleepStarted) else transition.retry_at
                assert until >= transition.at
            case EventReceived():
                self.accepted[transition.event].append(transition.data_json)
            case EventTaken():
                taken = next(event for event in here.inbox if event.revision == transition.source)
                assert here.wait is None or here.wait.event == taken.event
                self.taken[taken.event].append(taken.data_json)

    @rule(action=ACTIONS, began_ago=SECONDS, jitter=st.floats(0, 1))
    def answer(self, action, began_ago, jitter):
        turn_started_at = self.now - timedelta(seconds=began_ago)
        self.command(ApplyAction(action=action, turn_started_at=turn_started_at, jitter=jitter))

    @rule(action=RARE_ACTIONS, is_wanted=st.integers(0, 5))
    def answer_that_ends_it(self, action, is_wanted):
        if is_wanted == 0:
            self.command(ApplyAction(action=action, turn_started_at=self.now))

    @rule(ago=st.integers(1, 5), action=ACTIONS, event_id=st.integers(0, 5).map(str))
    def an_older_version_goes_another_way(self, ago, action, event_id):
        """What is tried on an older version, and thrown away, changes nothing in this one."""
        older = self.versions[-min(ago, len(self.versions))][0] if self.versions else self.instance
        for command in (
            ApplyAction(action=action, turn_started_at=self.now),
            DeliverEvent(event="x", data_json=b"0", event_id=event_id),
        ):
            with suppress(MalformedAnswerError, InstanceFinishedError):
                for transition in decide(older, command, self.now):
                    older = evolve(older, transition)

    @rule(jitter=st.floats(0, 1))
    def no_answer(self, jitter):
        self.command(FailTurn(error="timed out after 30 s", turn_started_at=self.now, jitter=jitter))

    @rule(event=EVENTS, data=OUTPUTS, event_id=st.none() | st.integers(0, 5).map(str))
    def deliver(self, event, data, event_id):
        transitions = self.command(DeliverEvent(event=event, data_json=to_json(data), event_id=event_id))
        if event_id in self.ids:
            assert transitions == [], "each event id is applied once"
        if transitions and event_id is not None:
            self.ids.add(event_id)

    @rule(length=SECONDS)
    def time_passes(self, length):
        self.now += timedelta(seconds=length)
        self.command(WakeUp())

    @rule()
    def time_comes(self):
        if self.instance.due_at is not None:
            self.now = max(self.now, self.instance.due_at)
        was_due = self.instance.due_at is not None
        assert bool(self.command(WakeUp())) == was_due

    @rule(length=SECONDS)
    def the_clock_jumps_back(self, length):
        self.now -= timedelta(seconds=length)
        due_at = self.instance.due_at
        transitions = self.command(WakeUp())
        assert transitions == [] or self.now >= due_at

    @rule(is_wanted=st.integers(0, 5))
    def block(self, is_wanted):
        if is_wanted == 0:
            self.command(Block(reason="why"))

    @rule()
    def resume(self):
        self.command(Resume())

    @rule(is_wanted=st.integers(0, 9))
    def cancel(self, is_wanted):
        if is_wanted == 0:
            self.command(Cancel())

    def teardown(self):
        """The history folds to the state, and so does what the store's rows give back."""
        if not hasattr(self, "instance"):  # the beginning was never drawn
            return
        assert replay(self.history) == self.instance
        rows = [(number, *encode(transition)) for number, transition in enumerate(self.history, start=1)]
        restored = decode_history("wf_1", rows, revision=self.instance.revision)
        assert restored == self.history
        assert replay(restored) == self.instance
        for before, steps, ids, inbox in self.versions:
            assert (before.steps, tuple(before.event_ids), before.inbox) == (steps, ids, inbox)
            free = before.records.free_key("a")
            assert free not in {record.key for record in steps if record.has_taken_key}

    @invariant()
    def positions_are_dense_and_in_order(self):
        positions = [record.position for record in self.instance.steps if record.position is not None]
        assert positions == list(range(self.instance.current_step))

    @invariant()
    def a_key_is_taken_once(self):
        taken = [record.key for record in self.instance.steps if record.has_taken_key]
        assert len(taken) == len(set(taken))
        assert all(self.instance.records.is_taken(key) for key in taken)

    @invariant()
    def it_is_never_stuck(self):
        here = self.instance
        is_waiting = here.status is Status.WAITING_FOR_EVENT and here.wait is not None
        ways_on = (here.is_runnable, here.due_at is not None or is_waiting, here.status is Status.BLOCKED)
        assert sum(ways_on) == (0 if here.is_finished else 1)
        assert (here.wait is not None) == (here.status is Status.WAITING_FOR_EVENT)
        assert (here.blocked_reason is not None) == (here.status is Status.BLOCKED)
        assert here.is_finished == (here.completed_at is not None)
        assert here.status is not Status.SLEEPING or here.due_at is not None

    @invariant()
    def events_are_taken_first_in_first_out_and_none_is_lost(self):
        for event, accepted in self.accepted.items():
            unread = [each.data_json for each in self.instance.inbox if each.event == event]
            assert self.taken[event] + unread == accepted
        if self.instance.wait is not None:
            assert all(unread.event != self.instance.wait.event for unread in self.instance.inbox)

    @invariant()
    def the_records_show_each_event_that_was_taken(self):
        for event, taken in self.taken.items():
            shown = [
                record.output_json
                for record in self.instance.steps
                if record.kind == "event" and record.name == f"event:{event}" and not record.timed_out
            ]
            assert shown == taken

    @invariant()
    def its_size_is_that_of_its_records(self):
        assert self.instance.history_bytes == sum(record.size for record in self.instance.steps)


def is_to_be_raised(error, instance, command):
    """Whether the caller must hear this of that command."""
    match error:
        case InstanceFinishedError():
            return instance.is_finished and isinstance(command, Cancel | DeliverEvent)
        case InstanceNotBlockedError():
            return instance.status is not Status.BLOCKED and isinstance(command, Resume)
        case MalformedAnswerError():
            return isinstance(command, ApplyAction) and instance.records.is_taken(command.action.key)
        case _:
            return False


def runs(max_examples):
    return settings(
        max_examples=max_examples,
        stateful_step_count=16,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )


class TestDecider(DeciderMachine.TestCase):
    settings = runs(150)


@pytest.mark.slow
class TestDeciderAtLength(DeciderMachine.TestCase):
    settings = runs(1850)
