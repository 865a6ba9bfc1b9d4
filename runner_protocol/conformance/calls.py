"""The workflow `conformance.calls`: each helper of a kit once, as a case's data asks for it. WORKFLOWS.md says how."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from runner_protocol import StepFailedError, TimedOutError, current_step
from runner_protocol.fields import format_timestamp

_OPTIONS = {
    "sleep": ("name",),
    "until": ("name",),
    "event": ("timeout", "on_timeout", "match", "correlation"),
    "hook": ("timeout", "on_timeout", "match"),
    "approval": ("message", "data", "timeout", "on_timeout"),
    "parallel": ("fail_fast", "max_in_flight"),
    "map": ("fail_fast", "max_in_flight"),
    "child": ("input", "name", "id", "wait", "on_parent_close"),
}
_NOTES = frozenset({"set", "unset", "usage", "progress", "log"})


async def attempted(ctx: Any, call: dict[str, Any]) -> Any:
    """Do what the call says and give what it comes to; with `catch` also a final failure."""
    try:
        return await _done(ctx, call)
    except StepFailedError as error:
        if not call.get("catch"):
            raise
        return {"caught": error.message, "timed_out": isinstance(error, TimedOutError)}


async def _done(ctx: Any, call: dict[str, Any]) -> Any:
    match call:
        case {"all": calls}:
            return await asyncio.gather(*(attempted(ctx, inner) for inner in calls))
        case {"approval": name}:
            decision = await ctx.approval(name, **_options("approval", call))
            fields = ("approved", "by", "comment", "data", "timed_out")
            return {field: getattr(decision, field) for field in fields}
        case {"continue_as_new": input}:
            return await ctx.continue_as_new(input)
        case {"now": _} | {"vars": _} | {"hook_url": _}:
            return _fact(ctx, call)
        case _ if _NOTES & call.keys():
            return _noted(ctx, call)
        case _:
            return await _called(ctx, call)


def _fact(ctx: Any, call: dict[str, Any]) -> Any:
    if "hook_url" in call:
        return ctx.hook_url(call["hook_url"])
    return format_timestamp(ctx.now()) if "now" in call else dict(ctx.vars)


def _called(ctx: Any, call: dict[str, Any]) -> Awaitable[Any]:
    awaited: Awaitable[Any]
    match call:
        case {"step": name}:
            awaited = ctx.step(name, _body, ctx, call)
        case {"skip": name}:
            awaited = ctx.skip(name, call["reason"])
        case {"operation": name}:
            awaited = ctx.operation(name, _Operation(call))
        case {"shell": name}:
            awaited = ctx.shell(name, call["command"])
        case {"sleep": duration}:
            awaited = ctx.sleep(duration, **_options("sleep", call))
        case {"until": time}:
            awaited = ctx.sleep_until(time, **_options("until", call))
        case {"event": event}:
            awaited = ctx.wait_for_event(event, **_options("event", call))
        case {"hook": name}:
            awaited = ctx.wait_for_hook(name, **_options("hook", call))
        case {"parallel": name}:
            members = {member: _member(member) for member in call["members"]}
            awaited = ctx.parallel(name, members, **_options("parallel", call))
        case {"map": name}:
            awaited = ctx.map(name, call["items"], lambda item: _item(ctx, item), **_options("map", call))
        case {"child": workflow}:
            awaited = ctx.child(workflow, **_options("child", call))
        case _:
            raise ValueError(f"no such call: {call!r}")
    return awaited


def _options(helper: str, call: dict[str, Any]) -> dict[str, Any]:
    return {option: call[option] for option in _OPTIONS[helper] if option in call}


def _noted(ctx: Any, note: dict[str, Any]) -> None:
    match note:
        case {"set": values}:
            ctx.set(values)
        case {"unset": name}:
            ctx.unset(name)
        case {"usage": spent}:
            ctx.usage(**spent)
        case {"progress": progress}:
            ctx.progress(**progress)
        case _:
            ctx.log.info(note["log"])


async def _body(ctx: Any, call: dict[str, Any]) -> Any:
    for note in call.get("notes", ()):
        _noted(ctx, note)
    if "error" in call:
        raise RuntimeError(call["error"])
    return ctx.hook_url(call["hook_url_inside"]) if "hook_url_inside" in call else call["step"]


def _member(name: str) -> Any:
    async def member() -> Any:
        if name == "bad":
            raise RuntimeError("a bad member")
        return name

    return member


async def _item(ctx: Any, item: Any) -> Any:
    if item == "bad":
        raise RuntimeError("a bad item")
    if item == "dear":
        ctx.usage(cost_usd="0.5")
    info = current_step()
    return {"item": item, "attempt": info.number, "key": info.idempotency_key}


class _Operation:
    def __init__(self, call: dict[str, Any]) -> None:
        self.kind = call["kind"]
        self.input = call["input"]
        self._output = call["operation"]

    async def execute(self) -> Any:
        return self._output
