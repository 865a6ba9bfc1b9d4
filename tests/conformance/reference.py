"""A correct little runner without the kit, made to be broken: each wrong runner overrides one rule of it.

A `Turn` is one replay, and is the `ctx` of the workflows; `front.py` has the HTTP side.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from runner_protocol.conformance.workflows import WORKFLOWS
from runner_protocol.fields import format_timestamp, parse_timestamp
from runner_protocol.kit.errors import NonRetryableError, RetryAfter, StepFailedError
from runner_protocol.kit.step import StepInfo, running_step
from runner_protocol.messages import MAX_ANSWER_BYTES
from runner_protocol.strict_json import encode

MOST_PASSES = 4
"""So many passes of the event loop until every branch of the code waits again: two for each task and each gather."""

END = "the end of the workflow"


@dataclass(eq=False)
class Asked:
    """One call of a helper; `fields` are those that its action, or its failure, has of its own."""

    kind: str
    name: str
    key: str
    fields: dict[str, Any]
    body: Callable[[], Any]
    future: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turn:
    """One replay."""

    fails: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.calls: list[Asked] = []
        self.by_key: dict[str, Asked] = {}
        self.used: Counter[str] = Counter()
        self.handed_out: list[dict[str, Any]] = []
        self.draw()

    # What the workflows call.

    def step(self, name: str, body: Callable[..., Any], *args: Any, retries: int | None = None) -> Awaitable[Any]:
        self.check_name(name)
        options = {} if retries is None else {"max_retries": retries}
        return self.call("step", name, name, options, lambda: body(*args))

    def sleep(self, duration: str, *, name: str | None = None) -> Awaitable[Any]:
        fields = {"duration": duration, **({"name": name} if name else {})}
        return self.call("sleep", f"sleep:{name or duration}", self.sleep_base(duration, name), fields)

    def wait_for_event(self, event: str, *, timeout: str | None = None) -> Awaitable[Any]:
        fields = {"event": event, **({"timeout": timeout} if timeout else {})}
        return self.call("event", f"event:{event}", self.event_base(event), fields)

    def now(self) -> datetime:
        last = self.handed_out[-1]["completed_at"] if self.handed_out else self.request["started_at"]
        return parse_timestamp(last)

    def random(self) -> float:
        return self.numbers.random()

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.numbers.getrandbits(128), version=4)

    # The rules.

    def check_name(self, name: str) -> None:
        is_free = not any(mark in name for mark in "#[]/") and not name.startswith(("event:", "sleep:"))
        if not (is_free and 0 < len(name) <= 128):
            raise ValueError(f"{name!r} is no name of a step")

    def sleep_base(self, duration: str, name: str | None) -> str:
        return f"sleep:{name}" if name else "sleep"

    def event_base(self, event: str) -> str:
        return f"event:{event}"

    def key(self, base: str) -> str:
        self.used[base] += 1
        return base if self.used[base] == 1 else f"{base}#{self.used[base]}"

    def call(
        self, kind: str, name: str, base: str, fields: dict[str, Any], body: Callable[[], Any] = lambda: None
    ) -> Awaitable[Any]:
        call = Asked(kind, name, self.key(base), fields, body)
        self.calls.append(call)
        self.by_key[call.key] = call
        return call.future

    async def answer(self) -> dict[str, Any]:
        self.task = asyncio.ensure_future(WORKFLOWS[self.request["workflow_name"]](self, self.request["input"]))
        try:
            return await self.replay()
        finally:
            self.task.cancel()
            for call in self.calls:
                call.future.cancel()
            await asyncio.wait({self.task})

    async def replay(self) -> dict[str, Any]:
        await self.settle()
        for record in self.records():
            if self.task.done():
                break
            call = self.find(record)
            if call is None:
                return self.diverged(record)
            await self.hand_out(call, record)
            await self.settle()
        if self.task.done():
            return self.ending()
        return await self.act(self.choose([call for call in self.calls if not call.future.done()]))

    async def settle(self) -> None:
        # What is ready to run is no public API of asyncio; without a look at it the tests would take twice as long.
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        for _ in range(MOST_PASSES):
            await asyncio.sleep(0)
            if not ready:
                return

    def records(self) -> list[dict[str, Any]]:
        return [record for record in self.request["completed_steps"] if record["position"] is not None]

    def find(self, record: dict[str, Any]) -> Asked | None:
        call = self.by_key.get(record["key"])
        return call if call and self.is_alike(call, record) else None

    def is_alike(self, call: Asked, record: dict[str, Any]) -> bool:
        return bool(call.kind == record["kind"])

    async def hand_out(self, call: Asked, record: dict[str, Any]) -> None:
        self.handed_out.append(record)
        self.draw()
        if record["status"] == "failed":
            call.future.set_exception(StepFailedError(record["name"], record["error"], 1))
            call.future.exception()
        else:
            call.future.set_result(self.output(call, record))

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        return record.get("output")

    def draw(self) -> None:
        self.numbers = random.Random(f"{self.request.get('seed')}:{len(self.handed_out)}")

    def diverged(self, record: dict[str, Any]) -> dict[str, Any]:
        waiting = [call.key for call in self.calls if not call.future.done()]
        got = END if self.task.done() else waiting[0]
        return {"action": "diverged", "position": record["position"], "expected": record["key"], "got": got}

    def ending(self) -> dict[str, Any]:
        for record in self.records()[len(self.handed_out) :]:
            if self.find(record) is None:
                return self.diverged(record)
        error = self.task.exception()
        return self.complete(self.task.result()) if error is None else self.fail_workflow(error)

    def complete(self, output: Any) -> dict[str, Any]:
        return {"action": "complete", "output": output}

    def fail_workflow(self, error: BaseException) -> dict[str, Any]:
        return {"action": "fail", **self.reason(error)}

    def choose(self, pending: list[Asked]) -> Asked:
        return next((call for call in pending if call.kind == "step"), pending[0])

    async def act(self, call: Asked) -> dict[str, Any]:
        if call.kind == "step":
            return await self.run(call)
        return {"action": "wait_event" if call.kind == "event" else "sleep", "key": call.key, **call.fields}

    async def run(self, call: Asked) -> dict[str, Any]:
        started_at = datetime.now(UTC)
        try:
            output = await self.run_body(call)
            if len(encode(output)) > MAX_ANSWER_BYTES:
                raise ValueError("the output is too large")
        except (Exception, asyncio.CancelledError) as error:
            return self.fail_step(call, error)
        return self.complete_step(call, output, self.times(started_at))

    def complete_step(self, call: Asked, output: Any, times: dict[str, Any]) -> dict[str, Any]:
        return {"action": "step_complete", "step_name": call.name, "key": call.key, "output": output, **times}

    def times(self, started_at: datetime) -> dict[str, Any]:
        completed_at = datetime.now(UTC)
        duration_ms = (completed_at - started_at) // timedelta(milliseconds=1)
        return {
            "started_at": format_timestamp(started_at),
            "completed_at": format_timestamp(completed_at),
            "duration_ms": duration_ms,
        }

    async def run_body(self, call: Asked) -> Any:
        token = running_step.set(self.info(call))
        try:
            output = call.body()
            return await output if asyncio.iscoroutine(output) else output
        finally:
            running_step.reset(token)

    def info(self, call: Asked) -> StepInfo:
        workflow_id, run = self.request["workflow_id"], self.request["run"]
        number = self.failures(call) + 1
        return StepInfo(
            workflow_id=workflow_id, run=run, name=call.name, key=call.key, number=number, max=4, last_error=None
        )

    def failures(self, call: Asked) -> int:
        return sum(1 for record in self.request["completed_steps"] if record["key"] == call.key)

    def fail_step(self, call: Asked, error: BaseException) -> dict[str, Any]:
        names = {"step_name": call.name, "key": call.key, "on_exhausted": "throw"}
        return {"action": "fail", **names, **self.reason(error), **call.fields}

    def reason(self, error: BaseException) -> dict[str, Any]:
        reason: dict[str, Any] = {"error": {"type": type(error).__name__, "message": str(error)}}
        if isinstance(error, (StepFailedError, NonRetryableError)):
            reason["retryable"] = False
        if isinstance(error, RetryAfter):
            reason["retry_after"] = error.delay.total_seconds()
        return reason
