"""A small engine for tests of the kit: asks a runner turn by turn and appends what it answers to the records."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from open_group import OpenGroup

from runner_protocol import Runner, Workflow
from runner_protocol.durations import parse_duration
from runner_protocol.fields import format_timestamp
from runner_protocol.messages import (
    Approval,
    Complete,
    ContinueAsNew,
    Fail,
    Map,
    Parallel,
    Sleep,
    StartChild,
    StepComplete,
    StepSkip,
    StepStart,
    WaitEvent,
    parse_action,
)

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

    `events` are what each wait receives, by name, in order; a wait without one times out. `decisions` are those about
    approvals, alike. `children` say what a child of that workflow comes to, or raise a ValueError. `answers` are all
    actions so far, `turns` how often it has asked to go on, `result` is the output of `complete`, `failure` the last
    `fail` when the instance has failed.
    """

    def __init__(
        self,
        workflow: Workflow,
        input: Any = None,
        *,
        max_retries: int = 3,
        events: Mapping[str, list[Any]] | None = None,
        decisions: Mapping[str, list[dict[str, Any]]] | None = None,
        children: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self.runner = Runner([workflow], stream=STREAM, cleanup_timeout_s=0.05)
        self.turns = 0
        self.name = workflow.name
        self.input = input
        self.max_retries = max_retries
        self.events = {name: list(data) for name, data in (events or {}).items()}
        self.decisions = {name: list(data) for name, data in (decisions or {}).items()}
        self.children = children or {}
        self.run_number = 1
        self.run_vars: dict[str, Any] = {}
        self.vars: dict[str, Any] = {}
        self.noted = 0
        self.cost = Decimal(0)
        self.tokens = [0, 0]
        self.progress: dict[str, Any] | None = None
        self.logs: list[str] = []
        self.records: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.group: OpenGroup | None = None
        self.clock = STARTED_AT
        self.result: Any = None
        self.failure: dict[str, Any] | None = None
        self.is_done = False

    async def run(self, *, max_turns: int = 200) -> Any:
        """Ask until the instance has ended; gives its output."""
        for _ in range(max_turns):
            await self.turn()
            if self.is_done:
                assert self.failure is None, self.failure
                return self.result
        raise AssertionError(f"not done after {max_turns} turns: {self.answers[-3:]}")

    async def turn(self, *, cut_after: int | None = None) -> dict[str, Any]:
        """Ask once and apply the answer, or so many lines of it, the next being lost; gives the last line."""
        if self.group is not None:
            return await self._run_member(self.group, is_lost=cut_after == 0)
        self.turns += 1
        is_open = True
        async with aclosing(self._lines(self.request())) as lines:
            async for line in lines:
                assert is_open, f"a line after the last: {line!r}"
                if cut_after == 0:
                    break
                cut_after = None if cut_after is None else cut_after - 1
                self.answers.append(json.loads(line))
                is_open = self._apply(line)
        return self.answers[-1] if self.answers else {}

    def request(self, **changes: Any) -> bytes:
        """What the engine would ask now."""
        request = request_for(
            self.name,
            self.records,
            self.input,
            run=self.run_number,
            vars=self.run_vars,
            noted=self.noted,
            **{"attempt": {"number": 1, "max": self.max_retries + 1}, **changes},
        )
        return json.dumps(request).encode()

    def keys(self) -> list[str]:
        """The keys of all answers that have one, in order."""
        return [answer["key"] for answer in self.answers if "key" in answer]

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

    async def _run_member(self, group: OpenGroup, *, is_lost: bool = False) -> dict[str, Any]:
        index, failures = group.next_member()
        attempt = {"number": len(failures) + 1, "max": self.max_retries + 1}
        if failures:
            attempt["last_error"] = failures[-1]
        body = self.request(mode="run_step", attempt=attempt, member=group.member(index))
        lines = [line async for line in self._lines(body)]
        assert len(lines) == 1
        if is_lost:
            return self.answers[-1]
        action = parse_action(lines[0])
        self.answers.append(json.loads(lines[0]))
        self._note(action)
        match action:
            case StepComplete():
                assert (action.key, action.noted) == (group.key(index), None)
                group.outputs[index] = action.output
            case Fail():
                failures.append(action.message)
                is_final = not action.retryable or len(failures) > (action.max_retries or self.max_retries)
                group.failed |= {index} if is_final else set()
            case other:
                raise AssertionError(other)
        if group.is_over:
            self.group = None
            error = f"{len(group.failed)} of {group.total} members failed" if group.failed else None
            final = {"status": "failed", "error": error, "final": True} if error else {"output": group.output}
            self._append(group.action.key, kind=group.action.action, **final)
        return self.answers[-1]

    def _apply(self, line: bytes) -> bool:  # noqa: PLR0912 - a case for each action
        """Whether more lines may follow."""
        action = parse_action(line)
        self._note(action)
        match action:
            case StepStart():
                pass
            case StepComplete() as done:
                at = format_timestamp(done.completed_at or self.clock)
                self._append(done.key, output=done.output, kind=done.kind, input=done.input, completed_at=at)
            case StepSkip() as skipped:
                self._append(skipped.key, status="skipped")
            case Sleep() as sleep:
                due = sleep.until or self.clock + parse_duration(sleep.duration or 0)
                self._append(sleep.key, kind="sleep", completed_at=format_timestamp(due))
                self.clock = due
            case WaitEvent() as wait:
                data = self.events.get(wait.event, [])
                if data:
                    self._append(wait.key, kind="event", output=data.pop(0))
                else:
                    self._time_out(wait, "event", None, f"timed out waiting for event {wait.event!r}")
            case Approval() as gate:
                decisions = self.decisions.get(gate.name, [])
                if decisions:
                    self._append(gate.key, kind="approval", output=decisions.pop(0))
                else:
                    rejected = {"approved": False, "timed_out": True}
                    self._time_out(gate, "approval", rejected, f"timed out waiting for approval {gate.name!r}")
            case Parallel() | Map():
                self.group = OpenGroup(action)
                if not self.group.total:
                    self._append(action.key, kind=action.action, output=self.group.output)
                    self.group = None
            case StartChild() as child:
                self._start(child)
            case ContinueAsNew() as new:
                self.run_number, self.input, self.run_vars = self.run_number + 1, new.input, dict(self.vars)
                self.records, self.noted = [], 0
            case Complete() as complete:
                self.result, self.is_done = complete.output, True
            case Fail() as fail:
                self._fail(fail)
            case other:
                raise AssertionError(other)
        goes_on = isinstance(action, (StepStart, StepComplete, StepSkip))
        return goes_on or (isinstance(action, Fail) and action.key is not None)

    def _note(self, action: Any) -> None:
        if isinstance(action, StepStart):
            return
        for name in action.unset or []:
            self.vars.pop(name, None)
        self.vars.update(action.vars or {})
        if action.usage is not None:
            self.cost += Decimal(action.usage.cost_usd)
            self.tokens[0] += action.usage.input_tokens
            self.tokens[1] += action.usage.output_tokens
        if action.progress is not None:
            self.progress = action.progress.model_dump(exclude_none=True)
        self.logs += [f"{line.level} {line.message}" for line in action.logs or []]
        if action.noted is not None:
            assert action.noted > self.noted, "notes that were applied before"
            self.noted = action.noted

    def _time_out(self, wait: WaitEvent | Approval, kind: str, output: Any, error: str) -> None:
        assert wait.timeout is not None, "it never comes"
        self.clock += wait.timeout
        if wait.on_timeout == "fail":
            self._append(wait.key, kind=kind, status="failed", error=error, final=True, timed_out=True)
        else:
            self._append(wait.key, kind=kind, output=output, timed_out=True)

    def _start(self, child: StartChild) -> None:
        if not child.wait:
            self._append(child.key, kind="child", output={"workflow_id": child.id or "wf_child"})
            return
        try:
            self._append(child.key, kind="child", output=self.children[child.workflow](child.input))
        except ValueError as error:
            failed = {"status": "failed", "final": True, "error": f"child {child.name!r} failed: {error}"}
            self._append(child.key, kind="child", **failed)

    def _fail(self, fail: Fail) -> None:
        key = fail.key or "unknown"
        count = 1 + sum(old["key"] == key and old["status"] == "failed" for old in self.records)
        budget = self.max_retries if fail.max_retries is None else fail.max_retries
        is_final = not fail.retryable or count > budget
        self._append(
            key,
            status="failed",
            error=fail.message,
            kind=fail.kind,
            input=fail.input,
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
