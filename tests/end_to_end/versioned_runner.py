"""A runner with some versions of one workflow: `python versioned_runner.py PORT VERSION...`."""

import sys
from typing import Any

from runner_protocol import Context, Runner, Workflow, workflow


def orders(version: str) -> Workflow:
    @workflow("orders", version=version, max_retries=1, input_schema={"type": "object"})
    async def run(ctx: Context, input: Any) -> list[str]:
        began = await ctx.step("begin", lambda: version)
        await ctx.wait_for_event("go")
        return [began, version]

    return run


if __name__ == "__main__":
    Runner([orders(version) for version in sys.argv[2:]]).serve(int(sys.argv[1]))
