"""`python tests/faults/failover_runner.py --log FILE`: a runner that notes each step body that begins, and when."""

import argparse
import json
import os
import time
from typing import Any

from runner_protocol import Context, Runner, current_step, workflow


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    options = parser.parse_args()
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note() -> int:
        step = current_step()
        line = {"id": step.workflow_id, "key": step.key, "attempt": step.number, "at": time.monotonic()}
        os.write(log, json.dumps(line).encode() + b"\n")
        return step.number

    @workflow("onboarding")
    async def onboarding(ctx: Context, given: Any) -> Any:
        await ctx.step("before", note)
        told = await ctx.wait_for_event("go", correlation=f"order:{ctx.workflow_id}")
        await ctx.step("after", note)
        return told

    Runner([onboarding]).serve(0)


if __name__ == "__main__":
    main()
