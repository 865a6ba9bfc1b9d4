"""What the workflows call on the reference runner: each helper makes an `Asked`."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from runner_protocol.fields import parse_timestamp
from runner_protocol.hook_urls import hook_url
from runner_protocol.kit.errors import NoHooksError

from .noting import Note, Noting

PREFIXES = {"sleep": "sleep:", "event": "event:", "approval": "approval:", "child": "child:"}


@dataclass(eq=False)
class Asked:
    """One call of a helper; `fields` are those that its action, or its failure, has of its own.

    `recorded` are the kind and input of an operation, `members` the names and bodies of a group, `notes` those of the
    body that has run.
    """

    kind: str
    name: str
    key: str
    after: int
    fields: dict[str, Any]
    body: Callable[[], Any] = lambda: None
    recorded: dict[str, Any] = field(default_factory=dict)
    members: Callable[[dict[str, Any]], Callable[[], Any] | None] = lambda _: None
    read: Callable[[Any], Any] = lambda output: output
    notes: list[Note] = field(default_factory=list)
    future: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Asking(Noting):
    """The part of a turn that the workflows see."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__(request)
        self.request = request
        self.workflow_id = request["workflow_id"]
        self.calls: list[Asked] = []
        self.by_key: dict[str, Asked] = {}
        self.used: Counter[str] = Counter()
        self.handed_out: list[dict[str, Any]] = []
        self.draw()

    def step(
        self,
        name: str,
        body: Callable[..., Any],
        *args: Any,
        retries: int | None = None,
        timeout: str | float | None = None,
    ) -> Awaitable[Any]:
        options = {"max_retries": retries, "timeout": timeout}
        fields = {option: value for option, value in options.items() if value is not None}
        return self.call("step", name, fields, body=lambda: body(*args))

    def operation(self, name: str, operation: Any) -> Awaitable[Any]:
        recorded = {"kind": operation.kind, "input": operation.input}
        return self.call("step", name, {}, body=operation.execute, recorded=recorded)

    def shell(self, name: str, command: list[str]) -> Awaitable[Any]:
        async def run() -> dict[str, Any]:
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
            stdout, stderr = await process.communicate()
            if process.returncode:
                raise RuntimeError(f"{command[0]} exited with {process.returncode}")
            return {"stdout": stdout.decode(), "stderr": stderr.decode(), "exit_code": 0}

        return self.call("step", name, {}, body=run, recorded={"kind": "shell", "input": {"command": command}})

    def skip(self, name: str, reason: str) -> Awaitable[Any]:
        return self.call("skip", name, {"step_name": name, "reason": reason}, read=lambda _: None)

    def sleep(self, duration: str, *, name: str | None = None) -> Awaitable[Any]:
        return self.pause({"duration": duration}, name)

    def sleep_until(self, time: str, *, name: str | None = None) -> Awaitable[Any]:
        return self.pause({"until": time}, name)

    def pause(self, end: dict[str, str], name: str | None) -> Awaitable[Any]:
        if name is not None:
            self.check_name(name)
        fields = {**end, **({} if name is None else {"name": name})}
        shown = f"sleep:{name or next(iter(end.values()))}"
        return self.call("sleep", shown, fields, base=self.sleep_base(next(iter(end.values())), name))

    def wait_for_event(self, event: str, **options: Any) -> Awaitable[Any]:
        self.check_name(event)
        fields = {"event": event, **{name: value for name, value in options.items() if value is not None}}
        return self.call("event", f"event:{event}", fields, base=self.event_base(event))

    def hook_url(self, name: str) -> str:
        hooks = self.request.get("hooks")
        if hooks is None:
            raise NoHooksError("hook_url")
        return hook_url(hooks["base_url"], hooks["key"], self.workflow_id, self.request["run"], name)

    def wait_for_hook(self, name: str, **options: Any) -> Awaitable[Any]:
        return self.wait_for_event(f"hook:{name}", **options)

    def approval(self, name: str, **options: Any) -> Awaitable[Any]:
        return self.call("approval", name, {"name": name, **options}, read=lambda output: SimpleNamespace(**output))

    def parallel(self, name: str, members: dict[str, Callable[[], Any]], **options: Any) -> Awaitable[Any]:
        for member in members:
            self.check_name(member)
        named = [{"name": member, "input": None} for member in members]
        found = lambda member: members.get(member["name"])  # noqa: E731
        return self.call("parallel", name, {"name": name, "members": named, **options}, members=found)

    def map(self, name: str, items: list[Any], body: Callable[[Any], Any], **options: Any) -> Awaitable[Any]:
        found = lambda member: lambda: body(member["input"])  # noqa: E731
        return self.call("map", name, {"name": name, "items": items, **options}, members=found)

    def child(self, workflow: str, *, name: str | None = None, **options: Any) -> Awaitable[Any]:
        shown = workflow if name is None else name
        return self.call("child", shown, {"name": shown, "workflow": workflow, **options})

    def continue_as_new(self, input: Any) -> Awaitable[Any]:
        asked = Asked("continue_as_new", "", "", self.positions, {"input": input})
        self.calls.append(asked)
        return asked.future

    def now(self) -> datetime:
        seen = [record for record in self.handed_out if self.moves_time(record)]
        return parse_timestamp(seen[-1]["completed_at"] if seen else self.request["started_at"])

    def moves_time(self, record: dict[str, Any]) -> bool:
        return bool(record["status"] != "skipped")

    def random(self) -> float:
        return self.numbers.random()

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.numbers.getrandbits(128), version=4)

    def draw(self) -> None:
        self.numbers = random.Random(f"{self.request.get('seed')}:{len(self.handed_out)}")

    def check_name(self, name: str) -> None:
        is_free = not any(mark in name for mark in "#[]/") and not name.startswith(("event:", "sleep:"))
        if not (is_free and 0 < len(name) <= 128):
            raise ValueError(f"{name!r} is no name of a step")

    def sleep_base(self, duration: str, name: str | None) -> str:
        return f"sleep:{name}" if name else "sleep"

    def event_base(self, event: str) -> str:
        return f"event:{event}"

    def prefix(self, kind: str) -> str:
        return PREFIXES.get(kind, "")

    def key(self, base: str) -> str:
        self.used[base] += 1
        return base if self.used[base] == 1 else f"{base}#{self.used[base]}"

    @property
    def positions(self) -> int:
        return len(self.handed_out)

    def call(
        self, kind: str, name: str, fields: dict[str, Any], *, base: str | None = None, **more: Any
    ) -> Awaitable[Any]:
        if base is None:
            self.check_name(name)
            base = f"{self.prefix(kind)}{name}"
        asked = Asked(kind, name, self.key(base), self.positions, fields, **more)
        self.calls.append(asked)
        self.by_key[asked.key] = asked
        return asked.future
