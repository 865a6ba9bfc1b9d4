"""Notes: which action carries which, and that each is applied once."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import playing
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playing import Play, ask

from runner_protocol import Context, NonRetryableError, OutputError, StepFailedError, workflow
from runner_protocol.kit.notes import NoteBook, UnsetVars, set_vars, written
from runner_protocol.kit.usage import add_usage, read_usage
from runner_protocol.messages import Usage


@pytest.fixture(autouse=True, params=[True, False], ids=["streams", "turns"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(playing, "STREAM", request.param)
    return bool(request.param)


async def echo(value: Any) -> Any:
    return value


async def test_notes_go_out_with_the_next_action_and_never_again() -> None:
    @workflow("noting")
    async def noting(ctx: Context, _: Any) -> Any:
        ctx.set(stage="began", count=1)
        ctx.log.info("began with %s", "x")
        await ctx.step("a", echo, 1)
        ctx.set({"stage": "middle"})
        ctx.unset("count")
        ctx.usage(cost_usd="0.10", input_tokens=3)
        ctx.usage(cost_usd=0.2, output_tokens=4)
        ctx.progress(50, "half")
        await ctx.sleep("1h")
        ctx.set(stage="done")
        return dict(ctx.vars)

    play = Play(noting)
    assert await play.run() == {"stage": "done"}
    first, second, third = play.answers
    assert (first["vars"], first["noted"]) == ({"stage": "began", "count": 1}, 2)
    assert [line["message"] for line in first["logs"]] == ["began with x"]
    assert (second["vars"], second["unset"], second["noted"]) == ({"stage": "middle"}, ["count"], 7)
    assert second["usage"] == {"cost_usd": "0.3", "input_tokens": 3, "output_tokens": 4}
    assert second["progress"] == {"percent": 50.0, "message": "half"}
    assert (third["vars"], third["noted"]) == ({"stage": "done"}, 8)
    assert play.vars == {"stage": "done"}
    assert (play.cost, play.tokens, play.logs) == (Decimal("0.3"), [3, 4], ["info began with x"])


async def test_a_failure_carries_notes_too() -> None:
    @workflow("failing")
    async def failing(ctx: Context, _: Any) -> Any:
        def fail() -> None:
            ctx.usage(cost_usd="1")
            ctx.log.warning("tried")
            raise ValueError("no")

        ctx.usage(input_tokens=1)
        try:
            await ctx.step("work", fail, retries=2)
        except StepFailedError:
            ctx.set(failed=True)
            raise

    play = Play(failing)
    with pytest.raises(AssertionError):
        await play.run()
    assert (play.cost, play.tokens, play.logs) == (Decimal(3), [1, 0], ["warning tried"] * 3)
    assert play.vars == {"failed": True}


async def test_a_steps_notes_and_the_functions_go_out_together() -> None:
    @workflow("both")
    async def both(ctx: Context, _: Any) -> Any:
        async def work() -> None:
            ctx.progress(60, "in the step")
            ctx.usage(cost_usd="0.5")
            ctx.log.debug("second")

        ctx.progress(10, "before")
        ctx.usage(cost_usd="0.25")
        ctx.log.error("first")
        await ctx.step("work", work)

    answer = await ask(both)
    assert answer["usage"] == {"cost_usd": "0.75"}
    assert answer["progress"]["message"] == "in the step"
    assert [(line["level"], line["message"]) for line in answer["logs"]] == [("error", "first"), ("debug", "second")]
    assert answer["noted"] == 3


async def test_a_step_in_a_thread_has_notes() -> None:
    @workflow("thread")
    async def thread(ctx: Context, _: Any) -> Any:
        await ctx.step("work", lambda: ctx.usage(input_tokens=2))

    answer = await ask(thread)
    assert answer["usage"] == {"input_tokens": 2}
    assert "noted" not in answer


async def test_notes_of_an_output_that_is_too_large_are_kept() -> None:
    @workflow("large")
    async def large(ctx: Context, _: Any) -> Any:
        async def work() -> str:
            ctx.usage(cost_usd="2")
            return "x" * 5 * 1024 * 1024

        ctx.set(stage="large")
        await ctx.step("work", work)

    answer = await ask(large)
    assert (answer["action"], answer["usage"], answer["vars"], answer["noted"]) == (
        "fail",
        {"cost_usd": "2"},
        {"stage": "large"},
        1,
    )


async def test_a_diverged_turn_applies_nothing() -> None:
    @workflow("changed")
    async def changed(ctx: Context, _: Any) -> Any:
        ctx.set(stage="new")
        await ctx.step("new", echo, 1)

    assert set(await ask(changed, playing.completed(("old", 1)))) == {"action", "position", "expected", "got"}


async def test_what_finally_blocks_note_at_a_pause_does_not_count() -> None:
    @workflow("tidy")
    async def tidy(ctx: Context, _: Any) -> Any:
        try:
            await ctx.sleep("1h")
        finally:
            ctx.log.info("finally")
            ctx.set(finally_ran=True)
        ctx.set(after=1)
        return dict(ctx.vars)

    play = Play(tidy)
    assert await play.run() == {"finally_ran": True, "after": 1}
    assert play.vars == {"finally_ran": True, "after": 1}
    assert play.logs == ["info finally"]


async def test_what_code_notes_while_it_should_wait_does_not_count(stream: bool) -> None:
    may_end = asyncio.Event()

    @workflow("impatient")
    async def impatient(ctx: Context, _: Any) -> Any:
        try:
            async with asyncio.timeout(0.01):
                await ctx.step("slow", may_end.wait)
        except TimeoutError:
            ctx.log.info("never")
            may_end.set()
            await ctx.step("never", echo, 1)
        ctx.log.info("after")

    play = Play(impatient)
    await play.run()
    assert (play.logs, play.noted) == (["info after"], 1)


async def test_variables_are_read_as_copies() -> None:
    @workflow("copies")
    async def copies(ctx: Context, _: Any) -> Any:
        given = [1]
        ctx.set(list=given)
        given.append(2)
        ctx.vars["list"].append(3)
        with pytest.raises(TypeError):
            ctx.vars["new"] = 1  # type: ignore[index]
        return [ctx.vars["list"], "list" in ctx.vars, len(ctx.vars), ctx.vars.get("none"), repr(ctx.vars)]

    assert await Play(copies).run() == [[1], True, 1, None, "Vars({'list': [1]})"]


async def test_a_run_begins_with_the_variables_of_the_request() -> None:
    @workflow("begins")
    async def begins(ctx: Context, _: Any) -> Any:
        seen = [dict(ctx.vars)]
        ctx.set(new=None)
        ctx.unset("old", "unknown")
        return [*seen, dict(ctx.vars)]

    answer = await ask(begins, vars={"old": 1})
    assert answer["output"] == [{"old": 1}, {"new": None}]
    assert (answer["vars"], answer["unset"]) == ({"new": None}, ["old", "unknown"])


async def test_variables_have_a_largest_size() -> None:
    @workflow("large")
    async def large(ctx: Context, _: Any) -> Any:
        ctx.set(kept="x" * 100_000)
        ctx.set(kept="y" * 100_000, more="x" * 100_000)
        with pytest.raises(OutputError, match="with 'rest' the variables take"):
            ctx.set(rest="x" * 100_000)
        ctx.unset("more")
        ctx.set(rest="x" * 100_000)
        return sorted(ctx.vars)

    answer = await ask(large, vars={"old": "x" * 10_000})
    assert (answer["output"], answer["noted"]) == (["kept", "old", "rest"], 4)


async def test_only_so_many_log_lines_go_with_an_action() -> None:
    @workflow("chatty")
    async def chatty(ctx: Context, _: Any) -> Any:
        for number in range(200):
            ctx.log.info(f"{number} \udcff" + "x" * 3000)

    logs = (await ask(chatty))["logs"]
    assert len(logs) == 100
    assert len(logs[0]["message"]) == 2000
    assert logs[99]["message"].startswith("99 \\udcff")


async def test_variables_are_not_set_by_steps() -> None:
    @workflow("nested")
    async def nested(ctx: Context, input: str) -> Any:
        async def work() -> None:
            ctx.set(a=1) if input == "set" else ctx.unset("a")

        await ctx.step("work", work)

    for what in ("set", "unset"):
        answer = await ask(nested, input=what)
        assert answer["error"]["message"] == (
            f"ctx.{what} in step 'work': return the value, and {what} it in the workflow's function"
        )


REFUSED: list[tuple[type[Exception], str, Callable[[Context], Any]]] = [
    (OutputError, "the variable 'a' is not lossless", lambda ctx: ctx.set(a=object())),
    (TypeError, "takes variables by name", lambda ctx: ctx.set([1])),  # type: ignore[arg-type]
    (TypeError, "the name of a variable is a text", lambda ctx: ctx.unset(3)),  # type: ignore[arg-type]
    (ValueError, "1 to 128 characters", lambda ctx: ctx.set({"": 1})),
    (ValueError, "cost_usd is 0 or more", lambda ctx: ctx.usage(cost_usd="-1")),
    (ValueError, "cost_usd is 0 or more", lambda ctx: ctx.usage(cost_usd=float("nan"))),
    (ValueError, "cost_usd is 0 or more", lambda ctx: ctx.usage(cost_usd="a lot")),
    (ValueError, "cost_usd is 0 or more", lambda ctx: ctx.usage(cost_usd=10**15)),
    (TypeError, "cost_usd is a Decimal", lambda ctx: ctx.usage(cost_usd=None)),  # type: ignore[arg-type]
    (TypeError, "input_tokens is a whole number", lambda ctx: ctx.usage(input_tokens=1.5)),  # type: ignore[arg-type]
    (ValueError, "output_tokens is a whole number from 0", lambda ctx: ctx.usage(output_tokens=-1)),
    (ValueError, "progress: percent", lambda ctx: ctx.progress(101)),
    (ValueError, "progress: percent", lambda ctx: ctx.progress(float("inf"))),
    (ValueError, "progress: message", lambda ctx: ctx.progress(1, 3)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("kind", "sentence", "misuse"), REFUSED)
async def test_a_note_that_is_none_is_refused_and_not_counted(
    kind: type[Exception], sentence: str, misuse: Callable[[Context], Any]
) -> None:
    @workflow("misused")
    async def misused(ctx: Context, _: Any) -> Any:
        with pytest.raises(kind, match=sentence):
            misuse(ctx)
        ctx.set(fine=True)

    assert (await ask(misused))["noted"] == 1


async def test_a_note_too_much_fails_for_good() -> None:
    @workflow("large")
    async def large(ctx: Context, _: Any) -> Any:
        ctx.set(all="x" * 300_000)

    answer = await ask(large)
    assert (answer["retryable"], answer["error"]["type"]) == (False, "OutputError")
    assert issubclass(OutputError, NonRetryableError)


@pytest.mark.parametrize(
    ("given_cost", "cost"),
    [
        ("0.0123", "0.0123"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (3, "3"),
        (Decimal("1.50"), "1.5"),
        (Decimal(1) / Decimal(3), "0.333333333333333333"),
        (1e-19, "0"),
        ("1E+3", "1000"),
    ],
)
def test_a_cost_is_taken_digit_for_digit(given_cost: Any, cost: str) -> None:
    assert read_usage(given_cost, 0, 0) == Usage(cost_usd=cost)


def test_costs_are_summed_exactly() -> None:
    total = Usage()
    for _ in range(1000):
        total = add_usage(total, read_usage(0.1, 1, 2))
    total = add_usage(total, read_usage("99999999999999.000000000000000001", 0, 0))
    assert total == Usage(cost_usd="100000000000099.000000000000000001", input_tokens=1000, output_tokens=2000)


names = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.one_of(st.dictionaries(names, st.integers(0, 9), min_size=1), st.lists(names, min_size=1))))
def test_variables_of_one_action_come_to_what_was_noted_one_by_one(notes: list[dict[str, int] | list[str]]) -> None:
    expected: dict[str, int] = {"a": -1}
    book = NoteBook()
    for note in notes:
        if isinstance(note, dict):
            expected.update(note)
            book.add(set_vars(note))
        else:
            for name in note:
                expected.pop(name, None)
            book.add(UnsetVars(tuple(note)))
    fields = written([book])
    found = {"a": -1}
    for name in fields.get("unset", []):
        found.pop(name, None)
    found.update(fields.get("vars", {}))
    assert found == expected
    assert not set(fields.get("unset", [])) & set(fields.get("vars", {}))
