"""Whatever a cut loses: outputs equal to the undisturbed run, notes applied once, nothing recorded runs again."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import playing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import Play

from runner_protocol import Context, NonRetryableError, StepFailedError, Workflow, current_step, workflow

PLAYED: list[Play] = []
"""The play whose steps run now."""


async def work(value: Any, passes: int = 0) -> Any:
    """Take so many passes of the loop; a step that is recorded must never come here."""
    key = current_step().key
    recorded = [old["key"] for old in PLAYED[-1].records if old["position"] is not None]
    assert key not in recorded, f"{key} runs again"
    for _ in range(passes):
        await asyncio.sleep(0)
    return value


async def fail_twice(value: Any) -> Any:
    if current_step().number < 3:
        raise ValueError("not yet")
    return await work(value)


async def refuse() -> None:
    raise NonRetryableError("never")


@workflow("same names")
async def same_names(ctx: Context, _: Any) -> Any:
    async def branch(index: int, length: int) -> list[Any]:
        found = []
        for place in range(length):
            found.append(await ctx.step("work", work, f"{index}.{place}", (index * 7 + place * 3) % 5))
            ctx.set({f"branch {index}": place})
            ctx.usage(input_tokens=1, cost_usd="0.1")
            ctx.log.info("%s.%s", index, place)
        return found

    return await asyncio.gather(*(branch(index, length) for index, length in enumerate([3, 1, 4, 2])))


@workflow("waits")
async def waits(ctx: Context, _: Any) -> Any:
    async def wait_then_work(name: str) -> Any:
        data = await ctx.wait_for_event(name, timeout="1h")
        ctx.set({name: data})
        return await ctx.step("after", work, [name, data], 2)

    found = await asyncio.gather(
        wait_then_work("first"),
        ctx.step("beside", work, "beside", 3),
        ctx.sleep("1h"),
        wait_then_work("second"),
        wait_then_work("never"),
        ctx.approval("gate", timeout="1h"),
    )
    return [*found[:5], found[5].approved]


@workflow("failures")
async def failures(ctx: Context, _: Any) -> Any:
    def noting(value: Any) -> Any:
        ctx.usage(cost_usd="0.01")
        ctx.log.warning("tried")
        if current_step().number < 2:
            raise ValueError("first")
        return value

    async def caught(name: str) -> str:
        try:
            await ctx.step(name, refuse)
        except StepFailedError as error:
            ctx.log.warning("caught: %s", error.message)
            return await ctx.step("instead", work, f"instead of {name}")
        return "no"

    siblings = await asyncio.gather(
        ctx.step("flaky", fail_twice, 1),
        ctx.step("never", refuse),
        ctx.step("fine", work, 2, 4),
        ctx.step("noting", noting, 3),
        return_exceptions=True,
    )
    both = await asyncio.gather(caught("a"), caught("a"))
    grouped = "none"
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step("grouped", refuse))
            group.create_task(ctx.step("cancelled", work, 1, 3))
    except* StepFailedError:
        grouped = await ctx.step("after the group", work, "caught")
    return [[str(sibling) for sibling in siblings], both, grouped]


@workflow("groups")
async def groups(ctx: Context, input: int) -> Any:
    async def branch(name: str) -> Any:
        first = await ctx.step(name, work, name)
        return await ctx.map("same", [f"{first}{number}" for number in range(input)], work)

    def counted(number: int) -> int:
        ctx.usage(output_tokens=number)
        if number == 2:
            raise ValueError("two")
        return number

    found: list[Any] = list(await asyncio.gather(branch("a"), branch("b"), ctx.sleep("1h"), ctx.step("c", work, 1)))
    ctx.progress(50, "half")
    try:
        await ctx.map("counted", [1, 2, 3], counted, retries=1, fail_fast=False)
    except StepFailedError as error:
        found.append(str(error))
    return [*found, await ctx.parallel("named", {"x": (work, 1), "y": (fail_twice, 2)})]


@workflow("runs")
async def runs(ctx: Context, input: Any) -> Any:
    pages = await asyncio.gather(*(ctx.step("page", work, number, number) for number in range(3)))
    ctx.set(total=ctx.vars.get("total", 0) + sum(pages))
    ctx.log.info("run %s", ctx.run)
    await ctx.skip("left out", "not needed")
    shipped = await ctx.child("ship", input["number"])
    ctx.unset(f"old {input['number'] - 1}")
    ctx.set({f"old {input['number']}": shipped})
    if input["number"] < 3:
        await ctx.continue_as_new({"number": input["number"] + 1, "sum": input["sum"] + shipped})
    return [input["sum"], dict(ctx.vars), ctx.history.steps]


@workflow("clock")
async def clock(ctx: Context, _: Any) -> Any:
    """What is drawn decides what is done."""
    found = []
    for _number in range(4):
        if ctx.random() < 0.5:
            found.append(await ctx.step("heads", work, str(ctx.uuid()), 1))
        else:
            await ctx.sleep("1m")
            found.append(await ctx.step("tails", work, ctx.history.steps))
    return found


CORPUS: list[tuple[Workflow, Any, dict[str, Any]]] = [
    (same_names, None, {}),
    (
        waits,
        None,
        {
            "events": {"first": [1], "second": [{"n": 2}]},
            "decisions": {"gate": [{"approved": True, "at": "2026-01-01T00:00:00Z"}]},
        },
    ),
    (failures, None, {}),
    (groups, 3, {}),
    (runs, {"number": 1, "sum": 0}, {"children": {"ship": lambda number: number * 10}}),
    (clock, None, {}),
]


@contextmanager
def playing_with(is_streaming: bool) -> Iterator[None]:
    before, playing.STREAM = playing.STREAM, is_streaming
    try:
        yield
    finally:
        playing.STREAM = before


def played(tested: Workflow, input: Any, given_to: Mapping[str, Any], cuts: Callable[[], int | None]) -> Play:
    """Play to the end; each turn is cut where `cuts` says."""

    async def play() -> Play:
        one = Play(tested, input, **given_to)
        PLAYED.append(one)
        for _ in range(1000):
            await one.turn(cut_after=cuts())
            if one.is_done:
                assert one.failure is None, one.failure
                return one
        raise AssertionError("it does not end")

    try:
        return asyncio.run(play())
    finally:
        PLAYED.clear()


def what_came_of(play: Play) -> dict[str, Any]:
    # Which of several calls of one name is the second depends on which branch comes first: a matter of the schedule. So
    # is whether a step had ended before its task was cancelled.
    finals = [old for old in play.records if old["position"] is not None and old["key"] != "cancelled"]
    return {
        "result": play.result,
        "vars": play.vars,
        "cost": play.cost,
        "tokens": play.tokens,
        "logs": Counter(play.logs),
        "progress": play.progress,
        "runs": play.run_number,
        "keys": sorted(old["key"] for old in finals),
        "outcomes": Counter(f"{old['name']} {old['status']} {old['output']}" for old in finals),
    }


UNDISTURBED = {tested.name: what_came_of(played(tested, given, other, lambda: None)) for tested, given, other in CORPUS}


@pytest.mark.parametrize(("tested", "input", "other"), CORPUS, ids=[tested.name for tested, _, _ in CORPUS])
def test_a_turn_without_streams_comes_to_the_same(tested: Workflow, input: Any, other: dict[str, Any]) -> None:
    with playing_with(is_streaming=False):
        assert what_came_of(played(tested, input, other, lambda: None)) == UNDISTURBED[tested.name]


@pytest.mark.parametrize(("tested", "input", "other"), CORPUS, ids=[tested.name for tested, _, _ in CORPUS])
def test_each_line_may_be_the_last(tested: Workflow, input: Any, other: dict[str, Any]) -> None:
    for lines in range(1, 12):
        assert what_came_of(played(tested, input, other, lambda: lines)) == UNDISTURBED[tested.name]  # noqa: B023


@pytest.mark.parametrize(("tested", "input", "other"), CORPUS, ids=[tested.name for tested, _, _ in CORPUS])
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 6), max_size=40))
def test_cuts_change_nothing(tested: Workflow, input: Any, other: dict[str, Any], cuts: list[int]) -> None:
    left = list(cuts)
    play = played(tested, input, other, lambda: left.pop() if left else None)
    assert what_came_of(play) == UNDISTURBED[tested.name]
