"""A runner made with the kit that notes each step body that begins, in the file that is an instance's input.

python -m tests.faults.streaming_runner PORT
"""

import asyncio
import os
import sys

from runner_protocol import Context, Runner, current_step, workflow

STEPS = 40


@workflow("order")
async def order(ctx: Context, log: str) -> int:
    """Steps one after the other, and every tenth time three side by side."""

    async def step() -> None:
        info = current_step()
        line = f"{info.workflow_id} {info.key}\n".encode()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line)  # at once, so that a kill leaves it there
        os.close(file)
        await asyncio.sleep(0.002)

    for number in range(STEPS):
        if number % 10 == 5:
            await asyncio.gather(*(ctx.step(f"beside-{each}", step) for each in range(3)))
        else:
            await ctx.step("step", step)
    return STEPS


if __name__ == "__main__":
    Runner([order]).serve(int(sys.argv[1]), host="127.0.0.1")
