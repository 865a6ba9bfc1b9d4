"""Streams over HTTP: who gets one, what it looks like, and what happens when either side goes."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from playing import completed, request_for

from runner_protocol import Context, Runner, workflow
from runner_protocol.kit import asgi
from runner_protocol.kit import turn as turn_module

ACCEPT = {"accept": "application/x-ndjson, application/json"}


@workflow("two")
async def two(ctx: Context, input: int) -> int:
    first = await ctx.step("first", lambda: input * 2)
    return await ctx.step("second", lambda: first * 2)


async def post(runner: Runner, headers: dict[str, str], **changes: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(runner.app), base_url="http://runner") as client:
        return await client.post("/run", json=request_for("two", input=1, **changes), headers=headers)


class Caller:
    """Calls an ASGI application by hand: reads when it likes, goes when it likes."""

    def __init__(self, runner: Runner, name: str) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.has_gone = asyncio.Event()
        self._body = [{"type": "http.request", "body": json.dumps(request_for(name)).encode()}]
        headers = [(b"accept", ACCEPT["accept"].encode())]
        scope = {"type": "http", "method": "POST", "path": "/run", "headers": headers}
        self.call = asyncio.ensure_future(runner.app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            return self._body.pop()
        await self.has_gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.put_nowait(message)
        await self.may_read.wait()


async def test_who_accepts_lines_gets_each_action_as_one() -> None:
    reply = await post(Runner([two]), ACCEPT)
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["action"] for line in reply.text.splitlines()] == [
        "step_complete",
        "step_complete",
        "complete",
    ]
    assert reply.text.endswith("\n")


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", "", "application/x-ndjson;q=0, application/json", "application/x-ndjsonish"]
)
async def test_who_does_not_gets_one_action(accept: str) -> None:
    reply = await post(Runner([two]), {"accept": accept})
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["key"] == "first"


async def test_a_runner_without_streams_answers_one_action_whatever_is_accepted() -> None:
    reply = await post(Runner([two], stream=False), ACCEPT)
    assert (reply.headers["content-type"], reply.json()["key"]) == ("application/json", "first")


async def test_a_request_that_is_none_is_refused_with_its_status_in_a_stream_too() -> None:
    reply = await post(Runner([two]), ACCEPT, run="1")
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/json")


async def test_in_the_process_a_request_that_is_none_is_deferred() -> None:
    [line] = [line async for line in Runner([two]).stream(b"{")]
    answer = json.loads(line)
    assert (answer["action"], answer["retry_after"]) == ("defer", "5s")
    assert "the runner refuses the request: not JSON" in answer["reason"]


async def test_an_unknown_workflow_is_deferred_in_a_stream_too() -> None:
    [line] = [line async for line in Runner([]).stream(json.dumps(request_for("two")).encode())]
    assert json.loads(line)["reason"] == "unknown workflow 'two'"
    reply = await post(Runner([]), ACCEPT)
    assert reply.json()["reason"] == "unknown workflow 'two'"


async def test_when_the_caller_of_a_stream_has_gone_its_steps_are_cancelled() -> None:
    ended = asyncio.Event()

    @workflow("slow")
    async def slow(ctx: Context, _: Any) -> Any:
        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        await asyncio.gather(ctx.step("forever", forever), ctx.step("quick", int))

    caller = Caller(Runner([slow]), "slow")
    assert (await caller.sent.get())["type"] == "http.response.start"
    assert b'"quick"' in (await caller.sent.get())["body"]
    caller.has_gone.set()
    await caller.call
    assert ended.is_set()
    assert caller.sent.empty()


async def test_a_caller_that_does_not_read_stops_the_workflow() -> None:
    ran: list[int] = []

    @workflow("eager")
    async def eager(ctx: Context, _: Any) -> Any:
        for number in range(10):
            await ctx.step("work", ran.append, number)

    caller = Caller(Runner([eager]), "eager")
    caller.may_read.clear()
    await caller.sent.get()
    await asyncio.sleep(0.01)
    assert ran == [0]
    caller.may_read.set()
    await caller.call
    assert ran == list(range(10))


async def test_blank_lines_keep_a_quiet_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "_QUIET_S", 0.01)
    may_end = asyncio.Event()

    @workflow("slow")
    async def slow(ctx: Context, _: Any) -> Any:
        return await ctx.step("slow", may_end.wait)

    caller = Caller(Runner([slow]), "slow")
    assert (await caller.sent.get())["type"] == "http.response.start"
    for _ in range(3):
        assert await caller.sent.get() == {"type": "http.response.body", "body": b"\n", "more_body": True}
    may_end.set()
    await caller.call
    rest = b"".join(caller.sent.get_nowait()["body"] for _ in range(caller.sent.qsize()))
    assert [json.loads(line)["action"] for line in rest.split()] == ["step_complete", "complete"]


async def test_a_fault_of_the_kit_in_mid_stream_leaves_the_answer_unfinished(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines = turn_module.Turn.lines

    async def broken(turn: turn_module.Turn) -> AsyncGenerator[bytes, None]:
        async for line in lines(turn):
            yield line
            raise RuntimeError("a fault")

    monkeypatch.setattr(turn_module.Turn, "lines", broken)
    caller = Caller(Runner([two]), "two")
    await caller.call
    assert [caller.sent.get_nowait().get("more_body") for _ in range(caller.sent.qsize())] == [None, True]
    assert "the kit has failed" in caplog.text


async def test_a_fault_of_the_kit_before_the_first_line_is_500(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "encode_answer", None)
    reply = await post(Runner([two]), ACCEPT)
    assert (reply.status_code, set(reply.json())) == (500, {"error"})
    with pytest.raises(TypeError):
        await anext(Runner([two]).stream(json.dumps(request_for("two", completed(("first", 2)))).encode()))


async def test_a_member_has_one_answer_that_is_no_stream() -> None:
    @workflow("two")
    async def mapped(ctx: Context, _: Any) -> Any:
        return await ctx.map("all", [1], str, timeout="1h")

    member = {"group": "all", "name": "all", "key": "all[0]", "index": 0, "total": 1, "input": 1}
    reply = await post(Runner([mapped]), ACCEPT, mode="run_step", member=member)
    assert reply.headers["content-type"] == "application/json"
    assert (reply.json()["key"], reply.json()["output"]) == ("all[0]", "1")
