"""The guarded protocol under a real uvicorn, with callers that are slow, silent, endless or many."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from pylon_workflows.edge.connections import Awaited, Connections, EdgeLimits
from pylon_workflows.edge.protocol import MAX_HEAD_BYTES, MAX_PIPELINED, MAX_UNREAD_BYTES, GuardedConfig
from pylon_workflows.server import _Server
from pylon_workflows.testing import wait_until

HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
Caller = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Edge:
    """A server whose clock the test moves; `/wait` answers when it is let, `/big` more than anybody takes."""

    def __init__(self, most: int = 100) -> None:
        self.now = 0.0
        limits = EdgeLimits(max_connections=most, head_timeout_s=10, body_timeout_s=35, answer_timeout_s=60)
        self.connections = Connections(limits, lambda: self.now)
        self.answered: list[str] = []
        self.may_answer = asyncio.Event()
        self.port = 0
        self._callers: list[asyncio.StreamWriter] = []

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b"hello"
        if scope["path"] == "/wait":
            await self.may_answer.wait()
        elif scope["path"] == "/read":
            message: Any = {"more_body": True}
            while message.get("more_body"):
                message = await receive()
        elif scope["path"] == "/big":
            body = b"x" * 20_000_000
        self.answered.append(scope["path"])
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    @asynccontextmanager
    async def served(self) -> AsyncIterator["Edge"]:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        is_up = asyncio.Event()
        config = GuardedConfig(
            self.app,
            self.connections,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config, is_up.set)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await is_up.wait()
            yield self
        finally:
            self.may_answer.set()
            for writer in self._callers:
                writer.close()
            server.should_exit = server.force_exit = True
            await serving

    async def call(self, first: bytes = b"") -> Caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._callers.append(writer)
        writer.write(first)
        await writer.drain()
        return reader, writer

    def at(self, now: float) -> None:
        self.now = now
        self.connections.look()

    def awaiting(self, awaited: Awaited | None) -> int:
        return sum(each is awaited for each in self.connections._awaiting.values())

    async def until(self, awaited: Awaited | None, count: int = 1) -> None:
        await wait_until(lambda: self.awaiting(awaited) == count)


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    async with Edge().served() as edge:
        yield edge


async def all_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(int(length.split(b":")[1]))


def refusal(answered: bytes) -> tuple[int, str]:
    head, _, body = answered.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    value = json.loads(body)
    assert int(head.split(b" ")[1]) == value["status"]
    return value["status"], value["code"]


async def test_a_connection_is_awaited_something_of_at_each_moment(edge: Edge) -> None:
    reader, writer = await edge.call()
    await edge.until(Awaited.HEAD)
    writer.write(HEAD)
    assert (await answer(reader)).endswith(b"hello")
    await edge.until(Awaited.NEXT_REQUEST)
    writer.write(b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n1")
    await edge.until(Awaited.BODY)
    writer.write(b"2")
    await edge.until(None)
    edge.may_answer.set()
    assert (await answer(reader)).endswith(b"hello")
    await edge.until(Awaited.NEXT_REQUEST)
    writer.write(b"\r\n")
    await edge.until(Awaited.HEAD)
    writer.close()
    await wait_until(lambda: len(edge.connections) == 0)


@pytest.mark.parametrize("first", [b"G", b"GET / HTTP/1.1\r\nhost: x\r\n", HEAD[:-1]])
async def test_a_head_that_does_not_end_is_told_so_at_its_deadline(edge: Edge, first: bytes) -> None:
    reader, _ = await edge.call(first)
    await edge.until(Awaited.HEAD)
    await wait_until(lambda: all(each._head_bytes for each in edge.connections._awaiting))  # type: ignore[attr-defined]
    edge.at(9.9)
    assert len(edge.connections) == 1
    edge.at(10)
    assert refusal(await all_of(reader)) == (408, "head-timeout")


async def test_who_connects_and_says_nothing_is_hung_up_on(edge: Edge) -> None:
    reader, _ = await edge.call()
    await edge.until(Awaited.HEAD)
    edge.at(10)
    assert await all_of(reader) == b""


async def test_a_second_head_on_a_connection_has_a_deadline_of_its_own(edge: Edge) -> None:
    reader, writer = await edge.call(HEAD)
    await answer(reader)
    edge.at(1000)
    writer.write(b"\r\n\r\n")
    await edge.until(Awaited.HEAD)
    edge.at(1009)
    assert len(edge.connections) == 1
    edge.at(1010)
    assert refusal(await all_of(reader)) == (408, "head-timeout")


async def test_a_body_that_does_not_end_ends_with_its_connection(edge: Edge) -> None:
    reader, _ = await edge.call(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n12345")
    await edge.until(Awaited.BODY)
    edge.at(34.9)
    assert len(edge.connections) == 1
    edge.at(35)
    assert await all_of(reader) == b""


async def test_bodies_in_memory_are_counted_until_they_are_answered(edge: Edge) -> None:
    reader, writer = await edge.call(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n12345")
    await wait_until(lambda: edge.connections._held_bytes == 5)
    writer.write(b"6789")
    await answer(reader)
    await edge.until(Awaited.NEXT_REQUEST)
    assert edge.connections._held_bytes == 0
    reader, writer = await edge.call(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n12345")
    await wait_until(lambda: edge.connections._held_bytes == 5)
    writer.close()
    await wait_until(lambda: edge.connections._held_bytes == 0)


async def test_a_body_that_nobody_reads_has_five_seconds_after_the_answer(edge: Edge) -> None:
    reader, writer = await edge.call(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n12345")
    assert (await answer(reader)).endswith(b"hello")
    await edge.until(Awaited.UNREAD_BODY)
    edge.at(4.9)
    writer.write(b"6")
    assert len(edge.connections) == 1
    edge.at(5)
    assert await all_of(reader) == b""


async def test_of_a_body_that_nobody_reads_little_is_taken(edge: Edge) -> None:
    reader, writer = await edge.call(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 900000000\r\n\r\n12345")
    await answer(reader)
    sent = 0
    with pytest.raises(OSError):
        for _ in range(2000):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536
    assert sent < 100 * MAX_UNREAD_BYTES


async def test_a_small_rest_of_a_body_costs_nobody_his_connection(edge: Edge) -> None:
    reader, writer = await edge.call(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50000\r\n\r\n")
    await answer(reader)
    writer.write(b"x" * 50_000)
    await edge.until(Awaited.NEXT_REQUEST)
    writer.write(HEAD)
    assert (await answer(reader)).endswith(b"hello")


@pytest.mark.parametrize("line", [b"x: " + b"y" * 1000 + b"\r\n", b"y" * 1000])
async def test_a_head_without_end_is_refused_at_its_limit(edge: Edge, line: bytes) -> None:
    begin = b"GET / HTTP/1.1\r\nhost: x\r\nz: "
    lines = line * ((MAX_HEAD_BYTES - len(begin)) // len(line))
    reader, writer = await edge.call(begin + lines)
    sent = len(begin + lines)
    await wait_until(lambda: [each._head_bytes for each in edge.connections._awaiting] == [sent])  # type: ignore[attr-defined]
    writer.write(line)
    assert refusal(await all_of(reader)) == (431, "head-too-large")
    assert edge.answered == []


async def test_a_head_that_is_too_large_is_refused_when_it_comes_at_once(edge: Edge) -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\nz: " + b"y" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n"
    reader, _ = await edge.call(head)
    answered = await all_of(reader)
    assert not answered or refusal(answered) == (431, "head-too-large")
    assert edge.answered == []


async def test_a_large_head_is_taken(edge: Edge) -> None:
    reader, _ = await edge.call(b"GET / HTTP/1.1\r\nhost: x\r\nz: " + b"y" * (MAX_HEAD_BYTES - 1000) + b"\r\n\r\n")
    assert (await answer(reader)).endswith(b"hello")


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_is_no_request_is_told_so(edge: Edge, garbage: bytes) -> None:
    reader, _ = await edge.call(garbage)
    assert refusal(await all_of(reader)) == (400, "malformed-request")


async def test_what_is_no_body_is_told_so(edge: Edge) -> None:
    reader, _ = await edge.call(b"POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n12345")
    assert refusal(await all_of(reader)) == (400, "malformed-request")


async def test_an_answer_that_nobody_takes_ends_with_its_time(edge: Edge) -> None:
    reader, writer = await edge.call(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
    await wait_until(lambda: len(edge.connections._stalled) == 1)
    edge.at(59)
    assert len(edge.connections) == 1
    edge.at(60)
    await wait_until(lambda: len(edge.connections) == 0)
    assert len(await all_of(reader)) < 20_000_000
    writer.close()


async def test_requests_that_come_at_once_are_answered_in_order(edge: Edge) -> None:
    reader, _ = await edge.call(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1" + HEAD * 3)
    for _ in range(4):
        assert (await answer(reader)).endswith(b"hello")
    await edge.until(Awaited.NEXT_REQUEST)
    assert edge.answered == ["/read", "/", "/", "/"]


async def test_as_many_requests_as_may_wait_on_a_connection_are_answered(edge: Edge) -> None:
    reader, _ = await edge.call(HEAD * (1 + MAX_PIPELINED))
    for _ in range(1 + MAX_PIPELINED):
        assert (await answer(reader)).endswith(b"hello")


async def test_thousands_of_requests_that_come_at_once_are_not_kept(edge: Edge) -> None:
    reader, _ = await edge.call(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n" + HEAD * 3000)
    assert await all_of(reader) == b""
    await wait_until(lambda: len(edge.connections) == 0)
    edge.may_answer.set()
    reader, _ = await edge.call(HEAD)
    assert (await answer(reader)).endswith(b"hello")
    assert edge.answered.count("/") == 1


async def test_while_a_request_is_worked_on_a_slow_next_one_does_not_end_it(edge: Edge) -> None:
    reader, _ = await edge.call(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
    await edge.until(None)
    edge.at(1000)
    edge.may_answer.set()
    assert (await answer(reader)).endswith(b"hello")


async def full(
    count: int, first: bytes, awaited: Awaited | None
) -> tuple[Edge, list[Caller], Callable[[], Awaitable[Any]]]:
    edge = Edge(most=count)
    server = edge.served()
    await server.__aenter__()
    callers = [await edge.call(first) for _ in range(count)]
    await edge.until(awaited, count)
    return edge, callers, lambda: server.__aexit__(None, None, None)


async def test_when_all_places_are_taken_by_the_slow_a_new_caller_is_answered() -> None:
    edge, slow, close = await full(5, b"GET / HT", Awaited.HEAD)
    try:
        for n in range(5):
            reader, writer = await edge.call(HEAD)
            assert (await answer(reader)).endswith(b"hello")
            writer.close()
            await wait_until(lambda: len(edge.connections) <= 4)
            _ = n
        assert refusal(await all_of(slow[0][0])) == (408, "head-timeout")
        assert edge.awaiting(Awaited.HEAD) == 4
    finally:
        await close()


async def test_when_all_places_are_taken_by_who_reads_no_answers_a_new_caller_is_answered() -> None:
    edge, _, close = await full(3, b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n" * 2, None)
    try:
        await wait_until(lambda: len(edge.connections._stalled) == 3)
        edge.now = 1.0
        reader, _ = await edge.call(HEAD)
        assert (await answer(reader)).endswith(b"hello")
    finally:
        await close()


async def test_when_all_places_are_at_work_a_new_caller_is_told_to_come_again() -> None:
    edge, working, close = await full(3, b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n", None)
    try:
        reader, _ = await edge.call(HEAD)
        answered = await all_of(reader)
        assert refusal(answered) == (503, "too-many-connections")
        assert b"retry-after: 1" in answered
        edge.may_answer.set()
        for reader, _ in working:
            assert (await answer(reader)).endswith(b"hello")
        assert edge.answered == ["/wait"] * 3
    finally:
        await close()


def test_uvicorn_is_the_one_that_was_looked_at() -> None:
    """The names that the guarded protocol builds on, in whichever release is installed."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    built_on = ("connection_made", "connection_lost", "data_received", "on_message_begin", "on_headers_complete")
    built_on += ("on_body", "on_message_complete", "on_response_complete", "send_400_response", "pause_writing")
    assert all(callable(getattr(HttpToolsProtocol, name)) for name in built_on), uvicorn.__version__
