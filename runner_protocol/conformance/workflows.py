"""The conformance workflows in Python: the least code that shows a rule. WORKFLOWS.md describes each in words.

They use the kit's helpers only, and hold no state of their own but what `conformance.count` counts and
`conformance.work` waits for.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from runner_protocol import NonRetryableError, RetryAfter, StepFailedError, current_step
from runner_protocol.conformance.calls import attempted
from runner_protocol.fields import format_timestamp

WorkflowFunction = Callable[[Any, Any], Coroutine[Any, Any, Any]]

_RUNS: Counter[str] = Counter()


_ENDED: defaultdict[str, set[str]] = defaultdict(set)
_PATIENCE_S = 1.0


def _echo(value: Any) -> Any:
    return value


async def _until(is_so: Callable[[], bool]) -> None:
    waited_s = 0.0
    while not is_so() and waited_s < _PATIENCE_S:
        await asyncio.sleep(0.002)
        waited_s += 0.002


async def _plain(ctx: Any, input: Any) -> Any:
    def double() -> Any:
        if not isinstance(input.get("n"), int):
            raise TypeError("n is not a number")
        return input["n"] * 2

    doubled = await ctx.step("double", double)
    await ctx.sleep("1s")
    event = await ctx.wait_for_event("go")
    total = await ctx.step("add", lambda: doubled + event["n"])
    return {"total": total}


async def _echo_input(_: Any, input: Any) -> Any:
    return input


async def _sequence(ctx: Any, input: Any) -> Any:
    first = await ctx.step("first", lambda: input["n"] + 1)
    second = await ctx.step("second", lambda: first * 10)
    return {"first": first, "second": second}


async def _loop(ctx: Any, input: Any) -> Any:
    return [await ctx.step("item", _echo, item) for item in input["items"]]


async def _named(ctx: Any, input: Any) -> Any:
    return await ctx.step(input["name"], _echo, input["name"])


async def _attempts(ctx: Any, input: Any) -> Any:
    def charge() -> Any:
        attempt = current_step().number
        if attempt <= input["failures"]:
            raise RuntimeError(f"declined at attempt {attempt}")
        return {"attempt": attempt}

    await ctx.step("prepare", _echo, "ready")
    return await ctx.step("charge", charge)


async def _catch(ctx: Any, _: Any) -> Any:
    def charge() -> Any:
        raise RuntimeError("card declined")

    try:
        return {"charged": await ctx.step("charge", charge)}
    except StepFailedError as error:
        refund = await ctx.step("apologise", _echo, error.message)
        return {"caught": error.message, "apologised": refund}


async def _fail(ctx: Any, input: Any) -> Any:
    def charge() -> Any:
        if input["how"] == "for good":
            raise NonRetryableError("the card is stolen")
        if input["how"] == "later":
            raise RetryAfter("30s", "the bank is closed")
        if input["how"] == "not json":
            return float("nan")
        if input["how"] == "too large":
            return "x" * (5 * 1024 * 1024)
        raise RuntimeError("card declined")

    return await ctx.step("charge", charge, retries=input.get("retries"))


async def _broken(ctx: Any, _: Any) -> Any:
    await ctx.step("first", _echo, 1)
    raise RuntimeError("the workflow's own code is broken")


async def _count(ctx: Any, input: Any) -> Any:
    def count() -> int:
        _RUNS[input["token"]] += 1
        return _RUNS[input["token"]]

    await ctx.step("count", count)
    return await ctx.step("read", lambda: _RUNS[input["token"]])


async def _branches(ctx: Any, input: Any) -> Any:
    async def branch(index: int, names: list[str]) -> list[Any]:
        return [await ctx.step(name, _echo, f"{index}.{place}") for place, name in enumerate(names)]

    return await asyncio.gather(*(branch(index, names) for index, names in enumerate(input["branches"])))


async def _crossed(ctx: Any, _: Any) -> Any:
    first, second = ctx.step("same", _echo, "first"), ctx.step("same", _echo, "second")
    awaited_first = await second
    return {"first": await first, "second": awaited_first}


async def _race(ctx: Any, input: Any) -> Any:
    racers = [asyncio.ensure_future(ctx.step(name, _echo, name)) for name in input["names"]]
    done, _ = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
    return next(racer.result() for racer in racers if racer in done)


async def _together(ctx: Any, input: Any) -> Any:
    def call(member: dict[str, str]) -> Awaitable[Any]:
        if "sleep" in member:
            return ctx.sleep(member["sleep"])  # type: ignore[no-any-return]
        if "event" in member:
            return ctx.wait_for_event(member["event"], timeout=member.get("timeout"))  # type: ignore[no-any-return]
        return ctx.step(member["step"], _echo, member["step"])  # type: ignore[no-any-return]

    return await asyncio.gather(*(call(member) for member in input["members"]))


async def _sleep(ctx: Any, input: Any) -> Any:
    for sleep in input["sleeps"]:
        if "until" in sleep:
            await ctx.sleep_until(sleep["until"], name=sleep.get("name"))
        else:
            await ctx.sleep(sleep["duration"], name=sleep.get("name"))
    return "awake"


async def _wait(ctx: Any, input: Any) -> Any:
    return [await ctx.wait_for_event(wait["event"], timeout=wait.get("timeout")) for wait in input["waits"]]


async def _pause(ctx: Any, _: Any) -> Any:
    try:
        await ctx.sleep("1h")
    except BaseException:
        return "the pause was swallowed"
    return "awake"


async def _who(ctx: Any, input: Any) -> Any:
    async def answer() -> Any:
        await asyncio.sleep(input["delay_s"])
        return {"key": current_step().idempotency_key, "name": input["name"]}

    return [await ctx.step("who", answer), await ctx.step("who", answer)]


async def _clock(ctx: Any, _: Any) -> Any:
    started = format_timestamp(ctx.now())
    await ctx.step("work", _echo, started)
    return {"started": started, "finished": format_timestamp(ctx.now())}


async def _random(ctx: Any, _: Any) -> Any:
    def draw() -> dict[str, Any]:
        return {"number": ctx.random(), "uuid": str(ctx.uuid())}

    before = draw()
    await ctx.step("draw", _echo, before)
    return {"before": before, "after": draw()}


async def _calls(ctx: Any, input: Any) -> Any:
    return [await attempted(ctx, call) for call in input["calls"]]


async def _work(ctx: Any, input: Any) -> Any:
    ended = _ENDED[ctx.workflow_id]

    async def branch(index: int, steps: list[dict[str, Any]]) -> list[Any]:
        return [await work(f"{index}.{place}", step) for place, step in enumerate(steps)]

    async def work(label: str, step: dict[str, Any]) -> Any:
        async def body() -> str:
            await asyncio.sleep(step.get("delay_s", 0))
            await _until(lambda: step.get("after", label) in {*ended, label})
            ended.add(label)
            if "error" in step:
                raise RuntimeError(step["error"])
            return label

        if "breaks" in step:
            ended.add(label)
            raise RuntimeError(step["breaks"])
        return await ctx.step(step["name"], body, timeout=step.get("timeout"))

    branches = [branch(index, steps) for index, steps in enumerate(input["branches"])]
    return await asyncio.gather(*branches, *(ctx.sleep(duration) for duration in input.get("sleeps", ())))


async def _relay(ctx: Any, input: Any) -> Any:
    async def count() -> int:
        await asyncio.sleep(input["delay_s"])
        _RUNS[input["token"]] += 1
        return _RUNS[input["token"]]

    return [await ctx.step(name, count) for name in ("one", "two", "three")]


async def _continue(ctx: Any, input: Any) -> Any:
    waiting = asyncio.ensure_future(ctx.sleep("1h"))
    page = await ctx.step("page", _echo, input["cursor"])
    if page < input["last"]:
        await ctx.continue_as_new({**input, "cursor": page + 1})
    await waiting
    return page


async def _version_1(_: Any, __: Any) -> Any:
    return "1"


async def _version_2(_: Any, __: Any) -> Any:
    return "2"


WORKFLOWS: dict[str, WorkflowFunction] = {
    "plain": _plain,
    "conformance.attempts": _attempts,
    "conformance.branches": _branches,
    "conformance.broken": _broken,
    "conformance.calls": _calls,
    "conformance.catch": _catch,
    "conformance.clock": _clock,
    "conformance.continue": _continue,
    "conformance.count": _count,
    "conformance.crossed": _crossed,
    "conformance.echo": _echo_input,
    "conformance.random": _random,
    "conformance.fail": _fail,
    "conformance.loop": _loop,
    "conformance.named": _named,
    "conformance.pause": _pause,
    "conformance.race": _race,
    "conformance.relay": _relay,
    "conformance.sequence": _sequence,
    "conformance.sleep": _sleep,
    "conformance.together": _together,
    "conformance.wait": _wait,
    "conformance.who": _who,
    "conformance.work": _work,
}
"""By name, as a runner under test must hold them all."""

VERSIONS: dict[str, dict[str, WorkflowFunction]] = {"conformance.versions": {"1": _version_1, "2": _version_2}}
"""Those that a runner under test must hold in these versions."""
