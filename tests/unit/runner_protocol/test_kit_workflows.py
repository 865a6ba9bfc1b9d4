"""Whole workflows, played turn by turn: what an author may write, and what comes of it."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import playing
import pytest
from playing import Play, ask, completed, record

from runner_protocol import (
    Context,
    NonRetryableError,
    RetryAfter,
    StepFailedError,
    StepInfo,
    current_step,
    workflow,
)


@pytest.fixture(autouse=True, params=[True, False], ids=["streams", "turns"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(playing, "STREAM", request.param)
    return bool(request.param)


async def echo(value: Any) -> Any:
    return value


async def test_steps_run_one_a_turn_and_never_again() -> None:
    ran: list[str] = []

    @workflow("two")
    async def two(ctx: Context, input: dict[str, int]) -> dict[str, int]:
        async def first(number: int) -> int:
            ran.append("first")
            return number + 1

        def second(number: int) -> int:
            ran.append("second")
            return number * 10

        one = await ctx.step("first", first, input["n"])
        return {"first": one, "second": await ctx.step("second", second, one)}

    play = Play(two, {"n": 1})
    assert await play.run() == {"first": 2, "second": 20}
    assert ran == ["first", "second"]
    assert [answer["action"] for answer in play.answers] == ["step_complete", "step_complete", "complete"]


async def test_a_completed_step_says_when_it_ran() -> None:
    @workflow("one")
    async def one(ctx: Context, _: Any) -> None:
        await ctx.step("work", echo, 1)

    answer = await ask(one)
    assert set(answer) == {"action", "step_name", "key", "after", "output", "started_at", "completed_at", "duration_ms"}
    assert answer["started_at"] <= answer["completed_at"]
    assert answer["duration_ms"] >= 0


async def test_a_failing_step_is_run_again_and_knows_its_attempt() -> None:
    seen: list[StepInfo] = []

    @workflow("flaky")
    async def flaky(ctx: Context, _: Any) -> Any:
        def charge() -> str:
            seen.append(current_step())
            if current_step().number < 3:
                raise ConnectionError(f"declined {current_step().number}")
            return "charged"

        return await ctx.step("charge", charge)

    play = Play(flaky)
    assert await play.run() == "charged"
    assert [(info.number, info.max, info.last_error) for info in seen] == [
        (1, 4, None),
        (2, 4, "declined 1"),
        (3, 4, "declined 2"),
    ]
    assert {info.idempotency_key for info in seen} == {"wf_1:1:charge"}
    failure = play.answers[0]
    assert (failure["key"], failure["step_name"], failure["on_exhausted"]) == ("charge", "charge", "throw")
    assert "retryable" not in failure
    assert failure["error"]["type"] == "ConnectionError"
    assert failure["error"]["message"] == "declined 1"
    assert "in charge" in failure["error"]["stack"]


async def test_a_final_failure_can_be_caught() -> None:
    @workflow("catching")
    async def catching(ctx: Context, _: Any) -> Any:
        def charge() -> None:
            raise ValueError("card declined")

        try:
            await ctx.step("charge", charge)
        except StepFailedError as error:
            caught = [error.step_name, error.key, error.message, error.attempts, str(error)]
            return await ctx.step("apologise", echo, caught)

    play = Play(catching, max_retries=1)
    assert await play.run() == ["charge", "charge", "card declined", 2, "step 'charge' failed: card declined"]
    assert play.keys() == ["charge", "charge", "apologise"]


async def test_an_uncaught_final_failure_fails_the_instance_for_good() -> None:
    @workflow("failing")
    async def failing(ctx: Context, _: Any) -> None:
        def charge() -> None:
            raise ValueError("card declined")

        await ctx.step("charge", charge)

    play = Play(failing, max_retries=0)
    await play.turn()
    answer = await play.turn()
    assert answer["action"] == "fail"
    assert answer["retryable"] is False
    assert "card declined" in answer["error"]["message"]
    assert not {"step_name", "key", "on_exhausted"} & set(answer)


async def test_an_error_of_the_workflows_own_code_may_be_tried_again() -> None:
    @workflow("broken")
    async def broken(ctx: Context, _: Any) -> None:
        await ctx.step("first", echo, 1)
        raise RuntimeError("bug")

    answer = await ask(broken, completed(("first", 1)))
    assert answer["action"] == "fail"
    assert answer["error"]["message"] == "bug"
    assert not {"step_name", "key", "retryable", "on_exhausted"} & set(answer)


async def test_sleeps_and_events_take_their_turn() -> None:
    @workflow("waiting")
    async def waiting(ctx: Context, _: Any) -> Any:
        began = ctx.now()
        await ctx.sleep("24h")
        await ctx.sleep(timedelta(minutes=90), name="launch")
        await ctx.sleep(1.5)
        slept = ctx.now() - began
        confirmed = await ctx.wait_for_event("confirmed")
        late = await ctx.wait_for_event("confirmed", timeout="3d")
        return [slept > timedelta(hours=25), confirmed, late]

    play = Play(waiting, events={"confirmed": [{"ok": True}]})
    assert await play.run() == [True, {"ok": True}, None]
    assert play.answers[:5] == [
        {"action": "sleep", "duration": "24h", "key": "sleep", "after": 0},
        {"action": "sleep", "duration": "1h30m", "name": "launch", "key": "sleep:launch", "after": 1},
        {"action": "sleep", "duration": "1.5", "key": "sleep#2", "after": 2},
        {"action": "wait_event", "event": "confirmed", "key": "event:confirmed", "after": 3},
        {"action": "wait_event", "event": "confirmed", "key": "event:confirmed#2", "after": 4, "timeout": "3d"},
    ]


async def test_each_turn_of_a_loop_gets_its_own_output() -> None:
    @workflow("loop")
    async def loop(ctx: Context, input: list[int]) -> list[int]:
        return [await ctx.step("item", echo, number) for number in input]

    play = Play(loop, [3, 1, 2])
    assert await play.run() == [3, 1, 2]
    assert play.keys() == ["item", "item#2", "item#3"]


async def test_concurrent_branches_with_one_name_keep_their_outputs_apart() -> None:
    @workflow("branches")
    async def branches(ctx: Context, input: list[int]) -> Any:
        async def branch(index: int, length: int) -> list[str]:
            return [await ctx.step("work", echo, f"{index}.{place}") for place in range(length)]

        return await asyncio.gather(*(branch(index, length) for index, length in enumerate(input)))

    play = Play(branches, [3, 1, 2])
    assert await play.run() == [["0.0", "0.1", "0.2"], ["1.0"], ["2.0", "2.1"]]


async def test_gathered_steps_run_in_the_order_of_their_calls() -> None:
    @workflow("gather")
    async def gather(ctx: Context, _: Any) -> Any:
        return await asyncio.gather(ctx.step("a", echo, 1), ctx.sleep("1h"), ctx.step("b", echo, 2))

    play = Play(gather)
    assert await play.run() == [1, None, 2]
    assert play.keys() == ["a", "b", "sleep"]


async def test_of_several_suspensions_the_first_called_is_answered() -> None:
    @workflow("suspensions")
    async def suspensions(ctx: Context, _: Any) -> Any:
        sleep, event = ctx.sleep("1h", name="nap"), ctx.wait_for_event("go")
        return [await event, await sleep]

    play = Play(suspensions, events={"go": ["gone"]})
    assert await play.run() == ["gone", None]
    assert play.keys() == ["sleep:nap", "event:go"]


async def test_gather_with_return_exceptions_gives_the_failures_as_values() -> None:
    @workflow("exceptions")
    async def exceptions(ctx: Context, _: Any) -> Any:
        def fail() -> None:
            raise NonRetryableError("no")

        results = await asyncio.gather(ctx.step("a", fail), ctx.step("b", echo, 2), return_exceptions=True)
        return [str(result) for result in results]

    assert await Play(exceptions).run() == ["step 'a' failed: no", "2"]


async def test_gather_of_a_failed_step_can_be_caught() -> None:
    @workflow("caught")
    async def caught(ctx: Context, _: Any) -> Any:
        def fail() -> None:
            raise NonRetryableError("no")

        other = ctx.step("b", echo, 2)
        try:
            await asyncio.gather(ctx.step("a", fail), other)
        except StepFailedError as error:
            return [error.message, await ctx.step("c", echo, 3)]

    play = Play(caught)
    assert await play.run() == ["no", 3]
    assert play.keys() == ["b", "a", "c"]


async def test_tasks_and_task_groups_take_helpers() -> None:
    @workflow("tasks")
    async def tasks(ctx: Context, _: Any) -> Any:
        async def branch(name: str) -> list[int]:
            async with asyncio.TaskGroup() as inner:
                one = inner.create_task(ctx.step(name, echo, 1))
                two = inner.create_task(ctx.step(name, echo, 2))
            return [one.result(), two.result(), await ctx.step(name, echo, 3)]

        alone = asyncio.create_task(ctx.step("alone", echo, 0))
        async with asyncio.TaskGroup() as group:
            left, right = group.create_task(branch("left")), group.create_task(branch("same"))
        return [await alone, left.result(), right.result()]

    assert await Play(tasks).run() == [0, [1, 2, 3], [1, 2, 3]]


async def test_a_task_group_that_fails_drops_the_steps_it_cancels(stream: bool) -> None:
    ran: list[str] = []

    @workflow("group")
    async def group(ctx: Context, _: Any) -> Any:
        def fail() -> None:
            raise NonRetryableError("no")

        try:
            async with asyncio.TaskGroup() as members:
                members.create_task(ctx.step("a", fail))
                members.create_task(ctx.step("b", ran.append, "b"))
        except* StepFailedError:
            ran.append("caught")
        return await ctx.step("c", echo, 3)

    play = Play(group)
    assert await play.run() == 3
    assert play.keys() == (["a", "b", "c"] if stream else ["a", "c"])
    assert ran.count("b") == stream


async def test_an_uncaught_task_group_of_final_failures_is_not_tried_again() -> None:
    @workflow("group")
    async def group(ctx: Context, input: str) -> None:
        def fail() -> None:
            raise NonRetryableError("no")

        async with asyncio.TaskGroup() as members:
            members.create_task(ctx.step("a", fail))
            if input == "both":
                members.create_task(asyncio.sleep(0)).add_done_callback(lambda _: None)

    play = Play(group, "one")
    await play.turn()
    answer = await play.turn()
    assert answer["retryable"] is False
    assert answer["error"]["type"] == "ExceptionGroup"


async def test_a_lost_race_leaves_its_step_to_be_run_first() -> None:
    @workflow("race")
    async def race(ctx: Context, _: Any) -> Any:
        racers = [asyncio.create_task(ctx.step(name, echo, name)) for name in ("a", "b")]
        done, _pending = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        winner = next(racer.result() for racer in racers if racer in done)
        return [winner, await ctx.step("c", echo, "c")]

    play = Play(race)
    assert await play.run() == ["a", "c"]
    assert play.keys() == ["a", "b", "c"]


async def test_a_cancelled_task_takes_its_step_back() -> None:
    @workflow("cancelled")
    async def cancelled(ctx: Context, input: bool) -> Any:
        unwanted = asyncio.create_task(ctx.step("a", echo, 1))
        if input:
            await asyncio.sleep(0)
        unwanted.cancel()
        return await ctx.step("b", echo, 2)

    for has_begun in (False, True):
        play = Play(cancelled, has_begun)
        assert await play.run() == 2
        assert play.keys() == ["b"]


async def test_a_record_of_a_step_taken_back_is_passed_over() -> None:
    @workflow("cancelled")
    async def cancelled(ctx: Context, _: Any) -> Any:
        asyncio.create_task(ctx.step("a", echo, 1)).cancel()
        return await ctx.step("b", echo, 2)

    assert await ask(cancelled, completed(("a", 1), ("b", 2))) == {"action": "complete", "output": 2}


async def test_code_between_helpers_may_await_other_things() -> None:
    @workflow("foreign")
    async def foreign(ctx: Context, _: Any) -> Any:
        results = []
        for number in range(3):
            await asyncio.sleep(0.001)
            results.append(await ctx.step("work", echo, number))
            await asyncio.to_thread(threading.Event().is_set)
        return results

    assert await Play(foreign).run() == [0, 1, 2]


async def test_a_step_may_be_sync_async_a_callable_or_a_lambda_over_an_async_function() -> None:
    class Callable:
        async def __call__(self, value: int) -> int:
            return value

    @workflow("bodies")
    async def bodies(ctx: Context, _: Any) -> Any:
        def thread(value: int) -> list[Any]:
            return [value, threading.current_thread() is not threading.main_thread()]

        return [
            await ctx.step("thread", thread, 1),
            await ctx.step("callable", Callable(), 2),
            await ctx.step("lambda", lambda: echo(3)),
        ]

    assert await Play(bodies).run() == [[1, True], 2, 3]


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(1), asyncio.CancelledError("inside"), KeyError()])
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_a_step_raises_is_a_failed_attempt(error: BaseException, is_async: bool) -> None:
    @workflow("raising")
    async def raising(ctx: Context, _: Any) -> None:
        async def later() -> None:
            raise error

        def at_once() -> None:
            raise error

        await ctx.step("work", later if is_async else at_once)

    answer = await ask(raising)
    assert (answer["action"], answer["key"], answer["on_exhausted"]) == ("fail", "work", "throw")
    assert answer["error"]["message"]


async def test_a_step_that_cancels_its_own_task_has_failed() -> None:
    @workflow("suicide")
    async def suicide(ctx: Context, _: Any) -> None:
        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        await ctx.step("work", work)

    answer = await ask(suicide)
    assert answer["error"]["type"] == "CancelledError"


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError("inside"), ValueError()])
async def test_whatever_the_code_raises_is_a_failure_of_the_workflow(error: BaseException) -> None:
    @workflow("raising")
    async def raising(_: Context, __: Any) -> None:
        raise error

    answer = await ask(raising)
    assert answer["action"] == "fail"
    assert answer["error"]["type"] == type(error).__name__
    assert "step_name" not in answer


async def test_code_that_cancels_itself_has_failed() -> None:
    @workflow("suicide")
    async def suicide(_: Context, __: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    assert (await ask(suicide))["error"]["type"] == "CancelledError"


async def test_a_step_says_how_it_wants_to_be_tried_again() -> None:
    @workflow("wishes")
    async def wishes(ctx: Context, input: BaseException) -> None:
        def work() -> None:
            raise errors[input]

        await ctx.step("work", work, retries=7)

    errors = {"later": RetryAfter("30s", "busy"), "never": NonRetryableError("stolen"), "usual": ValueError("no")}
    later, never, usual = [await ask(wishes, input=kind) for kind in errors]
    assert (later["retry_after"], later["max_retries"], later["error"]["message"]) == ("30s", 7, "busy")
    assert (never["retryable"], never["max_retries"]) == (False, 7)
    assert "retryable" not in usual
    assert "retry_after" not in usual


async def test_the_options_of_a_step_change_what_it_is_told() -> None:
    @workflow("options")
    async def options(ctx: Context, _: Any) -> Any:
        return await ctx.step("work", lambda: current_step().max, retries=0)

    assert await Play(options).run() == 1


async def test_workflow_code_may_ask_to_be_tried_again_later() -> None:
    @workflow("later")
    async def later(_: Context, __: Any) -> None:
        raise RetryAfter(timedelta(minutes=5))

    assert (await ask(later))["retry_after"] == "5m"


@pytest.mark.parametrize("value", [float("nan"), {"at": object()}, {1: 2}, 2**64, "\ud800", [{"deep": {1, 2}}]])
async def test_an_output_that_json_would_change_fails_the_step_for_good(value: Any) -> None:
    @workflow("outputs")
    async def outputs(ctx: Context, input: str) -> Any:
        return await ctx.step("work", echo, value) if input == "step" else value

    step, end = await ask(outputs, input="step"), await ask(outputs, input="end")
    assert (step["action"], step["key"], step["retryable"], step["on_exhausted"]) == ("fail", "work", False, "throw")
    assert (end["action"], end["retryable"]) == ("fail", False)
    assert "step_name" not in end
    assert "not lossless JSON" in step["error"]["message"]
    assert step["error"]["type"] == "OutputError"


async def test_the_place_in_the_output_is_named() -> None:
    @workflow("outputs")
    async def outputs(ctx: Context, _: Any) -> Any:
        return await ctx.step("work", echo, {"items": [1, {"at": timedelta(1)}]})

    message = (await ask(outputs))["error"]["message"]
    assert message == "the output of step 'work' is not lossless JSON: $.items[1].at: timedelta is no JSON type"


async def test_an_output_larger_than_an_answer_is_a_failure() -> None:
    @workflow("large")
    async def large(ctx: Context, input: str) -> Any:
        value = "x" * (4 * 1024 * 1024)
        return await ctx.step("work", echo, value) if input == "step" else value

    step, end = await ask(large, input="step"), await ask(large, input="end")
    assert (step["action"], step["key"], step["retryable"], step["on_exhausted"]) == ("fail", "work", False, "throw")
    assert (end["action"], end["retryable"], "key" in end) == ("fail", False, False)


async def test_a_context_knows_its_instance() -> None:
    @workflow("facts")
    async def facts(ctx: Context, input: Any) -> Any:
        before = [ctx.now().isoformat(), ctx.random(), str(ctx.uuid())]
        await ctx.step("work", echo, 1)
        return [ctx.workflow_id, ctx.workflow_name, ctx.run, input, before, [ctx.random(), str(ctx.uuid())]]

    first = (await ask(facts, completed(("work", 1)), input="in"))["output"]
    again = (await ask(facts, completed(("work", 1)), input="in"))["output"]
    assert first[:4] == ["wf_1", "facts", 1, "in"]
    assert first[4][0] == "2026-01-01T00:00:00+00:00"
    assert first == again
    assert first[4][1:] != first[5]


async def test_now_is_the_time_of_the_last_record_handed_out() -> None:
    @workflow("clock")
    async def clock(ctx: Context, _: Any) -> Any:
        await ctx.sleep("1h")
        return ctx.now().isoformat()

    slept = record("sleep", position=0, kind="sleep", completed_at="2026-01-01T01:00:00.000Z")
    assert (await ask(clock, [slept]))["output"] == "2026-01-01T01:00:00+00:00"


async def test_a_step_that_was_skipped_does_not_fit_one_that_is_to_run() -> None:
    @workflow("skipped")
    async def skipped(ctx: Context, _: Any) -> Any:
        return [await ctx.step("work", echo, 1)]

    answer = await ask(skipped, [record("work", position=0, status="skipped")])
    assert (answer["action"], answer["expected"], answer["got"]) == ("diverged", "work (a skip)", "work (a step)")


async def test_a_context_variable_set_by_the_code_is_seen_by_the_step() -> None:
    from contextvars import ContextVar

    tenant: ContextVar[str] = ContextVar("tenant")

    @workflow("variables")
    async def variables(ctx: Context, _: Any) -> Any:
        tenant.set("acme")
        return [await ctx.step("thread", tenant.get), await ctx.step("async", lambda: echo(tenant.get()))]

    assert await Play(variables).run() == ["acme", "acme"]
