"""A small engine for tests of the kit: asks a runner turn by turn and appends what it answers to the records."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from runner_protocol import Runner, Workflow
from runner_protocol.durations import parse_duration
from runner_protocol.fields import format_timestamp
from runner_protocol.messages import Complete, Fail, Sleep, StepComplete, StepStart, WaitEvent, parse_action

STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
STREAM = True
"""Whether a Play asks for streams: the tests of whole workflows run with and without."""


def request_for(
    name: str, records: list[dict[str, Any]] | None = None, input: Any = None, **changes: Any
) -> dict[str, Any]:
    """A whole request, as the engine writes it."""
    return {
        "workflow_id": "wf_1",
        "workflow_name": name,
        "input": input,
        "current_step": sum(record["position"] is not None for record in records or []),
        "completed_steps": records or [],
        "protocol": 2,
        "mode": "advance",
        "run": 1,
        "workflow_version": None,
        "started_at": format_timestamp(STARTED_AT),
        "attempt": {"number": 1, "max": 4, "last_error": None},
        "idempotency_key": "wf_1:1:0",
        "deadline": "2026-01-01T00:00:30.000Z",
        "now": format_timestamp(STARTED_AT),
        "seed": "00112233445566778899aabbccddeeff",
        "history": {"steps": len(records or []), "bytes": 0},
        **changes,
    }


def record(key: str, output: Any = None, *, position: int | None, **changes: Any) -> dict[str, Any]:
    """A record of a completed step; `changes` make it something else."""
    return {
        "step_id": "step_0",
        "name": key.partition("#")[0],
        "status": "completed",
        "output": output,
        "error": None,
        "started_at": "2026-01-01T00:00:01.000Z",
        "completed_at": "2026-01-01T00:00:02.000Z",
        "duration_ms": 1000,
        "retry_count": 0,
        "key": key,
        "kind": "step",
        "position": position,
        "final": False,
        "timed_out": False,
        **changes,
    }


def completed(*outputs: tuple[str, Any]) -> list[dict[str, Any]]:
    """Completed steps, in the order in which they were applied."""
    return [record(key, output, position=position) for position, (key, output) in enumerate(outputs)]


async def ask(workflow: Workflow | Runner, records: list[dict[str, Any]] | None = None, **changes: Any) -> Any:
    """One turn over these records; the answer as parsed JSON."""
    runner, name = (workflow, "tested") if isinstance(workflow, Runner) else (Runner([workflow]), workflow.name)
    status, body = await runner.handle(json.dumps(request_for(name, records, **changes)).encode())
    assert status == 200, body
    parse_action(body)
    return json.loads(body)


class Play:
    """Plays one instance to its end.

    `events` are what each wait receives, by name, in order; a wait without one times out. `answers` are all actions so
    far, `turns` how often it has asked, `result` is the output of `complete`, `failure` the last `fail` when the
    instance has failed.
    """

    def __init__(
        self,
        workflow: Workflow,
        input: Any = None,
        *,
        max_retries: int = 3,
        events: Mapping[str, list[Any]] | None = None,
    ) -> None:
        self.runner = Runner([workflow], stream=STREAM, cleanup_timeout_s=0.05)
        self.turns = 0
        self.name = workflow.name
        self.input = input
        self.max_retries = max_retries
        self.events = {name: list(data) for name, data in (events or {}).items()}
        self.records: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.clock = STARTED_AT
        self.result: Any = None
        self.failure: dict[str, Any] | None = None
        self.is_done = False

    async def run(self, *, max_turns: int = 100) -> Any:
        """Ask until the instance has ended; gives its output."""
        for _ in range(max_turns):
            await self.turn()
            if self.is_done:
                assert self.failure is None, self.failure
                return self.result
        raise AssertionError(f"not done after {max_turns} turns: {self.answers[-3:]}")

    async def turn(self, *, cut_after: int | None = None) -> dict[str, Any]:
        """Ask once and apply the answer, or so many lines of it; gives the last line."""
        request = request_for(self.name, self.records, self.input)
        request["attempt"]["max"] = self.max_retries + 1
        body = json.dumps(request).encode()
        self.turns += 1
        is_open = True
        async with aclosing(self._lines(body)) as lines:
            async for line in lines:
                assert is_open, f"a line after the last: {line!r}"
                answer: dict[str, Any] = json.loads(line)
                self.answers.append(answer)
                is_open = self._apply(line)
                cut_after = None if cut_after is None else cut_after - 1
                if cut_after == 0:
                    break
        return self.answers[-1]

    async def _lines(self, body: bytes) -> AsyncGenerator[bytes, None]:
        if STREAM:
            async with aclosing(self.runner.stream(body)) as lines:
                async for line in lines:
                    assert line.endswith(b"\n")
                    yield line
        else:
            status, line = await self.runner.handle(body)
            assert status == 200, line
            yield line

    def keys(self) -> list[str]:
        """The keys of all answers that have one, in order."""
        return [answer["key"] for answer in self.answers if "key" in answer]

    def _apply(self, line: bytes) -> bool:
        """Whether more lines may follow."""
        action = parse_action(line)
        match action:
            case StepStart():
                pass
            case StepComplete() as done:
                self._append(
                    done.key, output=done.output, completed_at=format_timestamp(done.completed_at or self.clock)
                )
            case Sleep() as sleep:
                due = self.clock + parse_duration(sleep.duration)
                self._append(sleep.key, kind="sleep", completed_at=format_timestamp(due))
                self.clock = due
            case WaitEvent() as wait:
                data = self.events.get(wait.event, [])
                if data:
                    self._append(wait.key, kind="event", output=data.pop(0))
                else:
                    assert wait.timeout is not None, "the event never comes"
                    self.clock += wait.timeout
                    self._append(wait.key, kind="event", timed_out=True)
            case Complete() as complete:
                self.result, self.is_done = complete.output, True
            case Fail() as fail:
                self._fail(fail)
            case other:
                raise AssertionError(other)
        return isinstance(action, (StepStart, StepComplete)) or (isinstance(action, Fail) and action.key is not None)

    def _fail(self, fail: Fail) -> None:
        key = fail.key or "unknown"
        count = 1 + sum(old["key"] == key and old["status"] == "failed" for old in self.records)
        budget = self.max_retries if fail.max_retries is None else fail.max_retries
        is_final = not fail.retryable or count > budget
        self._append(
            key,
            status="failed",
            error=fail.message,
            retry_count=count,
            final=is_final,
            is_placed=is_final and fail.on_exhausted == "throw",
        )
        if is_final and fail.on_exhausted is None:
            self.failure, self.is_done = self.answers[-1], True

    def _append(self, key: str | None, *, is_placed: bool = True, **changes: Any) -> None:
        assert key is not None
        assert not any(old["key"] == key and old["position"] is not None for old in self.records), f"{key} ran twice"
        self.clock += timedelta(seconds=1)
        position = sum(old["position"] is not None for old in self.records) if is_placed else None
        times = {"started_at": format_timestamp(self.clock), "completed_at": format_timestamp(self.clock)}
        self.records.append(record(key, position=position, **{**times, **changes}))
