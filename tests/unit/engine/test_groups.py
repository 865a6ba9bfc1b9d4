"""`parallel` and `map`: each member is asked for on its own, several at a time, and none that is recorded again."""

import asyncio
import json
from datetime import timedelta

import httpx
import pytest
from engine_parts import TroubledStore, settled

from pylon_workflows import WorkflowDefinition, create_app
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import MemberAttemptFailed, MemberFailed, MemberSucceeded
from pylon_workflows.errors import (
    InvalidInputError,
    MalformedAnswerError,
    RunnerUnavailableError,
    StorageFullError,
    TurnOpenError,
    TurnTimedOutError,
)
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, wait_for_status, wait_until
from runner_protocol.messages import (
    Complete,
    Defer,
    Diverged,
    Fail,
    Map,
    Member,
    Parallel,
    Sleep,
    StepComplete,
)

DROPPED = RunnerUnavailableError("connection lost", has_dropped_turn=True)
AWAY = RunnerUnavailableError("connection refused")


class CountingClock(FakeClock):
    """Counts how often anybody wanted to sleep."""

    slept = 0

    async def sleep(self, seconds):
        self.slept += 1
        await super().sleep(seconds)


class Group:
    """A runner whose workflow is one group; the test answers the members by hand, or by `plan`."""

    def __init__(self, action, plan=None, *, before=()):
        self.action = action
        self.before = list(before)
        self.plan = plan
        self.calls = []
        self.open = {}
        self.most_open = 0
        self.given_up = []
        self.after = []

    def __call__(self, request):
        if request.mode == "run_step":
            self.calls.append(request.member.key)
            if self.plan is not None:
                return self.plan(request)
            return self._wait(request.member.key)
        if request.current_step < len(self.before):
            return self.before[request.current_step]
        if request.current_step == len(self.before):
            return self.action
        self.after.append(request)
        last = request.completed_steps[-1]
        return Complete(output={"status": last.status, "output": last.output, "error": last.error})

    async def _wait(self, key):
        answer = self.open[key] = asyncio.get_running_loop().create_future()
        self.most_open = max(self.most_open, len(self.open))
        try:
            return await answer
        except asyncio.CancelledError:
            self.given_up.append(key)
            raise
        finally:
            del self.open[key]

    async def answer(self, key, action=None):
        await wait_until(lambda: key in self.open)
        asked = self.open[key]
        asked.set_result(StepComplete(output=key) if action is None else action)
        await wait_until(lambda: self.open.get(key) is not asked)


def items(count, **terms):
    return Map(name="resize", key="resize", items=list(range(count)), **terms)


def engine_with(runner, *, clock=None, store=None, definition=None, **settings):
    engine = engine_in_memory(
        ScriptedRunner(runner),
        clock=clock,
        store=store or TroubledStore(),
        settings=EngineSettings(**{"shutdown_grace_s": 0, **settings}),
    )
    engine.register(WorkflowDefinition("order", **{"max_retries": 2, **(definition or {})}))
    return engine


def squared(request):
    return StepComplete(output=request.member.input**2)


async def members_of(engine, instance_id="a"):
    history = await engine.history(instance_id)
    return [t for t in history if isinstance(t, MemberSucceeded | MemberAttemptFailed | MemberFailed)]


async def test_the_output_has_the_results_in_the_order_of_the_items_whatever_the_order_of_arrival():
    group = Group(items(3))
    async with engine_with(group) as engine:
        await engine.start("order", id="a")
        for key in ("resize[2]", "resize[0]", "resize[1]"):
            await group.answer(key)
        instance = await engine.wait("a", 10)
    assert instance.output == {
        "status": "completed",
        "output": ["resize[0]", "resize[1]", "resize[2]"],
        "error": None,
    }
    [record] = instance.steps
    assert (record.key, record.kind, record.position) == ("resize", "map", 0)


async def test_the_output_of_a_parallel_is_an_object_by_name():
    members = [Member(name="lint", input={"path": "a"}), Member(name="test")]
    group = Group(Parallel(name="checks", key="checks", members=members))
    async with engine_with(group) as engine:
        await engine.start("order", id="a")
        await group.answer("checks/test")
        await group.answer("checks/lint")
        instance = await engine.wait("a", 10)
    assert instance.output["output"] == {"lint": "checks/lint", "test": "checks/test"}
    assert instance.steps[0].kind == "parallel"


async def test_a_member_is_asked_for_with_the_records_before_its_group_and_without_its_siblings():
    first = StepComplete(step_name="list", output=[5, 6])
    group = Group(items(2, max_in_flight=1), squared, before=[first])
    engine = engine_with(group)
    async with engine:
        await engine.start("order", {"n": 1}, id="a")
        await engine.wait("a", 10)
        requests = engine._runner.requests
    asked = [request for request in requests if request.mode == "run_step"]
    assert [request.member.model_dump() for request in asked] == [
        {"group": "resize", "name": "resize", "key": f"resize[{index}]", "index": index, "total": 2, "input": index}
        for index in range(2)
    ]
    for request in asked:
        assert [record.key for record in request.completed_steps] == ["list"]
        assert (request.current_step, request.input) == (1, {"n": 1})
        assert request.idempotency_key == f"a:1:{request.member.key}"
    assert [record.key for record in group.after[0].completed_steps] == ["list", "resize"]


async def test_so_many_members_are_asked_for_at_a_time():
    group = Group(items(7, max_in_flight=3))
    async with engine_with(group) as engine:
        await engine.start("order", id="a")
        for done in range(7):
            await wait_until(lambda done=done: len(group.open) == min(3, 7 - done))
            await group.answer(next(iter(group.open)))
        await engine.wait("a", 10)
    assert group.most_open == 3


async def test_an_empty_group_has_succeeded_at_once():
    group = Group(items(0))
    async with engine_with(group) as engine:
        instance = await engine.wait(await engine.start("order"), 10)
    assert (instance.output["output"], group.calls) == ([], [])


async def test_a_member_that_fails_is_retried_on_its_own_while_the_others_go_on():
    clock = FakeClock()

    def plan(request):
        if request.member.index == 1 and request.attempt.number < 3:
            return Fail(error=f"no {request.attempt.number}, after {request.attempt.last_error}")
        return squared(request)

    group = Group(items(3, max_in_flight=1), plan)
    async with engine_with(group, clock=clock) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: len(group.calls) == 3)
        instance = await wait_for_status(engine, "a", Status.RUNNING)
        await wait_until(lambda: engine._engine._dispatcher.is_idle)
        instance = await engine.get("a")
        assert instance.retry_at == clock.now() + timedelta(seconds=1)
        assert group.calls == ["resize[0]", "resize[1]", "resize[2]"]
        clock.advance(1)
        await wait_until(lambda: len(group.calls) == 4)
        await wait_until(lambda: engine._engine._dispatcher.is_idle)
        clock.advance(2)
        instance = await engine.wait("a", 10)
    assert instance.output["output"] == [0, 1, 4]
    assert group.calls[3:] == ["resize[1]", "resize[1]"]


async def test_while_others_are_asked_for_a_retry_begins_when_its_time_has_come():
    clock = FakeClock()
    group = Group(items(2))
    async with engine_with(group, clock=clock) as engine:
        await engine.start("order", id="a")
        await group.answer("resize[0]", Fail(error="no", retry_after=timedelta(seconds=3)))
        await wait_until(lambda: "resize[0]" not in group.open)
        for _ in range(6):
            assert group.calls.count("resize[0]") == 1
            clock.advance(0.5)
            await settled()
        await group.answer("resize[0]")
        await group.answer("resize[1]")
        assert (await engine.wait("a", 10)).output["status"] == "completed"


async def test_while_others_are_asked_for_a_clock_that_jumps_forward_delays_no_retry():
    clock = FakeClock()
    group = Group(items(2))
    async with engine_with(group, clock=clock) as engine:
        await engine.start("order", id="a")
        await group.answer("resize[0]", Fail(error="no", retry_after=timedelta(hours=1)))
        await wait_until(lambda: members_of(engine))
        await settled()
        clock.jump(timedelta(hours=1))
        clock.advance(0.5)
        await group.answer("resize[0]")
        await group.answer("resize[1]")
        assert (await engine.wait("a", 10)).output["status"] == "completed"


async def test_without_fail_fast_all_run_to_their_end_and_the_failure_names_those_that_failed():
    def plan(request):
        return (
            Fail(error=f"no {request.member.index}", retryable=False) if request.member.index % 2 else squared(request)
        )

    group = Group(items(5, fail_fast=False, max_in_flight=2), plan)
    async with engine_with(group) as engine:
        instance = await engine.wait(await engine.start("order"), 10)
    assert len(group.calls) == 5
    assert instance.output == {
        "status": "failed",
        "output": None,
        "error": "2 of 5 members failed: resize[1]: no 1; resize[3]: no 3",
    }
    assert instance.steps[0].final


async def test_with_fail_fast_nothing_new_is_asked_and_what_is_asked_is_awaited_and_recorded():
    group = Group(items(9, max_in_flight=3))
    async with engine_with(group) as engine:
        await engine.start("order", id="a")
        await group.answer("resize[1]", Fail(error="no", retryable=False))
        await wait_until(lambda: "resize[1]" not in group.open)
        await group.answer("resize[2]")
        await settled()
        assert not (await engine.get("a")).is_finished
        await group.answer("resize[0]", Fail(error="too late to be retried"))
        instance = await engine.wait("a", 10)
        ended = await members_of(engine)
    assert group.calls == ["resize[0]", "resize[1]", "resize[2]"]
    assert [(type(each).__name__, each.index) for each in ended] == [
        ("MemberFailed", 1),
        ("MemberSucceeded", 2),
        ("MemberFailed", 0),
    ]
    assert instance.output["error"] == "2 of 9 members failed: resize[0]: too late to be retried; resize[1]: no"


async def test_after_a_restart_in_the_middle_no_member_that_is_recorded_runs_again():
    store, group = TroubledStore(), Group(items(6, max_in_flight=2))
    async with engine_with(group, store=store) as engine:
        await engine.start("order", id="a")
        for key in ("resize[0]", "resize[1]", "resize[3]"):
            await group.answer(key)
        await wait_until(lambda: group.calls[-1] == "resize[4]")
    assert group.given_up == ["resize[2]", "resize[4]"]
    again = Group(group.action)
    async with engine_with(again, store=store) as engine:
        for key in ("resize[2]", "resize[4]", "resize[5]"):
            await again.answer(key)
        instance = await engine.wait("a", 10)
    assert again.calls == ["resize[2]", "resize[4]", "resize[5]"]
    assert instance.output["output"] == [f"resize[{index}]" for index in range(6)]


async def test_after_a_restart_a_member_still_waits_for_its_retry_and_has_its_attempts_counted():
    store, clock = TroubledStore(), FakeClock()
    retried = Fail(error="no", retry_after=timedelta(minutes=1))
    group = Group(items(2), lambda request: retried if request.member.index else squared(request))
    async with engine_with(group, store=store, clock=clock) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: len(group.calls) == 2)
        await wait_until(lambda: engine._engine._dispatcher.is_idle)
    again = Group(group.action, lambda request: StepComplete(output=request.attempt.number))
    async with engine_with(again, store=store, clock=clock) as engine:
        await settled()
        assert again.calls == []
        clock.advance(60)
        assert (await engine.wait("a", 10)).output["output"] == [0, 2]
    assert again.calls == ["resize[1]"]


async def test_a_cancel_gives_up_all_calls_and_their_answers_are_dropped():
    group = Group(items(5, max_in_flight=3))
    async with engine_with(group) as engine:
        await engine.start("order", id="a")
        await group.answer("resize[0]")
        await wait_until(lambda: len(group.open) == 3 and "resize[3]" in group.open)
        await engine.cancel("a")
        await wait_until(lambda: not group.open)
        assert sorted(group.given_up) == ["resize[1]", "resize[2]", "resize[3]"]
        assert len(await members_of(engine)) == 1
        await wait_until(lambda: engine._engine._dispatcher.is_idle)


async def test_each_call_has_a_deadline_of_its_own_and_a_late_one_is_a_failed_attempt():
    def plan(request):
        return TurnTimedOutError("timed out after 30 s") if request.attempt.number == 1 else squared(request)

    clock = FakeClock()
    group = Group(items(2), plan)
    async with engine_with(group, clock=clock, definition={"step_timeout": timedelta(seconds=30)}) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: len(group.calls) == 2)
        await wait_until(lambda: engine._engine._dispatcher.is_idle)
        clock.advance(1)
        await engine.wait("a", 10)
        failed = [each for each in await members_of(engine) if isinstance(each, MemberAttemptFailed)]
    assert [each.error for each in failed] == ["timed out after 30 s"] * 2


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (MalformedAnswerError("no action"), "malformed-answer: no action"),
        (Complete(output=1), "malformed-answer: action: 'complete' is no answer to the call of a member"),
        (Sleep(duration="1s"), "malformed-answer: action: 'sleep' is no answer to the call of a member"),
        (
            StepComplete(key="resize[1]"),
            "malformed-answer: key: 'resize[1]', but 'resize[0]' was asked for",
        ),
    ],
)
async def test_what_is_no_answer_of_a_member_is_a_failed_attempt(answer, sentence):
    group = Group(items(1), lambda _: answer)
    async with engine_with(group, definition={"max_retries": 0}) as engine:
        instance = await engine.wait(await engine.start("order", id="a"), 10)
        [failed] = await members_of(engine)
    assert failed.error == sentence
    assert instance.output["status"] == "failed"


async def test_a_member_that_is_put_off_waits_alone_and_uses_up_no_retry():
    clock = FakeClock()

    def plan(request):
        if request.member.index == 0 and group.calls.count("resize[0]") < 3:
            return Defer(retry_after=timedelta(seconds=2), reason="warming up")
        return squared(request)

    group = Group(items(3, max_in_flight=1), plan)
    async with engine_with(group, clock=clock) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: len(group.calls) == 3)
        await wait_until(lambda: not engine._engine._dispatcher._driving)
        assert (await engine.get("a")).retry_at is None
        assert "warming up" in engine.waiting_for_runner(await engine.get("a")).reason
        for seconds in (2, 4):
            count = len(group.calls)
            clock.advance(seconds - 0.1)
            await settled()
            assert len(group.calls) == count
            clock.advance(0.1)
            await wait_until(lambda count=count: len(group.calls) == count + 1)
            await wait_until(lambda: not engine._engine._dispatcher._driving)
        instance = await engine.wait("a", 10)
    assert instance.output["output"] == [0, 1, 4]


async def test_a_runner_that_is_away_is_not_asked_for_every_member_and_no_retry_is_used_up():
    clock, is_away = FakeClock(), True
    group = Group(items(50, max_in_flight=10), lambda request: AWAY if is_away else squared(request))
    async with engine_with(group, clock=clock) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: not engine._engine._dispatcher._driving and group.calls)
        first = len(group.calls)
        assert first <= 10
        for _ in range(20):
            clock.advance(0.5)
            await settled()
        assert len(group.calls) <= first + 15
        is_away = False
        for _ in range(100):
            clock.advance(1)
            await settled()
        instance = await engine.wait("a", 10)
        assert {type(each) for each in await members_of(engine)} == {MemberSucceeded}
    assert instance.output["output"] == [index**2 for index in range(50)]


async def test_a_member_on_which_the_runner_dies_while_others_are_answered_blocks_the_instance():
    clock = FakeClock()
    group = Group(items(200, max_in_flight=2), lambda request: squared(request) if request.member.index else DROPPED)
    async with engine_with(group, clock=clock) as engine:
        await engine.start("order", id="a")
        await engine.start("order", id="b")
        while (await engine.get("a")).status is Status.RUNNING:
            clock.advance(1)
            await settled()
            await engine.start("order")  # others are answered in the meantime
        instance = await engine.get("a")
    assert instance.status is Status.BLOCKED
    assert "the runner dies on this step" in instance.blocked_reason


async def test_a_member_whose_code_has_changed_blocks_the_instance_and_a_resume_goes_on():
    group = Group(items(3))
    async with engine_with(group) as engine:
        await engine.start("order", id="a")
        await group.answer("resize[1]")
        await group.answer("resize[0]", Diverged(position=0, expected="resize", got="shrink"))
        await wait_for_status(engine, "a", Status.BLOCKED)
        await wait_until(lambda: not group.open)
        assert group.given_up == ["resize[2]"]
        await engine.resume("a")
        await group.answer("resize[0]")
        await group.answer("resize[2]")
        assert (await engine.wait("a", 10)).output["status"] == "completed"
    assert group.calls.count("resize[1]") == 1


async def test_what_came_with_the_answer_that_blocked_the_instance_is_gone_on_with_too():
    clock, group = FakeClock(), Group(items(3))
    async with engine_with(group, clock=clock) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: len(group.open) == 3)
        group.open["resize[0]"].set_result(Fail(error="no"))
        group.open["resize[1]"].set_result(Diverged(position=0, expected="resize", got="shrink"))
        group.open["resize[2]"].set_result(StepComplete(output="done"))
        await wait_for_status(engine, "a", Status.BLOCKED)
        await settled()
        await engine.resume("a")
        await group.answer("resize[1]")
        clock.advance(1)
        await group.answer("resize[0]")
        assert (await engine.wait("a", 10)).output["output"] == ["resize[0]", "resize[1]", "done"]


async def test_events_may_come_while_a_group_is_open():
    group = Group(items(2))
    async with engine_with(group) as engine:
        await engine.start("order", id="a")
        await group.answer("resize[0]")
        await engine.send_event("a", "paid")
        await group.answer("resize[1]")
        instance = await engine.wait("a", 10)
    assert instance.output["status"] == "completed"
    assert len(instance.inbox) == 1


async def test_no_canned_answer_is_taken_for_the_runners():
    group = Group(items(1))
    async with engine_with(group) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: group.open)
        with pytest.raises(TurnOpenError):
            await engine.apply("a", StepComplete(key="resize[0]"))
        await group.answer("resize[0]")
        await engine.wait("a", 10)


async def test_all_groups_together_have_so_many_calls_beside_one_for_each_and_take_turns():
    group = Group(items(20, max_in_flight=10))
    open_calls = {}

    def plan(request):
        return hold(request) if request.mode == "run_step" else group(request)

    async def hold(request):
        calls = open_calls.setdefault(request.workflow_id, {})
        calls[request.member.key] = answer = asyncio.get_running_loop().create_future()
        try:
            return await answer
        finally:
            del calls[request.member.key]

    async with engine_with(plan, max_in_flight=4) as engine:
        for instance_id in ("a", "b", "c"):
            await engine.start("order", id=instance_id)
        await wait_until(lambda: sum(map(len, open_calls.values())) == 3 + 4)
        seen = set()
        for _ in range(57):
            await wait_until(lambda: any(open_calls.values()))
            await settled()
            assert sum(map(len, open_calls.values())) <= 3 + 4
            seen.update(each for each, calls in open_calls.items() if len(calls) > 1)
            longest = max(open_calls.values(), key=len)
            longest[next(iter(longest))].set_result(StepComplete(output=1))
            await settled()
        assert seen == {"a", "b", "c"}
        while any(open_calls.values()):
            for calls in open_calls.values():
                for answer in calls.values():
                    if not answer.done():
                        answer.set_result(StepComplete(output=1))
            await settled()
        for instance_id in ("a", "b", "c"):
            await engine.wait(instance_id, 10)


async def test_a_retry_that_is_due_while_there_is_no_place_for_it_waits_for_one_and_keeps_nobody_busy():
    clock = CountingClock()
    group = Group(items(3))
    async with engine_with(group, clock=clock, max_in_flight=1) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: len(group.open) == 2)
        await group.answer("resize[0]", Fail(error="no"))
        await wait_until(lambda: len(group.open) == 2)
        clock.advance(1)
        await settled()
        before = clock.slept
        await settled()
        assert clock.slept == before
        for key in ("resize[1]", "resize[2]", "resize[0]"):
            await group.answer(key)
        assert (await engine.wait("a", 10)).output["status"] == "completed"


async def test_the_calls_of_a_workflow_are_within_its_own_limit():
    group = Group(items(10, max_in_flight=10))
    async with engine_with(group, definition={"max_in_flight": 3}) as engine:
        await engine.start("order", id="a")
        for _ in range(10):
            await wait_until(lambda: group.open)
            await settled()
            await group.answer(next(iter(group.open)))
        await engine.wait("a", 10)
    assert group.most_open == 3


async def test_an_instance_shows_how_far_its_group_is():
    group = Group(items(4, fail_fast=False))
    engine = engine_with(group)
    async with (
        engine,
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(engine)), base_url="http://localhost") as client,
    ):
        await engine.start("order", id="a")
        await group.answer("resize[0]")
        await group.answer("resize[3]")
        await group.answer("resize[2]", Fail(error="no", retryable=False))
        await wait_until(lambda: len(group.open) == 1)
        await settled()
        shown = json.loads((await client.get("/a")).content)
        assert shown["group"] == {
            "key": "resize", "kind": "map", "name": "resize", "total": 4, "succeeded": 2, "failed": 1,
        }  # fmt: skip
        assert shown["status"] == "running"
        await group.answer("resize[1]")
        await engine.wait("a", 10)
        assert (await client.get("/a")).json()["group"] is None


async def test_a_group_that_grows_too_large_blocks_its_instance():
    group = Group(items(10, max_in_flight=1), lambda _: StepComplete(output="x" * 100))
    async with engine_with(group, max_history_bytes=500) as engine:
        await engine.start("order", id="a")
        instance = await wait_for_status(engine, "a", Status.BLOCKED)
    assert instance.blocked_reason.startswith("history-too-large")
    assert len(group.calls) == 5


async def test_a_full_disk_runs_no_member_again():
    store, clock = TroubledStore(), FakeClock()
    group = Group(items(3))
    async with engine_with(group, store=store, clock=clock) as engine:
        await engine.start("order", id="a")
        await wait_until(lambda: len(group.open) == 3)
        store.write_trouble = StorageFullError("full")
        await group.answer("resize[0]")
        await group.answer("resize[1]")
        await settled()
        store.write_trouble = None
        clock.advance(1)
        await settled()
        await group.answer("resize[2]")
        clock.advance(1)
        assert (await engine.wait("a", 10)).output["status"] == "completed"
    assert len(group.calls) == 3


async def test_canned_answers_are_taken_for_those_of_the_members_whose_keys_they_have():
    engine = engine_in_memory(None)
    engine.register(WorkflowDefinition("order", max_retries=1))
    async with engine:
        await engine.start("order", id="a")
        await engine.apply("a", items(3))
        for action in (StepComplete(step_name="s"), StepComplete(key="resize[3]"), Complete()):
            with pytest.raises(InvalidInputError, match=r"the group 'resize' is open.*such as 'resize\[0\]'"):
                await engine.apply("a", action)
        await engine.apply("a", StepComplete(key="resize[2]", output="c"))
        await engine.apply("a", Fail(key="resize[0]", error="once"))
        await engine.apply("a", StepComplete(key="resize[0]", output="a"))
        instance = await engine.apply("a", StepComplete(key="resize[1]", output="b"))
        assert (instance.group, instance.steps[0].output) == (None, ["a", "b", "c"])
        await engine.apply("a", items(3).model_copy(update={"key": "again"}))
        instance = await engine.apply("a", Fail(key="again[1]", error="no", retryable=False))
        assert instance.steps[1].error == "1 of 3 members failed: again[1]: no"
