"""Groups and children under whatever comes: answers in any order, failures, kills, restarts, a full disk (P4-P8, P28).

One workflow: a map, then a child whose code is a parallel, then its end. The runner answers when the machine says so.
There is no model: what must hold is said of the histories, and in the end everything must end as its history says.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from engine_world import CountingLoop, HeldStore, settle
from hypothesis import HealthCheck, Phase, settings
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
from pylon_workflows.core.groups import Group
from pylon_workflows.core.transitions import (
    ChildFinished,
    GroupStarted,
    MemberAttemptFailed,
    MemberFailed,
    MemberSucceeded,
)
from pylon_workflows.errors import (
    MalformedAnswerError,
    RunnerError,
    RunnerUnavailableError,
    TurnTimedOutError,
)
from pylon_workflows.settings import EngineSettings
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import FakeClock
from runner_protocol.messages import (
    Action,
    Complete,
    Defer,
    Diverged,
    Fail,
    Map,
    Member,
    Parallel,
    StartChild,
    StepComplete,
    TurnRequest,
    Usage,
    parse_request,
)

PARENT, CHILD = "parent", "child"
COST = Usage(cost_usd="0.01", input_tokens=1)

ANSWERS = st.one_of(
    st.just(StepComplete(output="?", usage=COST)),
    st.just(StepComplete(output="?", usage=COST)),
    st.builds(Fail, error=st.just("no"), retry_after=st.none() | st.just(timedelta(seconds=2))),
    st.just(Fail(error="never", retryable=False)),
    st.just(Defer(retry_after=timedelta(seconds=0.3))),
    st.just(Diverged(position=0, expected="s", got="t")),
    st.just(MalformedAnswerError("no action")),
    st.just(Complete()),
    st.just(TurnTimedOutError("timed out after 30 s")),
    st.builds(lambda dropped: RunnerUnavailableError("down", has_dropped_turn=dropped), st.booleans()),
)


class Runner:
    """Answers turns at once, and members when the machine says so."""

    def __init__(self, plan: Any) -> None:
        self.plan = plan
        self.open: dict[str, tuple[TurnRequest, asyncio.Future[Any]]] = {}
        self.faults: list[str] = []

    async def take_turn(self, turn: Any, apply: Any) -> None:
        request = parse_request(turn.body)
        if request.mode == "advance":
            await apply([self.plan(request)])
            return
        if turn.idempotency_key in self.open:
            self.faults.append(f"{turn.idempotency_key}: called twice at a time")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.open[turn.idempotency_key] = request, answer
        try:
            await apply([await answer])
        finally:
            del self.open[turn.idempotency_key]

    def give(self, key: str, answer: Action | RunnerError) -> None:
        request, future = self.open[key]
        if isinstance(answer, RunnerError):
            future.set_exception(answer)
        else:
            is_success = isinstance(answer, StepComplete)
            future.set_result(answer.model_copy(update={"output": said(request)}) if is_success else answer)


def said(request: TurnRequest) -> str:
    return f"{request.member.key} {request.attempt.number}"


class FamilyMachine(RuleBasedStateMachine):
    """A day in the life of a family."""

    @initialize(
        count=st.integers(0, 6),
        at_a_time=st.integers(1, 3),
        fail_fast=st.booleans(),
        is_awaited=st.booleans(),
        places=st.sampled_from([1, 2, 512]),
        cache=st.sampled_from([1, 10_000]),
    )
    def begin(self, count: int, at_a_time: int, fail_fast: bool, is_awaited: bool, places: int, cache: int) -> None:
        items = list(range(count))
        self.group = Map(name="m", key="m", items=items, max_in_flight=at_a_time, fail_fast=fail_fast)
        self.pair = Parallel(name="p", key="p", members=[Member(name="x"), Member(name="y")], fail_fast=fail_fast)
        self.child = StartChild(name="c", key="child:c", workflow="child", id=CHILD, wait=is_awaited)
        self.settings = EngineSettings(
            max_in_flight=places, max_live_instances=cache, shutdown_grace_s=3600, retain_finished_for=None
        )
        self.clock, self.loop, self.inner = FakeClock(), CountingLoop(), MemoryStore()
        asyncio.set_event_loop(None)
        self.is_cancelled = False
        self.was_cancelled: asyncio.Task[None] | None = None
        self.open_engine()
        self.do(self.engine.start("parent", id=PARENT))
        self.settle()

    def plan(self, request: TurnRequest) -> Action:
        done = [record.key for record in request.completed_steps if record.position is not None]
        if request.workflow_name == "child":
            return self.pair if not done else Complete(output="ended")
        if not done:
            return self.group
        return self.child if len(done) == 1 else Complete(output="ended")

    def open_engine(self) -> None:
        self.store, self.runner = HeldStore(self.inner), Runner(self.plan)
        self.engine = WorkflowEngine(
            runner=self.runner, store=self.store, clock=self.clock, settings=self.settings, jitter=lambda: 1.0
        )
        for name in ("parent", "child"):
            self.engine.register(WorkflowDefinition(name, max_retries=2))
        self.do(self.engine.__aenter__())
        self.settle()

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def settle(self) -> None:
        self.do(settle(self.loop, self.store))

    def calls(self) -> list[str]:
        return [key for key, (_, answer) in self.runner.open.items() if not answer.done()]

    @precondition(lambda self: self.calls())
    @rule(which=st.integers(0, 9), answer=ANSWERS)
    def answer(self, which: int, answer: Any) -> None:
        calls = self.calls()
        self.runner.give(calls[which % len(calls)], answer)
        self.settle()

    @precondition(lambda self: len(self.calls()) > 1)
    @rule(answers=st.lists(ANSWERS, min_size=2, max_size=3))
    def answer_several_at_once(self, answers: list[Any]) -> None:
        for key, answer in zip(self.calls(), answers, strict=False):
            self.runner.give(key, answer)
        self.settle()

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        if not self.store.is_held:
            self.clock.advance(seconds)
            self.settle()

    @rule(seconds=st.sampled_from([-5.0, 5.0, 3600.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        if not self.store.is_held:
            self.clock.jump(timedelta(seconds=seconds))
            self.settle()

    @rule()
    def blocked_ones_go_on(self) -> None:
        if not self.store.is_held:
            self.resume()

    def resume(self) -> None:
        for instance_id, instance in self.instances().items():
            if instance.blocked_reason is not None:
                self.do(self.engine.resume(instance_id))
        self.settle()

    @precondition(lambda self: not self.store.is_held)
    @rule(which=st.sampled_from([PARENT, CHILD]), is_meant=st.integers(0, 4))
    def is_cancelled_by_somebody(self, which: str, is_meant: int) -> None:
        if is_meant == 0:
            with suppress(Exception):
                self.do(self.engine.cancel(which))
                self.is_cancelled = True
            self.settle()

    @precondition(lambda self: not self.store.is_held)
    @rule()
    def writes_take_long(self) -> None:
        self.store.is_held = True

    @precondition(lambda self: self.store.is_held)
    @rule(how=st.sampled_from(["land", "full", "doubtful"]))
    def writes_end(self, how: str) -> None:
        self.do(self.store.release(how))
        self.settle()

    @rule(landed=st.integers(0, 3))
    def is_killed(self, landed: int) -> None:
        self.kill(landed)
        self.open_engine()

    def kill(self, landed: int) -> None:
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

        self.do(drop_everything())

    @invariant()
    def nothing_that_is_recorded_is_asked_for_again(self) -> None:
        if not hasattr(self, "engine"):
            return
        assert self.runner.faults == []
        found = self.instances()
        for instance_id, instance in found.items():
            asked = [request for request, _ in self.runner.open.values() if request.workflow_id == instance_id]
            group = instance.group
            if group is None:
                assert not asked, f"{instance_id}: members of a group that has ended are asked for"
                continue
            assert len(asked) <= group.max_in_flight
            for request in asked:
                index = request.member.index
                if group.is_unfinished(index):
                    assert request.attempt.number == group.failures(index) + 1
                else:
                    raise AssertionError(f"{request.member.key} is recorded and asked for (P6)")
        in_flight = len(self.runner.open)
        assert in_flight <= 2 * self.settings.max_in_flight

    def instances(self) -> dict[str, Any]:
        histories = self.do(self.inner.histories([PARENT, CHILD]))
        return {instance_id: replay(history) for instance_id, history in histories.items()}

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        try:
            self.everything_ends()
        finally:
            self.kill(0)
            self.do(self.inner.close())
            self.loop.close()

    def everything_ends(self) -> None:
        """From here on every call succeeds, and time passes: then nothing may be left open (P8)."""
        if self.store.is_held:
            self.do(self.store.release("land"))
        self.settle()
        for _ in range(200):
            self.resume()
            for key in self.calls():
                self.runner.give(key, StepComplete(output="?", usage=COST))
            self.settle()
            self.clock.advance(5)
            self.settle()
            instances = self.instances()
            if all(instance.is_finished for instance in instances.values()) and not self.left():
                break
        else:
            raise AssertionError(f"never ends: {[str(each.status) for each in self.instances().values()]}")
        self.check_ends()

    def left(self) -> Any:
        return self.do(self.inner.unannounced(limit=9))

    def check_ends(self) -> None:
        found = self.instances()
        parent, child = found[PARENT], found.get(CHILD)
        if not self.is_cancelled:
            assert parent.status == "completed", parent.error
        if parent.records:
            self.check_group(PARENT, parent.records[0])
        if child is not None and child.records:
            self.check_group(CHILD, child.records[0])
        history = self.do(self.inner.histories([PARENT]))[PARENT]
        told = [each for each in history if isinstance(each, ChildFinished)]
        assert len(told) <= 1, "a child's end counts once"
        if child is not None and parent.status == "completed" and self.child.wait:
            assert len(told) == 1
            assert parent.usage.input_tokens == self.successes(PARENT) + self.successes(CHILD)

    def members(self, instance_id: str) -> list[Any]:
        history = self.do(self.inner.histories([instance_id]))[instance_id]
        return [each for each in history if isinstance(each, MemberSucceeded | MemberAttemptFailed | MemberFailed)]

    def successes(self, instance_id: str) -> int:
        return sum(isinstance(each, MemberSucceeded) for each in self.members(instance_id))

    def check_group(self, instance_id: str, record: Any) -> None:
        """The record is what its members came to, each of them counted once."""
        history = self.do(self.inner.histories([instance_id]))[instance_id]
        group = Group(next(each for each in history if isinstance(each, GroupStarted)))
        failures: dict[int, int] = {}
        outputs: dict[int, str] = {}
        failed = set()
        for each in self.members(instance_id):
            assert each.index not in outputs
            assert each.index not in failed
            if isinstance(each, MemberSucceeded):
                outputs[each.index] = f"{group.member_key(each.index)} {failures.get(each.index, 0) + 1}"
                assert each.output_json.decode() == f'"{outputs[each.index]}"'
            else:
                failures[each.index] = failures.get(each.index, 0) + 1
                assert each.failures == failures[each.index]
                if isinstance(each, MemberFailed):
                    failed.add(each.index)
        if failed:
            assert (record.status, record.final) == ("failed", True)
            assert record.error.startswith(f"{len(failed)} of {group.total} members failed: ")
            assert group.fail_fast or len(outputs) + len(failed) == group.total
        else:
            expected = [outputs[index] for index in range(group.total)]
            names = [group.member_name(index) for index in range(group.total)]
            assert record.output == (expected if group.kind == "map" else dict(zip(names, expected, strict=True)))


def run(count: int) -> None:
    run_state_machine_as_test(
        FamilyMachine,
        settings=settings(
            max_examples=count,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


@pytest.mark.parametrize(
    "count",
    [
        60,
        pytest.param(600, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_whatever_happens_to_a_family_it_ends_as_its_history_says(count: int) -> None:
    run(count)
