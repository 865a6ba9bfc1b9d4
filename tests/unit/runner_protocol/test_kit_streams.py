"""One turn that goes on: what runs at the same time, in which order lines come, and how the stream ends."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import pytest
from playing import Play, completed, record, request_for

from runner_protocol import Context, NonRetryableError, Runner, StepFailedError, Workflow, workflow
from runner_protocol.action_lines import PlainStep, parse_actions
from runner_protocol.kit import running as running_module
from runner_protocol.messages import Complete
from tests.calls import counted_calls


async def echo(value: Any) -> Any:
    return value


def open_stream(
    tested: Workflow, records: list[dict[str, Any]] | None = None, **changes: Any
) -> AsyncGenerator[bytes, None]:
    runner = Runner([tested], cleanup_timeout_s=0.05)
    return runner.stream(json.dumps(request_for(tested.name, records, **changes)).encode())


async def answers(
    tested: Workflow, records: list[dict[str, Any]] | None = None, **changes: Any
) -> list[dict[str, Any]]:
    """All lines of one turn."""
    return [json.loads(line) async for line in open_stream(tested, records, **changes)]


async def test_one_turn_goes_on_to_the_end() -> None:
    @workflow("many")
    async def many(ctx: Context, _: Any) -> Any:
        return [await ctx.step("work", echo, number) for number in range(100)]

    play = Play(many)
    assert await play.run() == list(range(100))
    assert (play.turns, len(play.answers)) == (1, 101)


async def test_lines_of_steps_are_of_the_form_that_the_engine_reads_at_half_the_price() -> None:
    @workflow("plain")
    async def plain(ctx: Context, _: Any) -> None:
        for value in ({"id": "ch_1"}, None, 1.5, []):
            await ctx.step("charge", echo, value)
        await asyncio.gather(ctx.step("a", echo, 1), ctx.step("b", echo, 2))

    lines = [line.strip() async for line in open_stream(plain)]
    entries = parse_actions(lines)[0].entries
    assert [type(entry) for entry in entries] == [PlainStep] * 6 + [Complete]


async def test_gathered_steps_run_at_the_same_time() -> None:
    met = asyncio.Barrier(3)

    @workflow("meeting")
    async def meeting(ctx: Context, _: Any) -> Any:
        async def meet(number: int) -> int:
            await met.wait()
            return number

        return await asyncio.gather(*(ctx.step("meet", meet, number) for number in range(3)))

    play = Play(meeting)
    assert await play.run() == [0, 1, 2]
    assert sorted(play.keys()) == ["meet", "meet#2", "meet#3"]


async def test_blocking_steps_run_at_the_same_time_too() -> None:
    met = threading.Barrier(2, timeout=10)

    @workflow("threads")
    async def threads(ctx: Context, _: Any) -> Any:
        return len(await asyncio.gather(ctx.step("a", met.wait), ctx.step("b", met.wait)))

    assert await Play(threads).run() == 2


async def test_a_wide_gather_of_blocking_steps_is_no_queue_in_which_their_time_runs_out() -> None:
    met = threading.Barrier(100, timeout=10)

    @workflow("wide")
    async def wide(ctx: Context, _: Any) -> Any:
        return len(await asyncio.gather(*(ctx.step("a", met.wait, timeout=9, retries=0) for _ in range(100))))

    assert (await answers(wide))[-1] == {"action": "complete", "output": 100}


async def test_results_are_lines_in_the_order_in_which_they_come_and_are_handed_out_so() -> None:
    first_may_end = asyncio.Event()
    seen: list[str] = []

    @workflow("overtaking")
    async def overtaking(ctx: Context, _: Any) -> Any:
        async def slow() -> str:
            await first_may_end.wait()
            return "slow"

        async def branch(name: str, body: Any) -> None:
            seen.append(await ctx.step(name, body))
            seen.append(await ctx.step(f"after {name}", echo, f"after {name}"))

        async def quick() -> str:
            return "quick"

        async def let_go() -> None:
            first_may_end.set()

        async def release() -> None:
            await ctx.step("release", echo, 1)
            await ctx.step("released", let_go)

        await asyncio.gather(branch("slow", slow), branch("quick", quick), release())
        return seen

    play = Play(overtaking)
    assert await play.run() == ["quick", "after quick", "slow", "after slow"]
    assert play.keys() == ["quick", "release", "after quick", "released", "slow", "after slow"]
    assert play.turns == 1


async def test_a_result_is_handed_out_as_it_will_be_in_a_replay() -> None:
    @workflow("tuples")
    async def tuples(ctx: Context, _: Any) -> Any:
        given = (1, [2])
        got = await ctx.step("work", echo, given)
        got[1].append(3)
        now = ctx.now()
        return [got, given[1], now.microsecond % 1000, type(got).__name__]

    play = Play(tuples)
    assert await play.run() == [[1, [2, 3]], [2], 0, "list"]
    assert play.turns == 1


async def test_now_and_random_are_the_same_in_the_first_pass_and_in_a_replay() -> None:
    @workflow("clock")
    async def clock(ctx: Context, _: Any) -> Any:
        seen = []
        for number in range(3):
            await ctx.step("work", echo, number)
            seen.append([ctx.now().isoformat(), ctx.random(), str(ctx.uuid())])
        return seen

    live, cut = Play(clock), Play(clock)
    await live.run()
    cut.records = live.records[:2]
    await cut.turn()
    replayed = Play(clock)
    replayed.records = live.records
    assert await replayed.run() == live.result
    assert cut.result[:2] == live.result[:2]


async def test_steps_come_first_then_the_suspension_called_first() -> None:
    @workflow("mixed")
    async def mixed(ctx: Context, _: Any) -> Any:
        return await asyncio.gather(ctx.sleep("1h"), ctx.step("a", echo, 1), ctx.wait_for_event("go"))

    lines = await answers(mixed)
    assert [(line["action"], line["key"], line["after"]) for line in lines] == [
        ("step_complete", "a", 0),
        ("sleep", "sleep", 0),
    ]


async def test_after_says_how_much_had_been_handed_out() -> None:
    @workflow("graph")
    async def graph(ctx: Context, _: Any) -> Any:
        await asyncio.gather(ctx.step("a", echo, 1), ctx.step("b", echo, 2))
        await ctx.step("c", echo, 3)
        await ctx.sleep("1h")

    assert [line["after"] for line in await answers(graph)] == [0, 0, 2, 3]
    assert [line["after"] for line in await answers(graph, completed(("a", 1)))] == [0, 2, 3]


async def test_after_a_failure_no_step_starts_and_those_running_finish() -> None:
    may_end = asyncio.Event()

    @workflow("failing")
    async def failing(ctx: Context, _: Any) -> Any:
        async def fail() -> None:
            may_end.set()
            raise ValueError("no")

        async def late() -> str:
            await may_end.wait()
            await asyncio.sleep(0)
            return "late"

        async def branch() -> None:
            await ctx.step("late", late)
            await ctx.step("never in this turn", echo, 1)

        await asyncio.gather(ctx.step("a", fail), branch(), ctx.sleep("1h"))

    lines = await answers(failing)
    assert [(line["action"], line["key"]) for line in lines] == [("fail", "a"), ("step_complete", "late")]


async def test_a_failing_sibling_fails_a_gather_only_when_its_failure_is_final() -> None:
    @workflow("siblings")
    async def siblings(ctx: Context, _: Any) -> Any:
        def fail() -> None:
            raise ValueError("no")

        steps = (ctx.step("a", fail, retries=2), ctx.step("b", echo, 2), ctx.step("b", fail, retries=1))
        return [str(result) for result in await asyncio.gather(*steps, return_exceptions=True)]

    play = Play(siblings)
    assert await play.run() == ["step 'a' failed: no", "2", "step 'b' failed: no"]
    assert sorted(play.keys()) == ["a", "a", "a", "b", "b#2", "b#2"]
    # Replayed, the branches find the same: a failure is thrown at its own position.
    again = Play(siblings)
    again.records = play.records
    assert await again.run() == play.result


async def test_the_code_fails_only_after_the_steps_that_run() -> None:
    @workflow("raising")
    async def raising(ctx: Context, _: Any) -> Any:
        task = asyncio.create_task(ctx.step("running", asyncio.sleep, 0.01))
        await ctx.step("quick", echo, 1)
        raise ValueError(task.get_name())

    lines = await answers(raising)
    assert [line.get("key") for line in lines] == ["quick", "running", None]
    assert lines[-1]["error"]["type"] == "ValueError"


async def test_a_step_whose_task_is_cancelled_is_stopped() -> None:
    stopped: list[str] = []

    @workflow("race")
    async def race(ctx: Context, _: Any) -> Any:
        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append("forever")

        racers = [asyncio.create_task(ctx.step("forever", forever)), asyncio.create_task(ctx.step("quick", echo, 1))]
        done, pending = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        for racer in pending:
            racer.cancel()
        stopped.append("cancelled")
        return [await ctx.step("next", echo, 2), *(racer.result() for racer in done)]

    play = Play(race)
    assert await play.run() == [2, 1]
    assert play.keys() == ["quick", "next"]
    assert stopped == ["cancelled", "forever"]


async def test_code_that_moves_by_itself_is_asked_again() -> None:
    """A timeout of asyncio's fires while a step runs: what the code does then no replay could repeat."""
    may_end = asyncio.Event()

    @workflow("impatient")
    async def impatient(ctx: Context, _: Any) -> Any:
        try:
            async with asyncio.timeout(0.01):
                return await ctx.step("slow", may_end.wait)
        except TimeoutError:
            may_end.set()
            return await ctx.step("never", echo, 1)

    play = Play(impatient)
    assert (await play.turn())["key"] == "slow"
    assert await play.run() is True
    assert play.keys() == ["slow"]


async def test_a_step_may_have_a_longer_timeout_and_says_so_first() -> None:
    @workflow("patient")
    async def patient(ctx: Context, _: Any) -> Any:
        return await ctx.step("render", echo, 1, timeout=timedelta(minutes=10))

    lines = await answers(patient)
    assert lines[0] == {"action": "step_start", "step_name": "render", "key": "render", "timeout": "10m"}
    assert [line["action"] for line in lines] == ["step_start", "step_complete", "complete"]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_step_that_takes_too_long_has_failed(is_async: bool) -> None:
    may_end = threading.Event()

    @workflow("late")
    async def late(ctx: Context, _: Any) -> Any:
        async def wait() -> None:
            await asyncio.Event().wait()

        body = wait if is_async else may_end.wait
        return await ctx.step("render", body, timeout=0.02)

    lines = await answers(late)
    may_end.set()
    assert [line["action"] for line in lines] == ["step_start", "fail"]
    assert (lines[1]["error"]["type"], lines[1]["error"]["message"]) == (
        "TimeoutError",
        "step 'render' timed out after 0.02 s",
    )
    assert lines[1]["key"] == "render"


async def test_a_step_that_goes_on_after_its_timeout_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(running_module, "_GOODBYE_S", 0.01)
    may_end = asyncio.Event()

    @workflow("stubborn")
    async def stubborn(ctx: Context, _: Any) -> Any:
        async def wait() -> None:
            while not may_end.is_set():
                with suppress(asyncio.CancelledError):
                    await may_end.wait()

        return await ctx.step("wait", wait, timeout=timedelta(seconds=0.01))

    with caplog.at_level(logging.WARNING, "runner_protocol.kit"):
        lines = await answers(stubborn)
    assert lines[1]["error"]["type"] == "TimeoutError"
    assert "step 'wait' goes on after CancelledError" in caplog.text
    may_end.set()


async def test_when_the_caller_goes_running_steps_are_cancelled_and_none_starts() -> None:
    seen: list[str] = []

    @workflow("left")
    async def left(ctx: Context, _: Any) -> Any:
        async def forever() -> None:
            seen.append("began")
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("ended")

        async def branch() -> None:
            await ctx.step("quick", echo, 1)
            await ctx.step("never", seen.append, "never")

        try:
            await asyncio.gather(ctx.step("forever", forever), branch())
        finally:
            seen.append("code")

    async with aclosing(open_stream(left)) as lines:
        assert json.loads(await anext(lines))["key"] == "quick"
    assert seen == ["began", "ended", "code"]


async def test_a_reader_that_is_cancelled_has_gone() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @workflow("left")
    async def left(ctx: Context, _: Any) -> Any:
        async def forever() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        await ctx.step("forever", forever)

    reader = asyncio.create_task(answers(left))
    await began.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert ended.is_set()


async def test_a_slow_reader_slows_the_workflow_down() -> None:
    ran: list[int] = []

    @workflow("eager")
    async def eager(ctx: Context, _: Any) -> Any:
        for number in range(10):
            await ctx.step("work", ran.append, number)

    async with aclosing(open_stream(eager)) as lines:
        for number in range(3):
            await anext(lines)
            assert ran == list(range(number + 1))
            await asyncio.sleep(0.01)
            assert ran == list(range(number + 1))


async def test_an_output_that_is_too_large_is_the_failure_of_its_step() -> None:
    @workflow("large")
    async def large(ctx: Context, _: Any) -> Any:
        try:
            return await ctx.step("large", echo, "x" * 4 * 1024 * 1024)
        except StepFailedError as error:
            return error.message.partition(" bytes;")[0]

    play = Play(large)
    assert (await play.turn())["action"] == "fail"
    assert (await play.run()).startswith("the output takes 4,194,4")


async def test_a_diverged_turn_is_one_line() -> None:
    @workflow("changed")
    async def changed(ctx: Context, _: Any) -> Any:
        await ctx.step("new", echo, 1)

    assert [line["action"] for line in await answers(changed, completed(("old", 1)))] == ["diverged"]


async def test_a_caught_failure_goes_on_in_the_same_turn() -> None:
    @workflow("caught")
    async def caught(ctx: Context, _: Any) -> Any:
        def fail() -> None:
            raise NonRetryableError("no")

        for _number in range(2):
            try:
                await ctx.step("a", fail)
            except StepFailedError:
                await ctx.step("b", echo, 1)
        return "done"

    play = Play(caught)
    assert await play.run() == "done"
    assert play.keys() == ["a", "b", "a#2", "b#2"]
    assert play.turns == 3


async def test_a_failure_is_counted_and_a_record_of_it_is_no_line() -> None:
    @workflow("counted")
    async def counted(ctx: Context, _: Any) -> Any:
        return await ctx.step("a", echo, 1)

    failed = record("a", position=None, status="failed", error="no")
    assert [line["action"] for line in await answers(counted, [failed])] == ["step_complete", "complete"]


async def test_ten_times_the_steps_take_about_ten_times_the_work() -> None:
    @workflow("wide")
    async def wide(ctx: Context, input: int) -> Any:
        return len(await asyncio.gather(*(ctx.step("work", echo, number) for number in range(input))))

    async def calls_of(count: int) -> int:
        with counted_calls() as calls:
            lines = await answers(wide, input=count)
        assert len(lines) == count + 1
        return calls.count

    assert await calls_of(1_000) < 12 * await calls_of(100)


async def test_a_runner_that_is_stopped_lets_steps_finish_and_starts_none() -> None:
    @workflow("stopped")
    async def stopped(ctx: Context, _: Any) -> Any:
        async def stop() -> None:
            runner.stop()

        await asyncio.gather(ctx.step("a", stop), ctx.step("b", asyncio.sleep, 0.01))
        await ctx.step("c", echo, 1)

    runner = Runner([stopped])
    body = json.dumps(request_for("stopped")).encode()
    assert [json.loads(line).get("key") async for line in runner.stream(body)] == ["a", "b"]
    [line] = [json.loads(line) async for line in runner.stream(body)]
    assert line == {"action": "defer", "retry_after": "1s", "reason": "the runner is being stopped"}
    assert json.loads((await runner.handle(body))[1])["action"] == "defer"


async def test_a_runner_that_is_stopped_still_says_what_needs_no_step() -> None:
    @workflow("sleepy")
    async def sleepy(ctx: Context, _: Any) -> Any:
        await ctx.sleep("1h")

    runner = Runner([sleepy])
    runner.stop()
    assert [json.loads(line)["action"] async for line in runner.stream(json.dumps(request_for("sleepy")).encode())] == [
        "sleep"
    ]


async def test_a_step_called_while_the_turn_is_over_does_not_run() -> None:
    """A branch of its own making stirs while another one's step runs."""
    ran: list[str] = []
    may_stir, may_end = asyncio.Event(), asyncio.Event()

    @workflow("astray")
    async def astray(ctx: Context, _: Any) -> Any:
        async def first() -> None:
            may_stir.set()
            await may_end.wait()
            ran.append("first")

        async def second() -> None:
            await may_stir.wait()
            may_end.set()
            await ctx.step("second", ran.append, "second")

        await asyncio.gather(ctx.step("first", first), second())

    assert [line.get("key") for line in await answers(astray)] == ["first"]
    assert ran == ["first"]


async def test_a_function_that_has_returned_waits_for_its_steps_and_asks_for_no_more() -> None:
    ran: list[str] = []

    @workflow("left behind")
    async def left_behind(ctx: Context, _: Any) -> Any:
        async def branch() -> None:
            await ctx.step("slow", asyncio.sleep, 0.01)
            ran.append(await ctx.step("never", echo, "never"))

        task = asyncio.create_task(branch())
        await ctx.step("quick", echo, 1)
        return task.get_name()[:4]

    assert [(line["action"], line.get("key")) for line in await answers(left_behind)] == [
        ("step_complete", "quick"),
        ("step_complete", "slow"),
        ("complete", None),
    ]
    assert ran == []
