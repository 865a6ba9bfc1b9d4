"""A runner of the Python kit whose workflow uses every helper once: `python every_helper.py --port PORT --log FILE`.

`tests/conformance/typescript/every_helper.ts` is the same in TypeScript. What comes out does not depend on when it is
asked, nor how often: with the same input two runs differ in nothing.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

from runner_protocol import Context, NonRetryableError, Runner, StepFailedError, current_step, workflow

LOG: Path


def ran() -> None:
    """Note that a step's body begins, and when."""
    step = current_step()
    line = {"id": step.workflow_id, "run": step.run, "key": step.key, "at_ms": time.time() * 1000}
    with LOG.open("a") as log:
        log.write(json.dumps(line) + "\n")


async def echo(value):
    ran()
    await asyncio.sleep(0.02)
    return value


async def fail_at_first():
    ran()
    if current_step().number == 1:
        raise ConnectionError("not yet")
    return "at last"


async def refuse():
    ran()
    raise NonRetryableError("never")


class Counting:
    kind = "count"

    def __init__(self, text):
        self.input = text

    async def execute(self):
        ran()
        return len(self.input)


@workflow("small")
async def small(ctx: Context, input):
    ctx.usage(cost_usd="0.0005")
    await ctx.sleep("10ms")
    return await ctx.step("triple", echo, input["n"] * 3)


@workflow("everything")
async def everything(ctx: Context, input):
    if ctx.run == 2:
        return {**input, "stage": ctx.vars["stage"], "kept": "gone" not in ctx.vars}
    n = input["n"]
    ctx.set(stage="first", gone=True)
    ctx.usage(cost_usd="0.01", input_tokens=n)
    ctx.progress(10, "begun")
    ctx.log.info("begun with %s", n)
    found = {"flaky": await ctx.step("flaky", fail_at_first, retries=3, backoff="10ms", timeout="30s")}
    found["pair"] = await asyncio.gather(ctx.step("pair", echo, n), ctx.step("pair", echo, n + 1))
    await ctx.skip("reminder", "there is nothing to remind of")
    await ctx.sleep("20ms")
    await ctx.sleep_until(ctx.now())
    found["event"] = await ctx.wait_for_event("go", match={"n": n}, timeout="10m")
    found["late"] = await ctx.wait_for_event("never", timeout="20ms")
    gate = await ctx.approval("gate", message="Go on?", data={"n": n})
    found["gate"] = [gate.approved, gate.by]
    ctx.set(stage="second")
    ctx.unset("gone")
    found["squares"] = await ctx.map("squares", [1, 2, 3, 4, 5], lambda item: echo(item * item), max_in_flight=2)
    found["both"] = await ctx.parallel("both", {"left": (echo, n), "right": (echo, -n)})
    found["child"] = await ctx.child("small", {"n": n})
    found["shell"] = await ctx.shell("shell", ["echo", str(n)])
    found["http"] = (await ctx.http("http", "GET", input["url"], ok=(405,)))["status"]
    found["count"] = await ctx.operation("count", Counting("x" * n))
    try:
        await ctx.step("refused", refuse)
    except StepFailedError as error:
        found["refused"] = str(error)
    drawn = ctx.random()
    found["stable"] = await ctx.step("draw", echo, drawn) == drawn
    ctx.progress(90)
    return await ctx.continue_as_new(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    LOG = options.log
    Runner([everything, small]).serve(options.port)
