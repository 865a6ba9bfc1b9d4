"""Workflows whose outcome does not depend on when anything happens, and what each of them waits for from outside.

`tests/conformance/typescript/corpus.ts` has the same in TypeScript. Bodies take a while of random length (`pause`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from runner_protocol import (
    Context,
    NonRetryableError,
    Runner,
    StepFailedError,
    TimedOutError,
    Workflow,
    current_step,
    workflow,
)

Pause = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Played:
    """A workflow to play: its input, the events that it is sent in any order, and the gates that are approved."""

    name: str
    input: Any = None
    events: tuple[tuple[str, Any], ...] = ()
    gates: tuple[str, ...] = field(default=())


CORPUS = (
    Played("same-names", {"branches": 4, "steps": 3}),
    Played("waits", events=(("a", 1), ("b", {"n": 1}), ("b", {"n": 2}), ("noise", None)), gates=("approval:gate",)),
    Played("siblings"),
    Played("groups"),
    Played("caught"),
    Played("family", {"depth": 3}),
    Played("variables", {"turns": 8}),
    Played("pages", {"page": 1, "last": 5}, events=(("tick", 1), ("tick", 2), ("tick", 3))),
    Played("everything", events=(("go", {"n": 7}),), gates=("approval:first", "approval:second")),
)
NAMES = (*(played.name for played in CORPUS), "leaf", "broken")


class Copy:
    """An operation."""

    kind = "copy"

    def __init__(self, pause: Pause, text: str) -> None:
        self._pause = pause
        self.input = text

    async def execute(self) -> str:
        await self._pause()
        return self.input.upper()


async def caught(awaited: Awaitable[Any]) -> Any:
    try:
        return await awaited
    except TimedOutError:
        return "too late"
    except StepFailedError as error:
        return f"caught {error.message}"


def create_runner(pause: Pause, *, stream: bool) -> Runner:
    """A runner that holds them all."""
    return Runner([*_alone(pause), *_grouped(pause), *_long(pause)], stream=stream)


def _bodies(pause: Pause) -> tuple[Callable[..., Any], ...]:
    async def echo(value: Any) -> Any:
        await pause()
        return value

    async def flaky(value: Any, failures: int) -> Any:
        await pause()
        if current_step().number <= failures:
            raise ConnectionError("not yet")
        return value

    async def doomed() -> Any:
        await pause()
        raise NonRetryableError("never")

    return echo, flaky, doomed


def _alone(pause: Pause) -> list[Workflow]:
    echo, flaky, doomed = _bodies(pause)

    @workflow("same-names")
    async def same_names(ctx: Context, input: Any) -> Any:
        async def branch(index: int) -> list[Any]:
            return [await ctx.step("x", echo, f"{index}.{place}") for place in range(input["steps"])]

        return await asyncio.gather(*(branch(index) for index in range(input["branches"])))

    @workflow("waits")
    async def waits(ctx: Context, _: Any) -> Any:
        gate = ctx.approval("gate")
        found = await asyncio.gather(
            ctx.wait_for_event("a"),
            ctx.wait_for_event("b", match={"n": 2}),
            ctx.sleep("1h"),
            ctx.wait_for_event("b", match={"n": 1}),
            ctx.step("s", echo, "s"),
            ctx.wait_for_event("never", timeout="2h"),
            caught(ctx.wait_for_event("never", timeout="30m", on_timeout="fail")),
            ctx.sleep("10m", name="nap"),
        )
        return [*found, (await gate).approved]

    @workflow("siblings")
    async def siblings(ctx: Context, _: Any) -> Any:
        found = await asyncio.gather(
            ctx.step("ok", echo, 1),
            ctx.step("flaky", flaky, 2, 2, retries=5, backoff="3s"),
            ctx.step("doomed", doomed),
            ctx.step("flaky", flaky, 3, 1, retries=1, backoff="1m"),
            ctx.step("spent", flaky, 4, 9, retries=2),
            ctx.step("ok", echo, 5),
            return_exceptions=True,
        )
        shown = [one.message if isinstance(one, StepFailedError) else one for one in found]
        return [*shown, await ctx.step("after", echo, len(shown))]

    @workflow("caught")
    async def catching(ctx: Context, _: Any) -> Any:
        tried = [await caught(ctx.step("doomed", doomed)), await caught(ctx.child("broken"))]
        tried.append(await caught(ctx.parallel("checks", {"good": lambda: echo(1), "bad": doomed}, fail_fast=False)))
        tried.append(await caught(ctx.step("spent", flaky, 1, 9, retries=1)))
        return [*tried, await ctx.step("compensate", echo, "done")]

    @workflow("broken")
    async def broken(ctx: Context, _: Any) -> Any:
        await ctx.step("first", echo, 1)
        await ctx.step("doomed", doomed)

    return [same_names, waits, siblings, catching, broken]


def _grouped(pause: Pause) -> list[Workflow]:
    echo, *_ = _bodies(pause)

    async def square(number: Any) -> Any:
        await pause()
        if number == "bad":
            raise NonRetryableError("no number")
        if number % 3 == 0 and current_step().number == 1:
            raise ConnectionError("not yet")
        return number * number

    @workflow("groups")
    async def groups(ctx: Context, _: Any) -> Any:
        async def twice() -> Any:
            first = await ctx.map("m", [1, 2, 3], square, max_in_flight=2)
            return await ctx.map("m", first, square)

        return await asyncio.gather(
            twice(),
            ctx.parallel("p", {"a": lambda: echo("A"), "b": (echo, "B"), "c": Copy(pause, "c")}),
            ctx.step("s", echo, "s"),
            caught(ctx.map("bad", [1, "bad", 3, "bad"], square, fail_fast=False)),
            twice(),
            ctx.map("none", [], square),
        )

    @workflow("leaf")
    async def leaf(ctx: Context, input: Any) -> Any:
        ctx.usage(cost_usd="0.01", input_tokens=1)
        await ctx.sleep("5m")
        return await ctx.step("double", echo, input["n"] * 2)

    @workflow("family")
    async def family(ctx: Context, input: Any) -> Any:
        depth = input["depth"]
        kin = [ctx.child("leaf", {"n": depth}, name="l"), ctx.child("leaf", {"n": depth + 10}, name="l")]
        if depth > 1:
            kin.append(ctx.child("family", {"depth": depth - 1}))
        found = await asyncio.gather(ctx.step("s", echo, depth), *kin)
        ctx.usage(cost_usd="0.1")
        return found

    return [groups, leaf, family]


def _long(pause: Pause) -> list[Workflow]:
    echo, flaky, _ = _bodies(pause)

    @workflow("variables")
    async def variables(ctx: Context, input: Any) -> Any:
        async def add(number: int) -> int:
            ctx.usage(cost_usd="0.01")
            return int(await echo(number))

        ctx.set(total=0, gone=True)
        for number in range(input["turns"]):
            ctx.progress(number)
            ctx.usage(cost_usd="0.1", output_tokens=number)
            added = await ctx.step("add", add, number)
            ctx.set(total=ctx.vars["total"] + added)
            ctx.log.info("at %s", number)
            if number % 3 == 0:
                await ctx.sleep("10m")
        ctx.unset("gone")
        return dict(ctx.vars)

    @workflow("pages")
    async def pages(ctx: Context, input: Any) -> Any:
        page = input["page"]
        ctx.set(pages=[*ctx.vars.get("pages", []), page])
        found = await asyncio.gather(*(ctx.step("row", echo, (page, row)) for row in range(3)))
        ctx.usage(input_tokens=len(found))
        if page % 2:
            await ctx.wait_for_event("tick")
        if page < input["last"]:
            await ctx.continue_as_new({**input, "page": page + 1})
        return {"rows": found, "vars": dict(ctx.vars)}

    @workflow("everything")
    async def everything(ctx: Context, _: Any) -> Any:
        found: list[Any] = [await ctx.operation("copy", Copy(pause, "text"))]
        found.append((await ctx.approval("first")).approved)
        found.append(await ctx.map("m", [1, 2, 3, 4, 5], echo, max_in_flight=3))
        await ctx.skip("remind", "no need")
        found.append(await ctx.wait_for_event("go"))
        found.append(await ctx.child("leaf", {"n": 3}))
        found.append(await caught(ctx.child("broken")))
        found.append(await asyncio.gather(ctx.step("x", echo, 1), ctx.step("x", flaky, 2, 1, retries=3)))
        await ctx.sleep_until("2026-01-01T03:00:00Z")
        found.append((await ctx.approval("second")).approved)
        found.append(await ctx.parallel("p", {"a": lambda: echo(1), "b": Copy(pause, "b")}))
        return [*found, await ctx.step("last", echo, "end")]

    return [variables, pages, everything]
