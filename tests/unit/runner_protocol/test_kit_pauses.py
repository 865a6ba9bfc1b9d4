"""How the code is parked, how a turn ends, and how a change of code is noticed."""

import asyncio
import gc
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from decimal import DecimalException
from functools import partial
from typing import Any

import playing
import pytest
import uvloop
from playing import Play, ask, completed, record, request_for

from runner_protocol import Context, NonRetryableError, Runner, StepFailedError, current_step, workflow
from runner_protocol.durations import DurationError
from runner_protocol.kit import answers
from runner_protocol.kit.call import HelperCall
from runner_protocol.kit.ledger import _MAX_STRAYS


@pytest.fixture(autouse=True, params=[True, False], ids=["streams", "turns"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(playing, "STREAM", request.param)
    return bool(request.param)


async def echo(value: Any) -> Any:
    return value


async def test_code_that_catches_everything_cannot_take_a_pause_for_an_error() -> None:
    @workflow("greedy")
    async def greedy(ctx: Context, _: Any) -> Any:
        results = []
        for _attempt in range(3):
            try:
                results.append(await ctx.step("work", echo, len(results)))
                await ctx.sleep("1h")
            except BaseException:
                results.append("swallowed")
        return results

    assert await Play(greedy).run() == [0, 1, 2]


async def test_finally_blocks_run_at_each_pause_and_may_call_helpers(stream: bool) -> None:
    ran: list[str] = []

    @workflow("tidy")
    async def tidy(ctx: Context, _: Any) -> Any:
        try:
            await ctx.sleep("1h")
        finally:
            ran.append("finally")
            await ctx.step("tidy up", echo, 1)
        return "done"

    play = Play(tidy)
    assert await play.run() == "done"
    assert play.keys() == ["sleep", "tidy up"]
    assert ran == ["finally"] * (2 if stream else 3)


async def test_code_that_never_ends_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    @workflow("stubborn")
    async def stubborn(ctx: Context, _: Any) -> Any:
        while True:
            try:
                await ctx.sleep("1h")
            except BaseException as error:
                if isinstance(error, GeneratorExit):
                    raise

    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # "destroyed but it is pending"
    with caplog.at_level(logging.WARNING, "runner_protocol.kit"):
        play = Play(stubborn)
        assert (await play.turn())["action"] == "sleep"
    assert "goes on after CancelledError" in caplog.text
    assert "wf_1" in caplog.text
    del play
    for _ in range(5 * _MAX_STRAYS):  # until nobody tells it to stop: on a busy machine the turn has ended before
        await asyncio.sleep(0)
    gc.collect()


async def test_code_that_swallows_a_cancellation_once_ends_with_the_second() -> None:
    ended: list[str] = []

    @workflow("reluctant")
    async def reluctant(ctx: Context, _: Any) -> Any:
        try:
            await ctx.sleep("1h")
        except asyncio.CancelledError:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("ended")

    assert (await Play(reluctant).turn())["action"] == "sleep"
    assert ended == ["ended"]


async def test_parked_tasks_of_the_code_do_not_outlive_the_turn() -> None:
    tasks: list[asyncio.Task[Any]] = []

    @workflow("orphans")
    async def orphans(ctx: Context, _: Any) -> Any:
        tasks.append(asyncio.create_task(ctx.step("left behind", echo, 1)))
        await ctx.sleep(0)
        return "done"

    play = Play(orphans)
    assert await play.run() == "done"
    assert play.keys() == ["left behind", "sleep"]
    await asyncio.wait(tasks)
    assert len(tasks) == play.turns


async def test_a_timeout_of_asyncio_does_not_bound_a_step() -> None:
    @workflow("impatient")
    async def impatient(ctx: Context, _: Any) -> Any:
        has_timed_out = asyncio.Event()

        async def slow() -> str:
            limit.reschedule(asyncio.get_running_loop().time())
            await has_timed_out.wait()
            return "late"

        try:
            async with asyncio.timeout(None) as limit:
                return await ctx.step("slow", slow)
        except TimeoutError:
            has_timed_out.set()
            await ctx.step("ignored", echo, 1)

    play = Play(impatient)
    assert await play.run() == "late"
    assert play.keys() == ["slow"]


async def test_a_helper_may_be_awaited_later_and_twice() -> None:
    @workflow("later")
    async def later(ctx: Context, _: Any) -> Any:
        first, second = ctx.step("same", echo, 1), ctx.step("same", echo, 2)
        return [await second, await first, await second]

    assert await Play(later).run() == [2, 1, 2]


async def test_a_forgotten_await_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    @workflow("forgetful")
    async def forgetful(ctx: Context, _: Any) -> Any:
        ctx.sleep("24h")
        ctx.step("failing", partial(echo, 1))
        return await ctx.step("work", echo, 1)

    failed = record("failing", position=0, status="failed", final=True, error="no")
    answer = await ask(forgetful, [failed, record("work", 5, position=1)])
    assert answer == {"action": "complete", "output": 5}
    assert "nobody has awaited sleep, failing" in caplog.text


async def test_steps_do_not_nest() -> None:
    @workflow("nested")
    async def nested(ctx: Context, _: Any) -> Any:
        async def outer() -> Any:
            return await ctx.step("inner", echo, 1)

        return await ctx.step("outer", outer)

    answer = await ask(nested)
    assert "steps do not nest" in answer["error"]["message"]


async def test_a_step_may_drive_another_runner_in_its_process() -> None:
    @workflow("inner")
    async def inner(ctx: Context, _: Any) -> Any:
        return await ctx.step("work", lambda: current_step().key)

    @workflow("outer")
    async def outer(ctx: Context, _: Any) -> Any:
        return await ctx.step("drive", Play(inner).run)

    assert await Play(outer).run() == "work"


async def test_current_step_answers_only_inside_a_step() -> None:
    with pytest.raises(RuntimeError, match="only inside a step"):
        current_step()


async def test_a_cancelled_turn_cancels_the_step_and_the_code() -> None:
    began, ended = asyncio.Event(), list[str]()

    @workflow("cancelled")
    async def cancelled(ctx: Context, _: Any) -> Any:
        async def work() -> None:
            try:
                began.set()
                await asyncio.Event().wait()
            finally:
                ended.append("step")

        try:
            await ctx.step("work", work)
        finally:
            ended.append("code")

    body = json.dumps(request_for("cancelled")).encode()
    turn = asyncio.create_task(Runner([cancelled]).handle(body))
    await began.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert ended == ["step", "code"]


async def test_a_turn_may_be_cancelled_while_the_code_awaits_other_things() -> None:
    began = asyncio.Event()

    @workflow("foreign")
    async def foreign(_: Context, __: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    turn = asyncio.create_task(Runner([foreign]).handle(json.dumps(request_for("foreign")).encode()))
    await began.wait()
    await asyncio.sleep(0)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn


async def test_a_changed_step_is_named_on_both_sides() -> None:
    @workflow("changed")
    async def changed(ctx: Context, _: Any) -> Any:
        await ctx.step("first", echo, 1)
        await ctx.step("second", echo, 2)

    assert await ask(changed, completed(("first", 1), ("other", 2))) == {
        "action": "diverged",
        "position": 1,
        "expected": "other",
        "got": "second",
    }


async def test_a_shortened_workflow_diverges() -> None:
    @workflow("shortened")
    async def shortened(ctx: Context, _: Any) -> Any:
        return await ctx.step("first", echo, 1)

    answer = await ask(shortened, completed(("first", 1), ("second", 2)))
    assert (answer["expected"], answer["got"]) == ("second", "the end of the workflow")


async def test_code_that_raises_before_a_recorded_step_diverges() -> None:
    @workflow("raising")
    async def raising(ctx: Context, _: Any) -> Any:
        raise ValueError("bug of a deploy")

    answer = await ask(raising, completed(("first", 1)))
    assert answer["expected"] == "first"
    assert answer["got"] == "the end of the workflow (it raised ValueError: bug of a deploy)"


async def test_a_divergence_at_the_end_names_the_class_of_what_was_raised_once() -> None:
    @workflow("raising")
    async def raising(ctx: Context, _: Any) -> Any:
        return {}["skus"]

    answer = await ask(raising, completed(("first", 1)))
    assert answer["got"] == "the end of the workflow (it raised KeyError: 'skus')"


async def test_a_final_failure_says_how_many_attempts_there_were() -> None:
    @workflow("counted")
    async def counted(ctx: Context, _: Any) -> Any:
        try:
            await ctx.step("work", echo, 1)
        except StepFailedError as error:
            return [error.attempts, error.message]

    failed = record("work", position=None, status="failed", error="no")
    records = [failed, failed, {**failed, "error": None, "position": 0, "final": True}]
    assert (await ask(counted, records))["output"] == [3, "Unknown error"]


async def test_no_step_begins_before_all_records_are_handed_out() -> None:
    ran: list[str] = []

    @workflow("order")
    async def order(ctx: Context, _: Any) -> Any:
        async def late() -> None:
            await ctx.step("b", echo, 1)
            ran.append("b was handed out")

        return await asyncio.gather(ctx.step("a", ran.append, "a"), late())

    await ask(order, completed(("b", 1)))
    assert ran == ["b was handed out", "a"]


REFUSED: list[tuple[type[Exception], str, Callable[[Context], Any]]] = [
    (ValueError, "holds none of", lambda ctx: ctx.step("a#2", echo, 1)),
    (TypeError, "is a text", lambda ctx: ctx.step(3, echo, 1)),  # type: ignore[arg-type]
    (TypeError, "has no option 'limit'", lambda ctx: ctx.step("a", echo, 1, limit=3)),  # type: ignore[call-overload]
    (TypeError, "not coroutine", lambda ctx: ctx.step("a", echo(1))),  # type: ignore[arg-type]
    (TypeError, "not int", lambda ctx: ctx.step("a", 1)),  # type: ignore[arg-type]
    (ValueError, "retries is a whole number", lambda ctx: ctx.step("a", echo, 1, retries=-1)),
    (ValueError, "retries is a whole number", lambda ctx: ctx.step("a", echo, 1, retries=True)),
    (DurationError, "is no duration", lambda ctx: ctx.sleep("soon")),
    (DurationError, "between zero and 100 years", lambda ctx: ctx.sleep(timedelta(seconds=-1))),
    (ValueError, "does not begin with", lambda ctx: ctx.sleep("1h", name="sleep:x")),
    (DurationError, "is no duration", lambda ctx: ctx.wait_for_event("go", timeout="soon")),
    (TypeError, "is a text", lambda ctx: ctx.wait_for_event(None)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("kind", "sentence", "misuse"), REFUSED)
async def test_a_misused_helper_is_refused_at_the_call(
    kind: type[Exception], sentence: str, misuse: Callable[[Context], Any]
) -> None:
    @workflow("misused")
    async def misused(ctx: Context, _: Any) -> Any:
        with pytest.raises(kind, match=sentence):
            misuse(ctx)
        return await ctx.step("a", echo, "the key is still free")

    assert await Play(misused).run() == "the key is still free"


async def play_branches() -> None:
    @workflow("deep")
    async def deep(ctx: Context, _: Any) -> Any:
        async def nested(label: str, depth: int) -> Any:
            if depth == 0:
                return await ctx.step("work", echo, label)
            async with asyncio.TaskGroup() as group:
                left = group.create_task(nested(label + "l", depth - 1))
                right = group.create_task(nested(label + "r", depth - 1))
            return [left.result(), right.result(), await ctx.step("work", echo, label)]

        flat = asyncio.gather(*(ctx.step("work", echo, number) for number in range(3)), return_exceptions=True)
        return [await nested("", 2), await flat]

    play = Play(deep)
    assert await play.run() == [[["ll", "lr", "l"], ["rl", "rr", "r"], ""], [0, 1, 2]]
    assert len(set(play.keys())) == 10


async def test_nested_branches_keep_their_outputs_apart_on_a_busy_loop() -> None:
    loop = asyncio.get_running_loop()
    is_busy = True

    def spin() -> None:
        if is_busy:
            loop.call_soon(spin)

    spin()
    await play_branches()
    is_busy = False


def test_nested_branches_keep_their_outputs_apart_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play_branches())


async def test_turns_at_once_do_not_mix() -> None:
    await asyncio.gather(*(play_branches() for _ in range(10)))


async def test_a_record_for_a_call_cancelled_just_now_is_passed_over() -> None:
    @workflow("just now")
    async def just_now(ctx: Context, _: Any) -> Any:
        call = ctx.step("a", echo, 1)
        assert isinstance(call, HelperCall)
        call.future.cancel()
        return await ctx.step("b", echo, 2)

    assert await ask(just_now, completed(("a", 1), ("b", 2))) == {"action": "complete", "output": 2}


class SkuError(KeyError):
    """An author's own."""


class DeclinedError(ArithmeticError):
    """An author's own."""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("skus"), "KeyError: 'skus'"),
        (SkuError("no sku 7"), "SkuError: 'no sku 7'"),
        (IndexError("list index out of range"), "IndexError: list index out of range"),
        (AssertionError(), "AssertionError"),
        (DecimalException("syntax"), "DecimalException: syntax"),
        (json.JSONDecodeError("Expecting value", "", 0), "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        (Exception("card declined"), "card declined"),
        (RuntimeError("card declined"), "card declined"),
        (ValueError("the amount is negative"), "the amount is negative"),
        (DeclinedError("card declined"), "card declined"),
        (NonRetryableError("card declined"), "card declined"),
        (TimeoutError("the bank is slow"), "the bank is slow"),
        (TimeoutError(), "TimeoutError"),
        (FileNotFoundError(2, "No such file", "list.csv"), "[Errno 2] No such file: 'list.csv'"),
        (
            ExceptionGroup("two went wrong", [KeyError("skus"), ExceptionGroup("more", [ValueError("no")])]),
            "two went wrong (2 sub-exceptions): KeyError: 'skus'; more (1 sub-exception): no",
        ),
    ],
    ids=repr,
)
async def test_the_text_of_an_error_names_its_class_where_it_says_too_little_alone(error: Exception, text: str) -> None:
    @workflow("failing")
    async def failing(ctx: Context, _: Any) -> Any:
        def work() -> None:
            raise error

        await ctx.step("work", work)

    answer = await ask(failing)
    assert (answer["error"]["message"], answer["error"]["type"]) == (text, type(error).__name__)


def test_of_a_group_of_thousands_no_more_is_put_together_than_there_is_room_for() -> None:
    many = ExceptionGroup("all", [ExceptionGroup("some", [ValueError("n" * 9_000)] * 50)] * 50)
    text = answers._text(many)
    assert text.startswith("all (50 sub-exceptions): some (50 sub-exceptions): nnn")
    assert 10_000 < len(text) < 30_000


async def test_an_error_that_cannot_be_shown_is_a_failure_all_the_same() -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

        @property
        def __notes__(self) -> list[str]:
            raise RuntimeError

    @workflow("unspeakable")
    async def unspeakable(ctx: Context, _: Any) -> Any:
        def work() -> None:
            raise UnspeakableError

        await ctx.step("work", work)

    answer = await ask(unspeakable)
    assert answer["error"]["message"] == "UnspeakableError, whose text cannot be shown"
    assert answer["error"]["stack"] == ""


async def test_an_error_may_quote_what_utf8_cannot_hold() -> None:
    @workflow("quoting")
    async def quoting(ctx: Context, _: Any) -> Any:
        raise ValueError("bytes \udcff" + "!" * 20_000)

    message = (await ask(quoting))["error"]["message"]
    assert message.startswith("bytes \\udcff!")
    assert len(message) == 10_000


async def test_a_helper_is_closed_and_thrown_into_like_a_coroutine() -> None:
    @workflow("coroutine")
    async def coroutine(ctx: Context, _: Any) -> Any:
        unused, begun = ctx.step("unused", echo, 1), ctx.step("begun", echo, 1)
        assert asyncio.iscoroutine(unused)
        unused.close()
        begun.send(None)
        begun.close()
        with pytest.raises(NonRetryableError):
            ctx.step("thrown into", echo, 1).throw(NonRetryableError("no"))
        return await ctx.step("work", echo, 1)

    answer = await ask(coroutine)
    assert answer["key"] == "work"  # the code wants none of the others
