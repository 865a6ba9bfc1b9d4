"""How the reference runner runs the body of a step, and words what it came to."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from runner_protocol.durations import parse_duration
from runner_protocol.fields import format_timestamp
from runner_protocol.kit.errors import NoHooksError, NonRetryableError, RetryAfter, StepFailedError
from runner_protocol.kit.step import StepInfo, running_step
from runner_protocol.messages import MAX_ANSWER_BYTES
from runner_protocol.strict_json import encode

from .asking import Asked, Asking
from .noting import body_notes


class Running(Asking):
    """The part of a turn that runs steps; `ran` is the last one."""

    ran: Asked | None = None

    async def run(self, call: Asked) -> dict[str, Any]:
        self.ran = call
        started_at = datetime.now(UTC)
        try:
            output = await self.run_body(call)
            if len(encode(output)) > MAX_ANSWER_BYTES:
                raise ValueError("the output is too large")
        except asyncio.CancelledError:
            if self.running_task_is_cancelled():
                raise
            return self.fail_step(call, RuntimeError("cancelled"))
        except NoHooksError as error:
            return self.put_off(error)
        except Exception as error:
            return self.fail_step(call, error)
        return self.complete_step(call, output, self.times(started_at))

    def running_task_is_cancelled(self) -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def complete_step(self, call: Asked, output: Any, times: dict[str, Any]) -> dict[str, Any]:
        names = {"action": "step_complete", "step_name": call.name, "key": call.key, "after": call.after}
        return {**names, "output": output, **call.recorded, **times}

    def times(self, started_at: datetime) -> dict[str, Any]:
        completed_at = datetime.now(UTC)
        duration_ms = (completed_at - started_at) // timedelta(milliseconds=1)
        return {
            "started_at": format_timestamp(started_at),
            "completed_at": format_timestamp(completed_at),
            "duration_ms": duration_ms,
        }

    async def run_body(self, call: Asked) -> Any:
        running_step.set(self.info(call))
        body_notes.set(call.notes)
        try:
            output = call.body()
            if not asyncio.iscoroutine(output):
                return output
            return await asyncio.wait_for(output, self.limit_s(call))
        except TimeoutError:
            raise TimeoutError(f"step {call.name!r} timed out") from None
        finally:
            running_step.set(None)
            body_notes.set(None)

    def limit_s(self, call: Asked) -> float | None:
        timeout = call.fields.get("timeout")
        return None if timeout is None else parse_duration(timeout).total_seconds()

    def info(self, call: Asked) -> StepInfo:
        workflow_id, run = self.request["workflow_id"], self.request["run"]
        return StepInfo(
            workflow_id=workflow_id, run=run, name=call.name, key=call.key, number=self.number(call), max=4,
            last_error=None,
        )  # fmt: skip

    def number(self, call: Asked) -> int:
        if self.request.get("mode") == "run_step":
            return int(self.request["attempt"]["number"])
        return self.failures(call) + 1

    def failures(self, call: Asked) -> int:
        return sum(1 for record in self.request["completed_steps"] if record["key"] == call.key)

    def fail_step(self, call: Asked, error: BaseException) -> dict[str, Any]:
        names = {"step_name": call.name, "key": call.key, "after": call.after, "on_exhausted": "throw"}
        options = {name: value for name, value in call.fields.items() if name != "timeout"}
        return {"action": "fail", **names, **self.reason(error), **options, **call.recorded}

    def put_off(self, error: NoHooksError) -> dict[str, Any]:
        return {"action": "defer", "retry_after": "10s", "reason": str(error)}

    def reason(self, error: BaseException) -> dict[str, Any]:
        reason: dict[str, Any] = {"error": {"type": type(error).__name__, "message": str(error)}}
        if isinstance(error, (StepFailedError, NonRetryableError)):
            reason["retryable"] = False
        if isinstance(error, RetryAfter):
            reason["retry_after"] = error.delay.total_seconds()
        return reason


def run_now(call: Asked) -> Any:
    """Run a step's body where a coroutine cannot be awaited."""
    output = call.body()
    if asyncio.iscoroutine(output):
        output.close()
        return None
    return output
