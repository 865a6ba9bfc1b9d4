"""Random commands against the rules: what holds of an instance whatever happens to it (docs/decisions/0004).

One run is one history. Commands are given to instances in any state, early, late and repeated; time passes and jumps
back. In the end the whole history must fold to the state, before and after a trip through the store's rows.
"""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from random_actions import (
    ACTIONS,
    BEGINNING,
    CHILDREN,
    COMPLETIONS,
    COSTS,
    EVENTS,
    FAILURES,
    GROUPS,
    MEMBERS_ANSWERS,
    NOTES,
    OUTPUTS,
    RARE_ACTIONS,
    SECONDS,
)

from pylon_workflows.core.commands import (
    ApplyAction,
    ApplyMember,
    Block,
    Cancel,
    DecideApproval,
    DeliverEvent,
    EndGroup,
    FailTurn,
    FinishChild,
    Resume,
    WakeUp,
)
from pylon_workflows.core.decider import decide
from pylon_workflows.core.deciding.matching import matches
from pylon_workflows.core.deleted_runs import deletion_before
from pylon_workflows.core.evolution import begin, evolve, replay
from pylon_workflows.core.instance import ApprovalWait, ChildWait, EventWait, Status, Terms
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.revisions import numbered
from pylon_workflows.core.transitions import (
    ApprovalRequested,
    ApprovalTimedOut,
    AttemptFailed,
    ChildFinished,
    ChildStarted,
    EventReceived,
    EventTaken,
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    InstanceStarted,
    MemberAttemptFailed,
    MemberFailed,
    MemberSucceeded,
    RunContinued,
    SleepStarted,
    WaitTimedOut,
    WokeUp,
)
from pylon_workflows.errors import (
    ApprovalConflictError,
    InstanceFinishedError,
    InstanceNotBlockedError,
    MalformedAnswerError,
)
from pylon_workflows.store.codec import decode_history, encode
from runner_protocol.messages import (
    Approval,
    Complete,
    ContinueAsNew,
    Defer,
    Diverged,
    Fail,
    Map,
    Parallel,
    Sleep,
    StartChild,
    StepComplete,
    StepStart,
    WaitEvent,
)
from runner_protocol.strict_json import encode as to_json

OTHER_COMMANDS = (Resume(), Block(reason="why"), Cancel(), EndGroup(run=1, group="a"), WakeUp())
SUSPENDING = (Sleep, WaitEvent, Approval, Map, Parallel)


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
        self.shown = {"x": [], "y": []}
        self.ids = set()
        self.versions = []
        self.vars = {}
        self.cost = Fraction(0)
        self.children = {}
        self.started_children = []
        self.results = {}
        self.has_asked = False

    def command(self, command):
        before = self.instance
        try:
            transitions = decide(before, command, self.now)
        except (MalformedAnswerError, InstanceFinishedError, InstanceNotBlockedError, ApprovalConflictError) as error:
            assert is_to_be_raised(error, before, command)
            return []
        assert not is_malformed(before, command) or transitions == []
        for transition in transitions:
            assert transition.at <= self.now or isinstance(command, ApplyAction | FailTurn)
            self.watch(transition)
            self.history.append(transition)
            self.instance = evolve(self.instance, transition)
            if isinstance(transition, GroupSucceeded):
                output = self.instance.steps[-1].output
                assert (output if isinstance(output, list) else list(output.values())) == self.expected_output
        self.versions.append((before, facts(before)))
        if before.is_finished:
            assert transitions == [], "a terminal state never changes"
        if not transitions:
            assert self.instance is before
        assert self.instance.revision == before.revision + len(transitions)
        return transitions

    def watch(self, transition):
        """Hold each transition to what is true of it where it happens."""
        here = self.instance
        self.apply_notes(getattr(transition, "notes_json", None))
        match transition:
            case WokeUp() | WaitTimedOut() | ApprovalTimedOut():
                assert here.due_at is not None
                assert transition.at >= here.due_at, "never early"
            case SleepStarted() | AttemptFailed() | MemberAttemptFailed():
                until = transition.due_at if isinstance(transition, SleepStarted) else transition.retry_at
                assert until >= transition.at
                if isinstance(transition, MemberAttemptFailed):
                    assert transition.index not in self.results
                    assert transition.failures == here.group.failures(transition.index) + 1
            case EventReceived():
                self.accepted[transition.event].append((transition.data_json, here.revision + 1))
            case EventTaken():
                taken = next(event for event in here.inbox if event.revision == transition.source)
                assert here.wait is None or here.wait.event == taken.event
                self.taken[taken.event].append(taken.revision)
                self.shown[taken.event].append(taken.data_json)
            case RunContinued():
                self.shown = {"x": [], "y": []}
            case _:
                self.watch_members_and_children(here, transition)

    def watch_members_and_children(self, here, transition):
        match transition:
            case ApprovalRequested():
                self.has_asked = True
            case GroupStarted():
                self.results = {}
            case MemberSucceeded():
                assert transition.index not in self.results, "a result counts once"
                self.results[transition.index] = json.loads(transition.output_json)
            case MemberFailed():
                assert transition.index not in self.results, "a result counts once"
                self.results[transition.index] = None
            case GroupSucceeded():
                assert here.group.succeeded_count == here.group.total == len(self.results)
                self.expected_output = [self.results[index] for index in range(here.group.total)]
            case GroupFailed():
                assert here.group.failed_count > 0
                assert here.group.fail_fast or len(self.results) == here.group.total
            case ChildStarted():
                self.children[transition.child_id] = (here.run, transition)
            case ChildFinished():
                self.cost += Fraction(json.loads(transition.usage_json or b'{"cost_usd":"0"}')["cost_usd"])
                _, started = self.children.pop(transition.child_id)
                assert (transition.position is None) == (not started.is_awaited)

    def apply_notes(self, notes_json):
        notes = json.loads(notes_json or b"{}")
        self.vars.update(notes.get("vars", {}))
        for name in notes.get("unset", ()):
            self.vars.pop(name, None)
        self.cost += Fraction(notes.get("usage", {}).get("cost_usd", "0"))

    def go_on(self):
        """Do what the instance waits for, whatever it is, so that it can be answered for again."""
        here = self.instance
        wait = here.wait
        if here.status is Status.BLOCKED:
            self.command(Resume())
        elif isinstance(wait, EventWait):
            match = json.loads(wait.match_json or b"{}")
            self.command(DeliverEvent(event=wait.event, data_json=to_json(nested(match))))
        elif isinstance(wait, ApprovalWait):
            self.command(DecideApproval(key=wait.key, is_approved=True))
        elif isinstance(wait, ChildWait):
            command = {"run": here.run, "key": wait.key, "child_id": wait.child_id}
            self.command(FinishChild(status="completed", **command))
        elif here.due_at is not None:
            self.now = max(self.now, here.due_at)
            self.command(WakeUp())

    @rule(actions=st.lists(ACTIONS, min_size=1, max_size=3), began_ago=SECONDS, jitter=st.floats(0, 1))
    def answers(self, actions, began_ago, jitter):
        """Answers to turns that follow one another; whatever each of them waits for comes before the next."""
        for action in actions:
            self.go_on()
            turn_started_at = self.now - timedelta(seconds=began_ago)
            self.command(ApplyAction(action=action, turn_started_at=turn_started_at, jitter=jitter))

    @rule(actions=st.lists(COMPLETIONS | FAILURES, min_size=1, max_size=4), jitter=st.floats(0, 1), last=ACTIONS)
    def answer_of_many_lines(self, actions, jitter, last):
        self.go_on()
        for number, action in enumerate([*actions, last]):
            goes_on = number > 0
            self.command(ApplyAction(action=action, turn_started_at=self.now, jitter=jitter, goes_on=goes_on))

    @rule(action=ACTIONS, goes_on=st.booleans())
    def answer_that_may_be_late(self, action, goes_on):
        self.command(ApplyAction(action=action, turn_started_at=self.now, goes_on=goes_on))

    @rule(action=CHILDREN, outcome=st.sampled_from(["started", "started", "refused", "unheard of"]))
    def start_child(self, action, outcome):
        self.go_on()
        child_id = f"child_{len(self.started_children)}"
        command = ApplyAction(
            action=action,
            turn_started_at=self.now,
            child=replace(self.history[0], id=child_id) if outcome == "started" else None,
            child_refusal="no" if outcome == "refused" else None,
        )
        transitions = self.command(command)
        if transitions and outcome == "started":
            self.started_children.append(child_id)

    @rule(
        which=st.integers(0, 3),
        status=st.sampled_from(["completed", "failed", "cancelled"]),
        cost=st.none() | COSTS,
        is_late=st.integers(0, 4),
    )
    def finish_child(self, which, status, cost, is_late):
        known = [*self.children, *self.started_children[-1:], "unknown"]
        child_id = known[min(which, len(known) - 1)]
        run = 9 if is_late == 3 else self.children.get(child_id, (1, None))[0]
        was_open = is_late != 3 and child_id in self.children and not self.instance.is_finished
        command = FinishChild(
            run=run,
            key=self.children[child_id][1].key if child_id in self.children else "k",
            child_id=child_id,
            status=status,
            error="why" if status == "failed" else None,
            output_json=b"1" if status == "completed" else None,
            usage_json=None if cost is None else to_json({"cost_usd": cost, "input_tokens": 1}),
        )
        assert bool(self.command(command)) == was_open

    @precondition(lambda self: self.has_asked)
    @rule(is_approved=st.booleans(), is_meant=st.integers(0, 4), key=st.sampled_from(["approval:a", "k", "a"]))
    def decide_approval(self, is_approved, is_meant, key):
        wait = self.instance.wait
        if is_meant and isinstance(wait, ApprovalWait):
            key = wait.key
        self.command(DecideApproval(key=key, is_approved=is_approved, by="alice"))

    @rule(group=GROUPS, answers=st.lists(st.tuples(st.integers(0, 4), MEMBERS_ANSWERS), max_size=6))
    def group(self, group, answers):
        self.go_on()
        self.command(ApplyAction(action=group, turn_started_at=self.now))
        for index, action in answers:
            if self.instance.group is not None:
                self.member_answers(index, action, 0)

    @precondition(lambda self: self.instance.group is not None)
    @rule(index=st.integers(0, 4), action=MEMBERS_ANSWERS, is_late=st.integers(0, 4))
    def member_answers(self, index, action, is_late):
        group = self.instance.group
        failures = group.failures(index) if index < group.total else 0
        late = {"run": {1: 9}.get(is_late, self.instance.run), "attempt": failures + (2 if is_late == 2 else 1)}
        key = "other" if is_late == 3 else group.key
        transitions = self.command(ApplyMember(group=key, index=index, action=action, called_at=self.now, **late))
        if is_late in (1, 2, 3):
            assert transitions == []

    @precondition(lambda self: self.instance.group is not None)
    @rule(action=st.builds(StepComplete, output=OUTPUTS))
    def every_member_succeeds(self, action):
        for index in list(self.instance.group.unfinished()):
            group = self.instance.group
            command = {"group": group.key, "index": index, "attempt": group.failures(index) + 1}
            self.command(ApplyMember(run=self.instance.run, action=action, called_at=self.now, **command))

    @precondition(lambda self: self.instance.group is not None)
    @rule()
    def nothing_is_in_flight(self):
        group = self.instance.group
        is_failing = group.is_failing and self.instance.status is Status.RUNNING
        assert bool(self.command(EndGroup(run=self.instance.run, group=group.key))) == is_failing

    @rule(is_wanted=st.integers(0, 5), input=OUTPUTS, has_terms=st.booleans(), notes=st.fixed_dictionaries(NOTES))
    def continue_as_new(self, is_wanted, input, has_terms, notes):
        if is_wanted == 3:
            terms = Terms.of(self.history[0]) if has_terms else None
            action = ContinueAsNew(input=input, **notes)
            before = self.instance.run
            transitions = self.command(ApplyAction(action=action, turn_started_at=self.now, terms=terms))
            assert self.instance.run == before + bool(transitions)
            if transitions:
                assert (self.instance.run_vars, self.instance.input) == (self.vars, input)
                assert (self.instance.steps, self.instance.noted, self.instance.is_runnable) == ((), 0, True)

    @rule(action=RARE_ACTIONS, is_wanted=st.integers(0, 5))
    def answer_that_ends_it(self, action, is_wanted):
        if is_wanted == 3:
            self.command(ApplyAction(action=action, turn_started_at=self.now))

    @rule(ago=st.integers(1, 5), action=ACTIONS, event_id=st.integers(0, 5).map(str))
    def an_older_version_goes_another_way(self, ago, action, event_id):
        """What is tried on an older version, and thrown away, changes nothing in this one."""
        older = self.versions[-min(ago, len(self.versions))][0] if self.versions else self.instance
        for command in (
            ApplyAction(action=action, turn_started_at=self.now),
            DeliverEvent(event="x", data_json=b"0", event_id=event_id),
            *(member_call(older, index) for index in range(3)),
            *(
                FinishChild(run=child.run, key=child.key, child_id=child.id, status="completed")
                for child in older.children.values()
            ),
        ):
            with suppress(MalformedAnswerError, InstanceFinishedError):
                for transition in decide(older, command, self.now):
                    older = evolve(older, transition)

    @rule(jitter=st.floats(0, 1), goes_on=st.booleans())
    def no_answer(self, jitter, goes_on):
        error = "timed out after 30 s"
        self.command(FailTurn(error=error, turn_started_at=self.now, jitter=jitter, goes_on=goes_on))

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

    @precondition(lambda self: self.instance.due_at is not None)
    @rule(early=st.sampled_from([0.000001, 0.2, 1]))
    def time_has_nearly_come(self, early):
        self.now = max(self.now, self.instance.due_at - timedelta(seconds=early))
        was_due = self.now >= self.instance.due_at
        assert bool(self.command(WakeUp())) == was_due

    @rule(length=SECONDS)
    def the_clock_jumps_back(self, length):
        self.now -= timedelta(seconds=length)
        due_at = self.instance.due_at
        transitions = self.command(WakeUp())
        assert transitions == [] or self.now >= due_at

    @rule(command=st.sampled_from(OTHER_COMMANDS), is_wanted=st.integers(0, 3))
    def another_command(self, command, is_wanted):
        if is_wanted == 2 or not isinstance(command, Cancel):
            self.command(command)

    def teardown(self):
        """The history folds to the state, and so does what the store's rows give back."""
        if not hasattr(self, "instance"):  # the beginning was never drawn
            return
        assert replay(self.history) == self.instance
        rows = [(number, *encode(transition)) for number, transition in enumerate(self.history, start=1)]
        restored = decode_history("wf_1", rows, revision=self.instance.revision)
        assert restored == self.history
        assert replay(restored) == self.instance
        for index, transition in enumerate(self.history):
            if isinstance(transition, RunContinued):  # what retention may make of it
                deletion = deletion_before(replay(self.history[: index + 1]))
                kept = [self.history[0], deletion, *self.history[index + 1 :]]
                assert replay(kept) == self.instance
                rows = [(number, *encode(each)) for number, each in numbered(kept)]
                assert decode_history("wf_1", rows, revision=self.instance.revision) == kept
        for before, seen in self.versions:
            assert facts(before) == seen
            free = before.records.free_key("a")
            assert free not in {record.key for record in before.steps if record.has_taken_key}

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
    def every_record_depends_on_records_before_it(self):
        seen = {}
        for record in self.instance.steps:
            assert len(set(record.depends_on)) == len(record.depends_on) <= 32
            assert all(seen[key] < (10**6 if record.after is None else record.after) for key in record.depends_on)
            assert bool(record.depends_on) == bool(seen and record.after != 0)
            if record.position is not None:
                seen[record.key] = record.position

    @invariant()
    def it_is_never_stuck(self):
        here = self.instance
        waits = {
            Status.WAITING_FOR_EVENT: EventWait,
            Status.AWAITING_APPROVAL: ApprovalWait,
            Status.WAITING_FOR_CHILD: ChildWait,
        }
        is_waiting = here.status in waits
        ways_on = (here.is_runnable, here.due_at is not None or is_waiting, here.status is Status.BLOCKED)
        assert sum(ways_on) == (0 if here.is_finished else 1)
        assert isinstance(here.wait, waits.get(here.status, type(None)))
        assert (here.blocked_reason is not None) == (here.status is Status.BLOCKED)
        assert here.is_finished == (here.completed_at is not None)
        assert here.status is not Status.SLEEPING or here.due_at is not None
        assert here.group is None or here.status in (Status.RUNNING, Status.BLOCKED)
        assert here.group is None or here.group.unfinished_count > 0

    @invariant()
    def a_group_is_due_when_the_first_of_its_members_is(self):
        group = self.instance.group
        if group is not None:
            unfinished = [group.standing(index) for index in group.unfinished()]
            assert len(unfinished) == group.unfinished_count
            retries = [standing.retry_at for standing in unfinished if standing.retry_at is not None]
            assert group.next_retry_at() == min(retries, default=None)
            is_waiting = len(retries) == len(unfinished) and not group.is_failing
            if self.instance.status is Status.RUNNING and self.instance.due_at is not None:
                assert is_waiting and self.instance.due_at == min(retries)

    @invariant()
    def events_are_taken_once_and_none_is_lost(self):
        for event, accepted in self.accepted.items():
            unread = [each.revision for each in self.instance.inbox if each.event == event]
            assert unread == sorted(unread)
            assert sorted(self.taken[event] + unread) == [revision for _, revision in accepted]
        wait = self.instance.wait
        if isinstance(wait, EventWait):
            for unread in self.instance.inbox:
                match = json.loads(wait.match_json or b"{}")
                assert unread.event != wait.event or not matches(match, unread.data_json)

    @invariant()
    def the_records_show_each_event_that_was_taken(self):
        for event, taken in self.shown.items():
            shown = [
                record.output_json
                for record in self.instance.steps
                if record.kind == "event" and record.name == f"event:{event}" and not record.timed_out
            ]
            assert shown == taken

    @invariant()
    def notes_are_applied_once(self):
        assert self.instance.vars == self.vars
        assert self.instance.vars.size == len(self.instance.vars.json)
        assert Fraction(self.instance.usage.cost_usd) == self.cost

    @invariant()
    def open_children_are_those_that_were_started_and_have_not_finished(self):
        assert {child.id: child.on_parent_close for child in self.instance.children.values()} == {
            child_id: started.on_parent_close for child_id, (_, started) in self.children.items()
        }

    @invariant()
    def its_size_is_that_of_its_records(self):
        assert self.instance.history_bytes == sum(record.size for record in self.instance.steps)


def nested(match):
    """Data that matches."""
    data = {}
    for path, value in match.items():
        *parents, name = path.split(".")
        place = data
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return data


def facts(instance):
    """What an older version must go on to say."""
    group = instance.group
    standings = None if group is None else [group.standing(index) for index in range(group.total)]
    retry_at = None if group is None else (group.next_retry_at(), group.due_at, group.unfinished_count)
    return (
        instance.steps,
        tuple(instance.event_ids),
        instance.inbox,
        standings,
        retry_at,
        dict(instance.children),
        len(instance.children),
        instance.vars.json,
        instance.records.frontier(None),
    )


def member_call(instance, index):
    group = instance.group
    is_there = group is not None and index < group.total
    return ApplyMember(
        run=instance.run,
        group="none" if group is None else group.key,
        index=index,
        attempt=group.failures(index) + 1 if is_there else 1,
        action=StepComplete(output=index) if index % 2 else Fail(),
        called_at=BEGINNING,
    )


def is_malformed(instance, command):
    """Whether the action would be refused were it not late."""
    action = getattr(command, "action", None)
    if isinstance(command, ApplyMember):
        if isinstance(action, str | Defer | Diverged):
            return False
        is_there = instance.group is not None and command.index < instance.group.total
        is_meant = is_there and getattr(action, "key", None) in (None, instance.group.member_key(command.index))
        return isinstance(action, Complete) or not is_meant or action.noted is not None
    if not isinstance(command, ApplyAction) or isinstance(action, Defer | StepStart | Diverged):
        return False
    is_suspending = isinstance(action, SUSPENDING) or (isinstance(action, StartChild) and action.wait)
    return (
        instance.records.is_taken(getattr(action, "key", None))
        or (getattr(action, "after", None) or 0) > instance.current_step
        or (action.noted is not None and action.noted < instance.noted)
        or (is_suspending and instance.due_at is not None)
        or (isinstance(action, StartChild) and command.child is None and command.child_refusal is None)
        or (isinstance(action, ContinueAsNew) and command.terms is None)
    )


def is_to_be_raised(error, instance, command):
    """Whether the caller must hear this of that command."""
    match error:
        case InstanceFinishedError():
            return instance.is_finished and isinstance(command, Cancel | DeliverEvent)
        case InstanceNotBlockedError():
            return instance.status is not Status.BLOCKED and isinstance(command, Resume)
        case MalformedAnswerError():
            return is_malformed(instance, command)
        case ApprovalConflictError():
            wait, record = instance.wait, instance.records.with_key(command.key)
            is_asked_for = isinstance(wait, ApprovalWait) and wait.key == command.key
            is_decided = record is not None and record.kind == "approval" and not record.timed_out
            return not is_asked_for and not (is_decided and record.output["approved"] == command.is_approved)
        case _:
            return False


def runs(max_examples, *, is_derandomized=True):
    return settings(
        max_examples=max_examples,
        stateful_step_count=24,
        deadline=None,
        derandomize=is_derandomized,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


class TestDecider(DeciderMachine.TestCase):
    settings = runs(100)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(5))
def test_the_rules_hold_at_length(number):
    """In parts, for Hypothesis keeps half a megabyte of each run until the last of them is over."""
    seeded = seed(number)(type("DeciderMachine", (DeciderMachine,), {}))
    run_state_machine_as_test(seeded, settings=runs(370, is_derandomized=False))
