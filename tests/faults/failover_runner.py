"""`python tests/faults/failover_runner.py --log FILE`: a runner that notes each step body and when the engine asked."""

import argparse
import json
import os
import time
from collections.abc import AsyncGenerator, Coroutine
from contextvars import ContextVar
from typing import Any

from pylon_workflows import WorkflowDefinition
from runner_protocol import Context, Runner, current_step, workflow
from runner_protocol.messages import parse_question

STEP_TIMEOUT = WorkflowDefinition("onboarding").step_timeout
asked_at: ContextVar[float] = ContextVar("asked_at")


class AskedRunner(Runner):
    """Knows when the engine asked, on the monotonic clock: a turn may stand in this process's queue for long."""

    def open_turn(self, body: bytes) -> AsyncGenerator[bytes, None] | Coroutine[Any, Any, tuple[int, bytes]]:
        question = parse_question(body)
        if question is not None:
            asked = question.deadline - STEP_TIMEOUT
            asked_at.set(time.monotonic() - (time.time() - asked.timestamp()))
        return super().open_turn(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    options = parser.parse_args()
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note() -> int:
        step = current_step()
        line = {"id": step.workflow_id, "key": step.key, "attempt": step.number, "asked_at": asked_at.get()}
        os.write(log, json.dumps(line).encode() + b"\n")
        return step.number

    @workflow("onboarding")
    async def onboarding(ctx: Context, given: Any) -> Any:
        await ctx.step("before", note)
        told = await ctx.wait_for_event("go", correlation=f"order:{ctx.workflow_id}")
        await ctx.step("after", note)
        return told

    AskedRunner([onboarding]).serve(0)


if __name__ == "__main__":
    main()
