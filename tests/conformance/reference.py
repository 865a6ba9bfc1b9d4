"""A correct little runner without the kit, made to be broken: each wrong runner overrides one rule of it.

A `Turn` is one replay, and is the `ctx` of the workflows (`asking.py`, `noting.py`, `running.py`); `front.py` has the
HTTP side.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from runner_protocol.kit.errors import NoHooksError, StepFailedError, TimedOutError
from runner_protocol.strict_json import encode, parse

from .asking import Asked
from .held import held
from .noting import merged
from .running import Running

MOST_PASSES = 4
"""So many passes of the event loop until every branch of the code waits again: two for each task and each gather."""

END = "the end of the workflow"
ACTIONS = {"event": "wait_event", "child": "start_child"}
OTHER_KINDS = ("sleep", "event", "approval", "child", "parallel", "map")


class Turn(Running):
    """One replay."""

    fails: ClassVar[frozenset[str]] = frozenset()
    streams = False

    async def answer(self) -> dict[str, Any]:
        """The one action of a turn without streams."""
        self.begin()
        try:
            action = await self.replay()
            return self.with_notes(action, self.ran.notes if self.ran else [])
        finally:
            await self.end()

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """The actions of a stream; closed early, nothing begins any more."""
        self.streams = True
        self.begin()
        self.running: set[asyncio.Task[None]] = set()
        try:
            diverged = await self.hand_out_all()
            if diverged is not None:
                yield diverged
                return
            while True:
                for call in self.startable():
                    if "timeout" in call.fields and self.announces(call):
                        yield self.announcement(call)
                    self.start(call)
                if self.is_quiet():
                    break
                call, action = await self.finished.get()
                self.unfinished -= 1
                yield self.with_notes(action, call.notes)
                if action["action"] == "defer":
                    return
                if action["action"] == "fail":
                    self.has_failed = True
                if not self.is_stuck():
                    await self.hand_out_live(call, action)
            if not self.has_failed or self.ends_after_a_failure():
                yield self.with_notes(await self.last(), [])
        finally:
            for task in self.running:
                task.cancel()
            await self.end()

    async def member(self) -> dict[str, Any]:
        """The answer for one member of a group."""
        self.begin()
        try:
            diverged = await self.hand_out_all()
            if diverged is not None:
                return diverged
            member = self.request["member"]
            group = None if self.task.done() else self.by_key.get(member["group"])
            body = None if group is None else group.members(self.given(group, member))
            if group is None or body is None:
                got = group.key if group is not None else self.first_waiting()
                return {"action": "diverged", "position": self.positions, "expected": member["key"], "got": got}
            call = Asked("step", member["name"], member["key"], 0, {}, body)
            return self.with_own_notes(await self.run(call), call)
        finally:
            await self.end()

    # The rules.

    def begin(self) -> None:
        function = held(self.request)
        if isinstance(function, str):
            raise TypeError(function)
        self.has_failed = False
        self.unfinished = 0
        self.finished: asyncio.Queue[tuple[Asked, dict[str, Any]]] = asyncio.Queue()
        self.started: set[Asked] = set()
        self.task = asyncio.ensure_future(function(self, self.request["input"]))

    async def end(self) -> None:
        self.task.cancel()
        for call in self.calls:
            call.future.cancel()
        await asyncio.wait({self.task})

    async def replay(self) -> dict[str, Any]:
        diverged = await self.hand_out_all()
        return await self.last() if diverged is None else diverged

    async def hand_out_all(self) -> dict[str, Any] | None:
        await self.settle()
        for record in self.records():
            if self.task.done():
                break
            call = self.find(record)
            if call is None:
                return self.diverged(record)
            await self.hand_out(call, record)
            await self.settle()
        return None

    async def last(self) -> dict[str, Any]:
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
        if call.kind in ("step", "skip"):
            is_skip = record["status"] == "skipped"
            return record["kind"] not in OTHER_KINDS and is_skip == (call.kind == "skip")
        return bool(call.kind == record["kind"])

    async def hand_out(self, call: Asked, record: dict[str, Any]) -> None:
        self.handed_out.append(record)
        self.draw()
        if record["status"] == "failed":
            call.future.set_exception(self.thrown(call, record))
            call.future.exception()
        else:
            call.future.set_result(call.read(self.output(call, record)))

    def thrown(self, call: Asked, record: dict[str, Any]) -> StepFailedError:
        error = TimedOutError if record.get("timed_out") else StepFailedError
        return error(call.name, record["error"], 1, kind=call.kind)

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        return record.get("output")

    def diverged(self, record: dict[str, Any]) -> dict[str, Any]:
        return {
            "action": "diverged",
            "position": record["position"],
            "expected": record["key"],
            "got": self.first_waiting(),
        }

    def first_waiting(self) -> str:
        waiting = [call.key for call in self.calls if call.key and not call.future.done()]
        return END if self.task.done() or not waiting else waiting[0]

    def ending(self) -> dict[str, Any]:
        error = self.task.exception()
        if isinstance(error, NoHooksError):
            return self.put_off(error)
        for record in self.records()[len(self.handed_out) :]:
            if self.find(record) is None:
                return self.diverged(record)
        return self.complete(self.task.result()) if error is None else self.fail_workflow(error)

    def complete(self, output: Any) -> dict[str, Any]:
        return {"action": "complete", "output": output}

    def fail_workflow(self, error: BaseException) -> dict[str, Any]:
        return {"action": "fail", **self.reason(error)}

    def choose(self, pending: list[Asked]) -> Asked:
        for kinds in (("step", "skip"), ("continue_as_new",)):
            if found := [call for call in pending if call.kind in kinds]:
                return found[0]
        return pending[0]

    async def act(self, call: Asked) -> dict[str, Any]:
        if call.kind == "step":
            return await self.run(call)
        if call.kind == "skip":
            return self.asked({"action": "step_skip"}, call)
        if call.kind == "continue_as_new":
            return {"action": "continue_as_new", **call.fields}
        return self.asked({"action": ACTIONS.get(call.kind, call.kind)}, call)

    def asked(self, action: dict[str, Any], call: Asked) -> dict[str, Any]:
        return {**action, "key": call.key, "after": call.after, **call.fields}

    # Streams.

    def startable(self) -> list[Asked]:
        if self.is_stuck():
            return []
        work = [call for call in self.calls if call.kind in ("step", "skip") and call not in self.started]
        return [call for call in work if not call.future.done()]

    def is_stuck(self) -> bool:
        return self.has_failed or self.task.done()

    def is_quiet(self) -> bool:
        return self.unfinished == 0

    def ends_after_a_failure(self) -> bool:
        return False

    def announces(self, call: Asked) -> bool:
        return True

    def announcement(self, call: Asked) -> dict[str, Any]:
        return {"action": "step_start", "step_name": call.name, "key": call.key, "timeout": call.fields["timeout"]}

    def start(self, call: Asked) -> None:
        self.started.add(call)
        self.unfinished += 1
        self.running.add(asyncio.ensure_future(self.finish(call)))

    async def finish(self, call: Asked) -> None:
        self.finished.put_nowait((call, await self.act(call)))

    async def hand_out_live(self, call: Asked, action: dict[str, Any]) -> None:
        status = "skipped" if call.kind == "skip" else "completed"
        record = {"name": call.name, "key": call.key, "kind": "step", "status": status, "position": self.positions}
        output = parse(encode(action.get("output")))
        record |= {"output": output, "completed_at": action.get("completed_at")}
        await self.hand_out(call, record)
        await self.settle()

    # Members.

    def given(self, group: Asked, member: dict[str, Any]) -> dict[str, Any]:
        return member

    def with_own_notes(self, action: dict[str, Any], call: Asked) -> dict[str, Any]:
        return {**action, **merged(call.notes)}
