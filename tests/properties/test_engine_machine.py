"""The whole engine against a model of a page: whatever comes, in whatever order, PROMISES.md P3-P17 and P28-P29 hold.

One run is a day in the life of a few instances. The runner answers when the machine says so, or never; writes are held
back, fail, or land without anybody hearing of it; the engine is closed, or killed and started again; the clock jumps.
After each step every instance is compared with the model, and with its own history read from the store.
"""

import asyncio
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engine_model import (
    FINISHED,
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    SLEEPS,
    ConflictError,
    MalformedError,
    ModelInstance,
)
from engine_world import AskedRunner, CountingLoop, HeldStore, StoppedParts, settle
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

from pylon_workflows import WorkflowDefinition, WorkflowEngine
from pylon_workflows.core.evolution import replay
from pylon_workflows.core.revisions import numbered
from pylon_workflows.earlier_runs import EarlierRuns
from pylon_workflows.errors import (
    ApprovalConflictError,
    EngineNotRunningError,
    InstanceFinishedError,
    InstanceNotBlockedError,
    InstanceNotFinishedError,
    InvalidInputError,
    MalformedAnswerError,
    RunnerError,
    RunnerUnavailableError,
    StartConflictError,
    StorageFullError,
    StoreError,
    TurnNotOpenError,
    TurnOpenError,
    TurnTimedOutError,
    UnknownInstanceError,
)
from pylon_workflows.explain.shapes import Reason
from pylon_workflows.ports import InstanceSummary, Started
from pylon_workflows.settings import EngineSettings
from pylon_workflows.store.codec import decode_history, encode
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.testing import FakeClock
from runner_protocol.messages import (
    Approval,
    Complete,
    ContinueAsNew,
    Defer,
    Diverged,
    Fail,
    Sleep,
    StepComplete,
    StepSkip,
    WaitEvent,
)

FEW_RECORDS = 5
MAX_RETRIES = {"order": 1, "other": 2}

IDS = st.sampled_from(["a", "b", "c"])
KEYS = st.none() | st.sampled_from(["k1", "k2"])
INPUTS = st.sampled_from([{"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 1}, None])
RECORD_KEYS = st.none() | st.sampled_from(["s", "s#2", "event:x", "k"])
NAMES = st.none() | st.sampled_from(["s", "t"])
GATES = st.sampled_from(["approval:g", "approval:g#2", "k", "s"])
EVENTS = st.sampled_from(["x", "y"])
VALUES = st.sampled_from([None, 1, "é", {"k": [1.5]}])
SECONDS = st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.0, 60.0])
DURATIONS = SECONDS.map(lambda seconds: timedelta(seconds=seconds))

VARS: dict[str, Any] = {
    "vars": st.none() | st.dictionaries(st.sampled_from(["v", "w"]), VALUES, max_size=2),
    "unset": st.none() | st.just(["v"]),
}

GOING_ON = st.one_of(
    st.builds(StepComplete, step_name=NAMES, key=RECORD_KEYS, output=VALUES, **VARS),
    st.builds(StepSkip, step_name=NAMES, key=RECORD_KEYS, reason=st.just("done by hand")),
    st.builds(
        Approval,
        name=st.just("g"),
        key=st.none() | st.none() | RECORD_KEYS,
        timeout=st.none() | DURATIONS,
        on_timeout=st.sampled_from(["reject", "fail"]),
    ),
    st.builds(ContinueAsNew, input=VALUES, **VARS),
    st.builds(Sleep, duration=st.sampled_from(sorted(SLEEPS)), name=NAMES, key=RECORD_KEYS),
    st.builds(WaitEvent, event=EVENTS, key=RECORD_KEYS, timeout=st.none() | DURATIONS),
)
FAILING = st.builds(
    Fail,
    step_name=NAMES,
    key=RECORD_KEYS,
    error=st.just("no"),
    retryable=st.booleans() | st.just(True),
    retry_after=st.none() | DURATIONS,
    max_retries=st.none() | st.integers(0, 3),
    on_exhausted=st.none() | st.just("throw"),
)
ENDING = st.builds(Complete, output=VALUES) | st.just(Diverged(position=0, expected="s", got="t"))
STREAM = st.lists(GOING_ON | FAILING | st.builds(StepComplete, step_name=NAMES), min_size=2, max_size=5)
NO_ANSWER = st.one_of(
    st.builds(Defer, retry_after=DURATIONS),
    st.just(TurnTimedOutError("timed out")),
    st.just(MalformedAnswerError("no action")),
    st.builds(lambda after: RunnerUnavailableError("down", retry_after_s=after), st.none() | SECONDS),
)


@dataclass
class Operation:
    """Something that was asked of the engine. `step` has the model do it: whether it writes, and what must be heard."""

    id: str
    call: asyncio.Task[Any] | None
    step: Callable[[], tuple[bool, Any]]
    is_start: bool = False


class EngineMachine(RuleBasedStateMachine):
    """The machine over a `MemoryStore`. Rules that wait for a held write leave their operation `pending`."""

    @initialize(
        room=st.sampled_from([(512, 10_000), (1, 1), (2, 10_000)]),
        cache=st.sampled_from([1, 10_000]),
        few=st.booleans(),
        count=st.integers(1, 3),
    )
    def begin(self, room: tuple[int, int], cache: int, few: bool, count: int) -> None:
        self.settings = EngineSettings(
            max_in_flight=room[0],
            max_queued=room[1],
            max_live_instances=cache,
            max_records=FEW_RECORDS if few and room[0] > 2 else 10_000,
            shutdown_grace_s=3600,
            retain_finished_for=None,
        )
        self.models: dict[str, ModelInstance] = {}
        self.pending: list[Operation] = []
        self.unanswered: dict[str, set[str]] = {name: set() for name in MAX_RETRIES}
        self.kept: dict[str, list[Operation]] = {}
        self.hurried: set[str] = set()
        self.down_until = 0.0
        self.clock = FakeClock()
        self.loop = CountingLoop()
        asyncio.set_event_loop(None)
        self.inner = self.new_store()
        self.open_engine()
        for instance_id in "abc"[:count]:
            self.start(instance_id, None, "order", {})

    def new_store(self) -> Any:
        return MemoryStore()

    def store_after_a_kill(self) -> Any:
        return self.inner

    def open_engine(self) -> None:
        self.store, self.runner = HeldStore(self.inner), AskedRunner()
        self.engine = WorkflowEngine(
            runner=self.runner, store=self.store, clock=self.clock, settings=self.settings, jitter=lambda: 1.0
        )
        for name, max_retries in MAX_RETRIES.items():
            self.engine.register(
                WorkflowDefinition(
                    name,
                    max_retries=max_retries,
                    initial_backoff=timedelta(seconds=FIRST_BACKOFF_S),
                    maximum_backoff=timedelta(seconds=LONGEST_BACKOFF_S),
                )
            )
        self.do(self.engine.__aenter__())
        self.settle()

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.kill(0)
            self.do(self.inner.close())
            self.loop.close()

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def settle(self) -> None:
        self.do(settle(self.loop, self.store))

    # --- what callers do -------------------------------------------------------------------------------------------

    def call(self, instance_id: str, work: Any, step: Callable[[], tuple[bool, Any]]) -> None:
        answers = [
            place
            for place, operation in enumerate(self.pending)
            if operation.id == instance_id and operation.call is None
        ]
        # What the runner says behind lines that are being written comes to the instance's lock after they are stored.
        place = answers[1] if len(answers) > 1 else len(self.pending)
        self.pending.insert(place, Operation(instance_id, self.loop.create_task(work), step))
        self.process()

    @rule(id=st.none() | IDS | IDS, key=KEYS, name=st.sampled_from(sorted(MAX_RETRIES)), input=INPUTS)
    def start(self, id: str | None, key: str | None, name: str, input: Any) -> None:
        if self.store.is_held and (id is None or key is not None):
            return  # then the order of the writes would be another than that of the calls
        if len(self.models) > 4 and id is None:
            return

        def step() -> tuple[bool, Any]:
            by_key = next((model for model in self.models.values() if key is not None and model.key == key), None)
            found = self.models.get(id or "") or by_key
            if found is None:
                new_id = id or operation.call.result().id
                self.models[new_id] = ModelInstance(new_id, name, input, key, MAX_RETRIES[name])
                return True, (new_id, True)
            has_same_id = id is None or found.id == id
            is_same = has_same_id and found.name == name and found.input == input
            return True, (found.id, False) if is_same else StartConflictError

        work = self.engine.start_or_find(name, input, id=id, idempotency_key=key)
        operation = Operation(id or "", self.loop.create_task(work), step, is_start=True)
        self.pending.append(operation)
        self.process()

    @precondition(lambda self: self.models)
    @rule(which=st.integers(0, 4), event=EVENTS, data=VALUES, event_id=st.none() | st.sampled_from(["e1", "e2", "e3"]))
    def send_event(self, which: int, event: str, data: Any, event_id: str | None) -> None:
        def step() -> tuple[bool, Any]:
            model = self.models.get(instance_id)
            if model is None:
                return False, UnknownInstanceError
            if model.is_finished and event_id not in model.event_ids:
                return False, InstanceFinishedError
            is_new = model.deliver(event, data, event_id)
            return is_new, not is_new

        instance_id = self.one_of(self.models, which)
        self.call(instance_id, self.send(instance_id, event, data, event_id), step)

    async def send(self, instance_id: str, event: str, data: Any, event_id: str | None) -> bool:
        return (await self.engine.send_event(instance_id, event, data, event_id=event_id)).is_duplicate

    @precondition(lambda self: self.models)
    @rule(instance_id=IDS)
    def cancel(self, instance_id: str) -> None:
        self.call(instance_id, self.engine.cancel(instance_id), lambda: self.step_cancel(instance_id))

    def step_cancel(self, instance_id: str) -> tuple[bool, Any]:
        model = self.models.get(instance_id)
        if model is None:
            return False, UnknownInstanceError
        if model.status in ("completed", "failed"):
            return False, InstanceFinishedError
        has_changed = model.cancel()
        model.has_open_turn = False
        return has_changed, None

    @precondition(lambda self: self.some("awaiting_approval"))
    @rule(which=st.integers(0, 4), key=st.none() | GATES, is_approved=st.booleans())
    def decide(self, which: int, key: str | None, is_approved: bool) -> None:
        waiting = self.some("awaiting_approval")
        instance_id = self.one_of(waiting if which else self.models, which)
        gate = self.models[instance_id].gate
        key = key or ("approval:g" if gate is None else gate[0])

        def step() -> tuple[bool, Any]:
            model = self.models.get(instance_id)
            if model is None:
                return False, UnknownInstanceError
            try:
                is_new = model.decide(key, is_approved, self.clock.now())
            except ConflictError:
                return False, ApprovalConflictError
            return is_new, not is_new

        self.call(instance_id, self.decide_and_tell(instance_id, key, is_approved), step)

    async def decide_and_tell(self, instance_id: str, key: str, is_approved: bool) -> bool:
        decide = self.engine.approve if is_approved else self.engine.reject
        return (await decide(instance_id, key)).is_duplicate

    @precondition(lambda self: self.some("blocked"))
    @rule(which=st.integers(0, 4))
    def resume(self, which: int) -> None:
        def step() -> tuple[bool, Any]:
            model = self.models.get(instance_id)
            if model is None:
                return False, UnknownInstanceError
            if model.status != "blocked":
                return False, InstanceNotBlockedError
            model.resume()
            return True, model.status

        instance_id = self.one_of(self.some("blocked") if which else self.models, which)
        self.call(instance_id, self.engine.resume(instance_id), step)

    @precondition(lambda self: self.models)
    @rule(instance_id=IDS)
    def advance(self, instance_id: str) -> None:
        def step() -> tuple[bool, Any]:
            model = self.models.get(instance_id)
            if model is None:
                return False, UnknownInstanceError
            has_changed = model.wake(self.clock.now())
            self.hurried.add(instance_id)
            model.put_off_until = model.not_before = -1.0
            return has_changed, model.status

        if any(operation.id == instance_id for operation in self.pending):
            return  # it takes the lock twice: what is asked later may come in between
        model = self.models.get(instance_id)
        if self.store.is_held and model is not None and len(model.records) >= self.settings.max_records:
            return  # driven now it would be blocked, and that write is nobody's operation
        self.call(instance_id, self.engine.advance(instance_id), step)

    @precondition(lambda self: self.models)
    @rule(which=st.integers(0, 4), action=GOING_ON | FAILING)
    def apply(self, which: int, action: Any) -> None:
        def step() -> tuple[bool, Any]:
            model = self.models.get(instance_id)
            if model is None:
                return False, UnknownInstanceError
            if model.has_open_turn:
                return False, TurnOpenError
            if not model.is_runnable:
                return False, TurnNotOpenError
            try:
                model.answer(action, self.clock.now())
            except MalformedError:
                return False, InvalidInputError
            return True, model.status

        instance_id = self.one_of(self.models, which)
        is_asked = self.models[instance_id].has_open_turn
        if any(each.id == instance_id and (each.call is None or not is_asked) for each in self.pending):
            return  # the next turn may begin before, or not: who has found a place waits for the lock, too
        self.call(instance_id, self.apply_and_tell(instance_id, action), step)

    async def apply_and_tell(self, instance_id: str, action: Any) -> str:
        return str((await self.engine.apply(instance_id, action)).status)

    @precondition(lambda self: self.some(*FINISHED))
    @rule(which=st.integers(0, 4))
    def delete(self, which: int) -> None:
        def step() -> tuple[bool, Any]:
            model = self.models.get(instance_id)
            if model is None:
                return False, UnknownInstanceError
            if not model.is_finished:
                return False, InstanceNotFinishedError
            del self.models[instance_id]
            return True, None

        instance_id = self.one_of(self.some(*FINISHED) if which else self.models, which)
        if self.is_unreadable(instance_id):
            return  # the start finds the old one, or makes a new one
        self.call(instance_id, self.engine.delete(instance_id), step)

    # --- what the runner does --------------------------------------------------------------------------------------

    @precondition(lambda self: self.runner.open)
    @rule(which=st.integers(0, 4), answer=GOING_ON)
    def answer(self, which: int, answer: Any) -> None:
        instance_id = self.one_of(self.runner.open, which)
        self.give(instance_id, answer)
        self.process()

    @precondition(lambda self: self.runner.open)
    @rule(which=st.integers(0, 4), actions=STREAM)
    def say_some_of_an_answer(self, which: int, actions: list[Any]) -> None:
        """Lines of a stream: they count as they come, and the turn stays open for more."""
        instance_id = self.one_of(self.runner.open, which)
        if any(operation.id == instance_id and operation.call is not None for operation in self.pending):
            return  # the lines may come before what has been asked, or after it
        self.runner.say(instance_id, actions)
        self.unanswered[self.models[instance_id].name].clear()
        self.answers_with(Operation(instance_id, None, partial(self.step_lines, instance_id, actions)))
        self.process()

    @precondition(lambda self: self.runner.open)
    @rule(which=st.integers(0, 4), answer=FAILING | FAILING | NO_ANSWER | ENDING)
    def answer_badly(self, which: int, answer: Any) -> None:
        instance_id = self.one_of(self.runner.open, which)
        if instance_id in self.kept:
            return  # nobody hears of it before the lines that came first are stored
        if isinstance(answer, Defer | RunnerUnavailableError) and self.runner.open[instance_id].has_failed:
            return  # it is postponed and due, and the later of the two counts: not what the model keeps apart
        self.give(instance_id, answer)
        self.process()

    @precondition(lambda self: self.runner.open)
    @rule(which=st.integers(0, 4), answer=STREAM, end=st.none() | ENDING | st.builds(Defer, retry_after=DURATIONS))
    def answer_with_a_stream(self, which: int, answer: list[Any], end: Any) -> None:
        """Lines that came together: all of it or nothing is written, up to what suspends or does not fit (P4)."""
        instance_id = self.one_of(self.runner.open, which)
        has_failed = self.runner.open[instance_id].has_failed or any(isinstance(action, Fail) for action in answer)
        if isinstance(end, Defer) and has_failed:
            return  # it is postponed and due, and the later of the two counts: not what the model keeps apart
        self.give(instance_id, answer if end is None else [*answer, end])
        self.process()

    @precondition(lambda self: self.runner.open)
    @rule(which=st.integers(0, 4), action=GOING_ON)
    def will_answer_even_when_it_is_given_up(self, which: int, action: Any) -> None:
        self.runner.open[self.one_of(self.runner.open, which)].parting_word = action

    @precondition(lambda self: self.runner.open and not self.store.is_held)
    @rule(which=st.integers(0, 4), action=GOING_ON | ENDING, is_first=st.booleans())
    def answer_and_be_cancelled_at_once(self, which: int, action: Any, is_first: bool) -> None:
        """One or the other, never both, and never a half of each (P28)."""
        instance_id = self.one_of(self.runner.open, which)
        if instance_id in self.kept:
            return
        if is_first:
            self.give(instance_id, action)
        cancelling = self.loop.create_task(self.engine.cancel(instance_id))
        if not is_first:
            self.give(instance_id, action)
        self.settle()
        answering = self.pending.pop()
        before = self.models[instance_id]
        outcomes = []
        for answers_first in (True, False):
            self.models[instance_id] = before.copy()
            if answers_first:
                answering.step()
            _, heard = self.step_cancel(instance_id)
            outcomes.append((self.models[instance_id], heard))
        self.models[instance_id] = before
        seen = self.view(self.do(self.engine.get(instance_id)))
        possible = [outcome for outcome in outcomes if self.expected(outcome[0]) == seen]
        assert possible, f"neither one nor the other: {seen}"
        self.models[instance_id], heard = possible[0]
        assert self.heard(cancelling) == heard
        self.process()

    def give(self, instance_id: str, answer: Any) -> None:
        """Have the runner answer, and note what the model makes of it."""
        self.runner.give(instance_id, answer)
        if isinstance(answer, RunnerUnavailableError):
            self.unanswered[self.models[instance_id].name].add(instance_id)
            self.down_until = max(self.down_until, self.clock.monotonic() + max(60.0, answer.retry_after_s or 0.0))
        elif not isinstance(answer, TurnTimedOutError):
            self.unanswered[self.models[instance_id].name].clear()
        self.answers_with(Operation(instance_id, None, partial(self.step_answer, instance_id, answer)))

    def answers_with(self, operation: Operation) -> None:
        """It is next; or, behind lines that found the disk full, nobody looks at it before those are stored."""
        self.kept.get(operation.id, self.pending).append(operation)

    def step_answer(self, instance_id: str, answer: Any) -> tuple[bool, Any]:
        model = self.models.get(instance_id)
        if model is None or not model.has_open_turn:
            return False, None  # stale: discarded
        model.has_open_turn, now, monotonic = False, self.clock.now(), self.clock.monotonic()
        if isinstance(answer, RunnerUnavailableError):
            model.has_spoken = False
            asked_for_s = answer.retry_after_s or 0.0
            model.put_off_until = monotonic + max(asked_for_s, 30.0)
            model.not_before = self.not_before(instance_id, asked_for_s)
            return False, None
        if isinstance(answer, RunnerError):
            is_malformed = isinstance(answer, MalformedAnswerError)
            return model.no_answer(f"{answer.code}: {answer}" if is_malformed else str(answer), now), None
        before = model.revision
        actions = answer if isinstance(answer, list) else [answer]
        deferral = model.answer_all(actions, now, self.settings.max_records)
        model.has_spoken = False
        has_changed = model.revision > before
        if has_changed:
            model.deferrals = 0
        if deferral is not None and model.is_runnable:
            asked_for_s = max(deferral.retry_after / timedelta(seconds=1), 0.1)
            model.put_off_until = monotonic + max(asked_for_s, min(asked_for_s * 2**model.deferrals, 300.0))
            model.not_before = self.not_before(instance_id, asked_for_s)
            model.deferrals += 1
        return has_changed, None

    def step_lines(self, instance_id: str, actions: list[Any]) -> tuple[bool, Any]:
        model = self.models.get(instance_id)
        if model is None or not model.has_open_turn:
            return False, None
        before = model.revision
        model.answer_all(actions, self.clock.now(), self.settings.max_records)
        model.has_open_turn = model.has_spoken
        if model.revision > before:
            model.deferrals = 0
        return model.revision > before, None

    def not_before(self, instance_id: str, asked_for_s: float) -> float:
        """When it may be asked about again; at once, when somebody said so while the answer waited to be looked at."""
        return -1.0 if instance_id in self.hurried else self.clock.monotonic() + asked_for_s

    # --- what the machine underneath does --------------------------------------------------------------------------

    @precondition(lambda self: not self.store.is_held)
    @rule(seconds=st.sampled_from([0.1, 0.3, 0.5, 1.0, 2.0, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        now, monotonic = self.clock.now(), self.clock.monotonic()
        self.clock.advance(seconds)
        for model in self.models.values():
            if model.due_at is not None and model.overdue_since is None and model.due_at <= self.clock.now():
                model.overdue_since = monotonic + max(0.0, (model.due_at - now) / timedelta(seconds=1))
        self.process()

    @precondition(lambda self: not self.store.is_held)
    @rule(seconds=st.sampled_from([0.4, -0.4, 5.0, -5.0, 3600.0, -3600.0, -86400.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.clock.jump(timedelta(seconds=seconds))
        for model in self.models.values():
            is_due = model.due_at is not None and model.due_at <= self.clock.now()
            model.overdue_since = (model.overdue_since or self.clock.monotonic()) if is_due else None
        self.process()

    @rule()
    def earlier_runs_are_deleted(self) -> None:
        """At any moment, and nothing is seen of it (docs/decisions/0027-earlier-runs.md)."""
        ended_long_ago = timedelta(0)
        retention = EarlierRuns(self.inner, self.clock, keep_for=ended_long_ago)
        while self.do(retention.delete_some(ended_long_ago)):
            pass

    @precondition(lambda self: not self.store.is_held)
    @rule()
    def writes_take_long(self) -> None:
        self.store.is_held = True

    @precondition(lambda self: self.store.is_held)
    @rule(how=st.sampled_from(["land", "land", "full", "doubtful"]))
    def writes_end(self, how: str) -> None:
        troubled = {instance_id for instance_id, _, _ in self.store.held} if how != "land" else set()
        self.do(self.store.release(how))
        self.settle()
        rest = []
        for operation in self.pending:
            if operation.id not in troubled:
                if operation.call is None and operation.id in self.kept:
                    self.answers_with(operation)
                else:
                    rest.append(operation)
                continue
            troubled.discard(operation.id)
            before = self.saved(operation.id)
            operation.step()
            if how == "full":
                self.restore(operation.id, before)
                self.compare(operation, StorageFullError)
            else:
                self.compare(operation, StoreError)
            self.is_put_off_by_trouble(operation, how, before)
        self.pending = rest
        self.process()

    def is_put_off_by_trouble(self, operation: Operation, how: str, before: ModelInstance | None) -> None:
        """An answer that found the disk full is kept and tried again in a second; what is doubtful is looked for."""
        model = self.models.get(operation.id)
        if model is None:
            return
        if how == "doubtful":
            model.in_doubt_until = self.clock.monotonic() + 1.0
            model.has_open_turn = operation.call is not None and before is not None and before.has_open_turn
        elif operation.call is None:
            model.kept_until = self.clock.monotonic() + 1.0
            self.kept[operation.id] = [operation]
            model.has_open_turn = True

    @precondition(lambda self: self.store.is_held or self.runner.open)
    @rule(landed=st.integers(0, 3))
    def is_killed(self, landed: int) -> None:
        self.kill(landed)
        self.inner = self.store_after_a_kill()
        self.forget_what_was_not_written()
        self.open_engine()
        self.process()

    def kill(self, landed: int) -> None:
        """Drop the engine in the middle of whatever it does; so many of the writes that are held have landed."""
        held = [instance_id for instance_id, _, _ in self.store.held]

        async def drop_everything() -> None:
            await self.store.die(landed)
            for _ in range(100):
                others = asyncio.all_tasks() - {asyncio.current_task()}
                for task in others:
                    task.cancel()
                await asyncio.sleep(0)
                if not others:
                    return
            raise AssertionError(f"tasks outlive the engine: {others}")

        calls = [operation.call for operation in self.pending if operation.call is not None]
        self.do(drop_everything())
        for call in calls:
            with suppress(asyncio.CancelledError, Exception):
                call.exception()
        for instance_id in held[:landed]:
            if instance_id and instance_id in {operation.id for operation in self.pending}:
                next(operation for operation in self.pending if operation.id == instance_id).step()
        self.pending = []

    @precondition(lambda self: not self.store.is_held)
    @rule(answers=st.lists(GOING_ON | ENDING, max_size=3))
    def is_restarted(self, answers: list[Any]) -> None:
        """SIGTERM: no new work, turns in flight may finish, what is cut off is asked again (P29)."""
        closing = self.loop.create_task(self.engine.__aexit__(None, None, None))
        self.settle()
        with pytest.raises(EngineNotRunningError):
            self.do(self.engine.start("order"))
        asked = set(self.runner.open)
        for instance_id, answer in zip([each for each in self.models if each in asked], answers, strict=False):
            self.give(instance_id, answer)
            self.settle()
        left = dict(self.runner.open)
        assert left.keys() <= asked, "a turn began after the engine was told to stop"
        for instance_id, question in left.items():
            if question.parting_word is not None and instance_id not in self.kept:  # else it is not listening
                self.pending.append(
                    Operation(instance_id, None, partial(self.step_answer, instance_id, question.parting_word))
                )
        if left or any(model.kept_until is not None for model in self.models.values()):
            assert not closing.done()
            closing.cancel()
        with suppress(asyncio.CancelledError):
            self.do(closing)
        for operation in self.pending:
            operation.step()
        self.pending = []
        assert not self.runner.open
        self.forget_what_was_not_written()
        self.open_engine()
        self.process()

    def forget_what_was_not_written(self) -> None:
        self.kept.clear()
        for instance_ids in self.unanswered.values():
            instance_ids.clear()
        for model in self.models.values():
            model.has_open_turn, model.put_off_until, model.not_before, model.deferrals = False, -1.0, -1.0, 0
            model.in_doubt_until, model.kept_until, model.has_spoken = -1.0, None, False

    # --- what must be true -----------------------------------------------------------------------------------------

    def process(self) -> None:
        """Let the engine go on, and the model after it, operation by operation, up to those that wait for a write."""
        self.hurried.clear()
        self.settle()
        waiting: set[str] = set()
        left = []
        for operation in self.pending:
            before = None if operation.id in waiting else self.saved(operation.id)
            writes, heard = (True, None) if operation.id in waiting else operation.step()
            if writes and self.store.is_held:
                if operation.id not in waiting:
                    self.restore(operation.id, before)
                waiting.add(operation.id)
                left.append(operation)
                assert operation.call is None or not operation.call.done(), "acknowledged before it was stored"
            else:
                self.compare(operation, heard)
                model = self.models.get(operation.id)
                if model is not None and not model.is_runnable:  # which no postponement outlives
                    model.put_off_until = model.not_before = -1.0
        self.pending = left
        assert waiting == {instance_id for instance_id, _, _ in self.store.held}
        for model in self.models.values():
            if model.id not in waiting:
                self.follow(model)

    def follow(self, model: ModelInstance) -> None:
        """What the engine does of itself, at a moment of its own: waking what is due, blocking what is too large."""
        if model.kept_until is not None and (not model.has_open_turn or self.clock.monotonic() >= model.kept_until):
            model.kept_until = None
            for operation in self.kept.pop(model.id):
                operation.step()
        found = self.do(self.store.inner.summary(model.id))
        if model.due_at is not None and model.due_at <= self.clock.now():
            if found is not None and found.revision > model.revision:
                model.wake(self.clock.now())
                model.overdue_since = None
                model.put_off_until = model.not_before = -1.0
            else:
                if model.overdue_since is None:
                    model.overdue_since = self.clock.monotonic()
                late_s = self.clock.monotonic() - model.overdue_since
                assert late_s < 1.0, f"{model.id}: overdue for {late_s} s (P16)"
        elif model.due_at is None:
            model.overdue_since = None
        is_too_large = len(model.records) >= self.settings.max_records
        if is_too_large and found is not None and found.revision == model.revision + 1:
            assert model.is_runnable and found.blocked_reason.startswith("history-too-large")
            model.block()
        model.has_open_turn = model.id in self.runner.open or model.kept_until is not None
        model.has_spoken = model.has_spoken and model.has_open_turn
        if not model.is_runnable:
            model.put_off_until = model.not_before = -1.0

    def saved(self, instance_id: str) -> ModelInstance | None:
        model = self.models.get(instance_id)
        return None if model is None else model.copy()

    def restore(self, instance_id: str, before: ModelInstance | None) -> None:
        if before is None:
            self.models.pop(instance_id, None)
        else:
            self.models[instance_id] = before

    def compare(self, operation: Operation, expected: Any) -> None:
        if operation.call is not None:
            assert operation.call.done(), f"{operation.id}: no answer, expected {expected}"
            heard = self.heard(operation.call)
            assert heard == expected, f"{operation.id}: heard {heard}, expected {expected}"

    def heard(self, call: asyncio.Task[Any]) -> Any:
        error = call.exception()
        if isinstance(error, StoreError) and not isinstance(error, StorageFullError):
            return StoreError
        if error is not None:
            return type(error)
        result = call.result()
        return astuple(result) if isinstance(result, Started) else result

    def some(self, *statuses: str) -> list[str]:
        return [model.id for model in self.models.values() if model.status in statuses]

    def one_of(self, ids: Any, which: int) -> str:
        """By age, for ids that the engine makes are others each time."""
        known = [instance_id for instance_id in self.models if instance_id in ids]
        return known[which % len(known)]

    @invariant()
    def every_instance_is_as_the_model_says(self) -> None:
        assert self.runner.faults == [], "at most one call in flight (P7)"
        assert self.runner.open.keys() <= self.models.keys()
        changing = {operation.id for operation in self.pending}
        histories = self.do(self.inner.histories(list(self.models)))
        listed = self.do(self.store.list())
        assert {summary.id for summary in listed} == self.models.keys()
        for summary in listed:
            model = self.models[summary.id]
            restored = self.through_json(model, histories[model.id])
            folded = replay(restored)
            assert restored == list(histories[model.id])
            assert self.view(folded) == self.expected(model)
            assert summary == projection(folded), "the row mirrors the history"
            instance = self.do(self.engine.get(model.id)) if not self.is_unreadable(model.id) else folded
            assert instance == folded, "what is seen is what is durable"
            self.check_it_is_never_stuck(model, instance, model.id in changing)
            if model.id in self.runner.open:
                self.check_question(model)

    def is_unreadable(self, instance_id: str) -> bool:
        """Whether a read has to wait: a start that finds the id taken holds the lock, whatever is in memory."""
        return any(operation.id == instance_id and operation.is_start for operation in self.pending)

    def check_it_is_never_stuck(self, model: ModelInstance, instance: Any, is_changing: bool) -> None:
        """In flight, due at a time, waiting for something named, or blocked with a reason (P8)."""
        is_asked = model.id in self.runner.open
        if is_changing:
            return
        is_in_doubt = self.clock.monotonic() < model.in_doubt_until
        explanation = self.do(self.engine.explain(model.id))
        assert is_in_doubt or explanation.reason is not Reason.UNEXPLAINED, str(explanation)
        assert self.engine.unexplained_instances == 0
        if model.is_finished:
            return
        if not model.is_runnable:
            assert instance.due_at or instance.waiting_for or instance.blocked_reason
            assert not is_asked or self.runner.open[model.id].has_spoken, "asked although it waits"
            return
        monotonic = self.clock.monotonic()
        is_kept = model.kept_until is not None
        kept = sum(each.kept_until is not None for each in self.models.values())
        is_full = len(self.runner.open) + len(self.pending) + kept >= self.settings.max_in_flight
        is_down = len(self.unanswered[model.name]) >= 3 and (self.runner.open or monotonic < self.down_until)
        is_put_off = monotonic < max(model.put_off_until, model.in_doubt_until)
        assert is_asked or is_kept or is_full or is_down or is_put_off, (
            f"{model.id} is stuck: nothing will ever happen to it"
        )

    def check_question(self, model: ModelInstance) -> None:
        question = self.runner.open[model.id]
        request = question.request
        if not model.is_runnable or question.has_spoken:
            return
        assert request.current_step == model.step, "a recorded step never runs again (P6)"
        assert request.idempotency_key == question.turn.idempotency_key == f"{model.id}:{model.run}:{model.step}"
        assert (request.run, request.input, request.vars) == (model.run, model.run_input, model.run_vars)
        assert request.attempt.number == model.failures_here + 1, "the counter survives restarts (P10)"
        assert [record_view(record) for record in request.completed_steps] == model.records
        assert self.clock.monotonic() >= model.not_before, "Retry-After is obeyed (P10)"

    def through_json(self, model: ModelInstance, history: Any) -> Any:
        rows = [(number, *encode(transition)) for number, transition in numbered(history)]
        return decode_history(model.id, rows, revision=model.revision)

    def expected(self, model: ModelInstance) -> Any:
        return (
            model.name,
            model.run,
            model.run_input,
            model.vars,
            model.status,
            model.revision,
            model.step,
            model.failures_here,
            model.due_at,
            model.wait[0] if model.wait else model.gate[0] if model.gate else None,
            model.records,
            model.inbox,
            model.event_ids,
            model.output,
            model.error,
            model.is_started,
        )

    def view(self, instance: Any) -> Any:
        return (
            instance.name,
            instance.run,
            instance.input,
            dict(instance.vars),
            str(instance.status),
            instance.revision,
            instance.current_step,
            instance.failures_here,
            instance.due_at,
            instance.waiting_for,
            [record_view(record) for record in instance.steps],
            [(unread.event, json.loads(unread.data_json)) for unread in instance.inbox],
            set(instance.event_ids),
            instance.output,
            instance.error,
            instance.started_at is not None,
        )


def record_view(record: Any) -> tuple[Any, ...]:
    return (
        record.key,
        record.kind,
        record.status,
        record.position,
        record.output,
        record.retry_count,
        record.final,
        record.timed_out,
    )


def projection(instance: Any) -> InstanceSummary:
    return InstanceSummary(**{field.name: getattr(instance, field.name) for field in fields(InstanceSummary)})


class SqliteEngineMachine(EngineMachine):
    """The same over files. After a kill the engine opens a copy of what the dead one had left."""

    def new_store(self) -> SqliteStore:
        self.folder = tempfile.TemporaryDirectory()
        self.generation = 0
        return self.opened()

    def opened(self) -> SqliteStore:
        return SqliteStore(self.path, synchronous="normal")

    @property
    def path(self) -> Path:
        return Path(self.folder.name) / f"{self.generation}.db"

    def store_after_a_kill(self) -> SqliteStore:
        dead = self.path
        self.generation += 1
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{dead}{suffix}", f"{self.path}{suffix}")
        self.do(self.inner.close())
        return self.opened()

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


def runs(max_examples: int, *, is_derandomized: bool = True) -> settings:
    return settings(
        max_examples=max_examples,
        stateful_step_count=25,
        deadline=None,
        derandomize=is_derandomized,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


@pytest.mark.parametrize(
    ("machine", "count"),
    [
        (EngineMachine, 100),
        pytest.param(EngineMachine, 1_500, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param(SqliteEngineMachine, 100, marks=pytest.mark.slow),
        pytest.param(EngineMachine, 20_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
        pytest.param(SqliteEngineMachine, 2_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_whatever_happens_the_promises_hold(machine: type[EngineMachine], count: int) -> None:
    with StoppedParts() as parts:
        run_state_machine_as_test(machine, settings=runs(count))
    assert parts.told == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_with_a_seed_of_this_day_they_hold_too(count: int) -> None:
    number = random.randrange(2**32)
    print(f"seed({number})")  # noqa: T201 -- shown when it fails

    seeded = seed(number)(type("EngineMachine", (EngineMachine,), {}))
    with StoppedParts() as parts:
        run_state_machine_as_test(seeded, settings=runs(count, is_derandomized=False))
    assert parts.told == []
