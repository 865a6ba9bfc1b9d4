"""A runner that misbehaves in one chosen way (PROMISES.md harness 4): a raw TCP server, so that each byte is chosen.

`BEHAVIOURS` names every way, with what the engine must make of it. `HostileRunner(behaviour)` serves one in this loop;
`hostile_process()` serves them all from a child process, for tests that want their own loop for themselves.
"""

import asyncio
import gzip
import json
import socket
import ssl as tls
import struct
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Self

ACTION = b'{"action":"step_complete","step_name":"charge","key":"charge","output":1}'


class Exchange:
    """One connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.head = b""
        self.body = b""
        self.is_over = False

    async def has_request(self) -> bool:
        """Wait for the next request and read it whole; False when the caller has closed the connection."""
        try:
            self.head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        lines = self.head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        self.body = await self._reader.readexactly(length)
        return True

    async def send(self, *parts: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(b"".join(parts))
        await self._writer.drain()

    async def answer(self, body: bytes, status: str = "200 OK", headers: bytes = b"") -> None:
        """Send a proper HTTP answer; `headers` are whole lines."""
        length = b"content-length: %d\r\n" % len(body)
        await self.send(b"HTTP/1.1 ", status.encode(), b"\r\n", length, headers, b"\r\n", body)

    async def until_gone(self) -> None:
        """Wait until the caller has closed the connection."""
        while await self._reader.read(65536):
            pass

    def close(self) -> None:
        """Close the connection properly (FIN)."""
        self.is_over = True
        self._writer.close()

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.is_over = True
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Act = Callable[[Exchange], Awaitable[None]]
Outcome = Literal["answered", "unavailable", "malformed", "timed out"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a runner does with each request, and what the engine must make of it.

    `act` None means that nobody listens; `is_deaf` that the request is not even read. `has_dropped_turn` None: either,
    since a connection that the runner closes or spoils after its answer may have been taken for the next turn already.
    """

    act: Act | None
    outcome: Outcome
    has_dropped_turn: bool | None = False
    retry_after_s: float | None = None
    is_deaf: bool = False


def replies(body: bytes, status: str = "200 OK", headers: bytes = b"") -> Act:
    """Answer with this status, these header lines and this body."""

    async def act(exchange: Exchange) -> None:
        await exchange.answer(body, status, headers)

    return act


def sends(*parts: bytes, then: Literal["close", "wait", "reset", "go on"] = "close") -> Act:
    """Send exactly these bytes, then close, reset, wait until the caller goes, or go on with the next request."""

    async def act(exchange: Exchange) -> None:
        await exchange.send(*parts)
        if then == "wait":
            await exchange.until_gone()
        if then == "reset":
            exchange.reset()
        elif then != "go on":
            exchange.close()

    return act


def streams(head: bytes, pieces: Sequence[bytes], pause_s: float = 0.0) -> Act:
    """Send the head, then piece after piece as they are taken, with a pause after each; then close."""

    async def act(exchange: Exchange) -> None:
        await exchange.send(head)
        for piece in pieces:
            await exchange.send(piece)
            await asyncio.sleep(pause_s)
        exchange.close()

    return act


def _bytewise(data: bytes) -> Sequence[bytes]:
    return [bytes([byte]) for byte in data]


async def _never_reads(exchange: Exchange) -> None:
    await asyncio.get_running_loop().create_future()


def _head(length: int | str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n".encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_START = b'{"action":"step_start","step_name":"a","key":"a%d","timeout":"100d"}\n'
_STARTS = [_chunk(b"".join(_START % (100 * part + number) for number in range(100))) for part in range(200)]
"""Twenty thousand steps that are said to run."""
_BOMB = gzip.compress(bytes(1024 * 1024)) * 300
"""300 KB that unpack to 300 MB."""
_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_WHOLE = _head(len(ACTION)) + ACTION
_NDJSON = b"content-type: application/x-ndjson\r\n"
_STREAM = b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n" % _NDJSON
_END = b"0\r\n\r\n"
_HUNDRED_MB = [b"[", *[b"1," * 50_000] * 1000]
_MILLION = b"[" + b"1," * 999_999 + b"1]"
DESCRIPTION = b'{"action":"description","workflows":%b}' % _MILLION
"""Of a million workflows that are none."""
_PAGE = b"<html><title>nginx</title></html>"

BEHAVIOURS: Mapping[str, Behaviour] = {
    # no connection, or a broken one
    "refused": Behaviour(None, "unavailable"),
    "reset at once": Behaviour(sends(then="reset"), "unavailable", has_dropped_turn=None, is_deaf=True),
    "reset after the request": Behaviour(sends(then="reset"), "unavailable", has_dropped_turn=True),
    "closed after the request": Behaviour(sends(), "unavailable", has_dropped_turn=True),
    "truncated head": Behaviour(sends(_WHOLE[:30]), "unavailable", has_dropped_turn=True),
    "truncated body": Behaviour(sends(_WHOLE[:-5]), "unavailable", has_dropped_turn=True),
    "truncated chunks": Behaviour(sends(_CHUNKED, b"49\r\n", ACTION[:9]), "unavailable", has_dropped_turn=True),
    # too slow
    "half-open": Behaviour(sends(then="wait"), "timed out"),
    "never reads": Behaviour(_never_reads, "timed out", is_deaf=True),
    "one byte at a time": Behaviour(streams(b"", _bytewise(_WHOLE), 0.1), "timed out"),
    "dripping body": Behaviour(streams(_head(len(ACTION)), _bytewise(ACTION), 0.1), "timed out"),
    "length too long": Behaviour(sends(_head(len(ACTION) + 9), ACTION, then="wait"), "timed out"),
    # not HTTP
    "garbage": Behaviour(sends(b"\x00\xff\x16 hello\r\n\r\n"), "unavailable"),
    "length no number": Behaviour(sends(_head("abc"), ACTION), "unavailable"),
    "two lengths": Behaviour(sends(_head("5\r\ncontent-length: 73"), ACTION), "unavailable"),
    "length said twice": Behaviour(sends(_head("73, 73"), ACTION), "unavailable"),
    "bad chunk size": Behaviour(sends(_CHUNKED, b"zz\r\n", ACTION), "unavailable"),
    "header of 5 MB": Behaviour(streams(b"HTTP/1.1 200 OK\r\nx-a: ", [b"a" * 65536] * 77), "unavailable"),
    "headers without end": Behaviour(streams(b"HTTP/1.1 200 OK\r\n", [b"x-a: 1\r\n" * 9999] * 500), "unavailable"),
    # statuses
    "101": Behaviour(sends(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", then="wait"), "unavailable"),
    "204": Behaviour(sends(b"HTTP/1.1 204 No Content\r\n\r\n", then="go on"), "unavailable"),
    "302": Behaviour(replies(b"", "302 Found", b"location: /elsewhere\r\n"), "unavailable"),
    "307": Behaviour(replies(ACTION, "307 Temporary Redirect", b"location: /elsewhere\r\n"), "unavailable"),
    "401": Behaviour(replies(ACTION, "401 Unauthorized", b"www-authenticate: Basic\r\n"), "unavailable"),
    "408": Behaviour(replies(b"", "408 Request Timeout"), "unavailable"),
    "425": Behaviour(replies(b"", "425 Too Early"), "unavailable"),
    "429": Behaviour(replies(b"", "429 Too Many Requests", b"retry-after: 7\r\n"), "unavailable", retry_after_s=7.0),
    "500 with an action": Behaviour(replies(ACTION, "500 Internal Server Error"), "answered"),
    "500 without": Behaviour(replies(b"oops", "500 Internal Server Error"), "unavailable"),
    "502": Behaviour(replies(_PAGE, "502 Bad Gateway", b"retry-after: soon\r\n"), "unavailable"),
    "503": Behaviour(replies(b"{}", "503 Too Busy", b"retry-after: 2\r\n"), "unavailable", retry_after_s=2.0),
    # 200, and yet no action
    "empty": Behaviour(replies(b""), "unavailable"),
    "page of a proxy": Behaviour(replies(_PAGE), "unavailable"),
    "length too short": Behaviour(sends(_head(9), ACTION), "unavailable", has_dropped_turn=None),
    "compressed and silent about it": Behaviour(replies(zlib.compress(ACTION)), "unavailable"),
    "compression that is no text": Behaviour(replies(ACTION, headers=b"content-encoding: \xff\r\n"), "malformed"),
    "gzip bomb": Behaviour(replies(_BOMB, headers=b"content-encoding: gzip\r\n"), "malformed"),
    "100 MB": Behaviour(streams(_head(100_000_001), _HUNDRED_MB), "malformed"),
    "100 MB without a length": Behaviour(streams(b"HTTP/1.1 200 OK\r\n\r\n", _HUNDRED_MB), "malformed"),
    "length of an exabyte": Behaviour(sends(_head(10**18), b"x" * 65536, then="wait"), "malformed"),
    "no action": Behaviour(replies(b'{"ok":true}'), "malformed"),
    "no object": Behaviour(replies(b"[1,2]"), "malformed"),
    "unknown action": Behaviour(replies(b'{"action":"explode"}'), "malformed"),
    "wrong type": Behaviour(replies(b'{"action":"wait_event","event":7}'), "malformed"),
    "a million wrong names": Behaviour(replies(b'{"action":"complete","unset":%b}' % _MILLION), "malformed"),
    "a million wrong log lines": Behaviour(replies(b'{"action":"complete","logs":%b}' % _MILLION), "malformed"),
    "NaN": Behaviour(replies(b'{"action":"complete","output":NaN}'), "malformed"),
    "doubled key": Behaviour(replies(b'{"action":"complete","output":1,"output":2}'), "malformed"),
    "negative duration": Behaviour(replies(b'{"action":"sleep","duration":"-5s"}'), "malformed"),
    "huge duration": Behaviour(replies(b'{"action":"sleep","duration":"5000000w"}'), "malformed"),
    "too deep": Behaviour(replies(b'{"action":"complete","output":' + b"[" * 99 + b"]" * 99 + b"}"), "malformed"),
    # streams
    "stream of nothing": Behaviour(sends(_STREAM, _END, then="go on"), "unavailable"),
    "stream of blank lines": Behaviour(sends(_STREAM, _chunk(b"\n" * 100_000), _END, then="go on"), "unavailable"),
    "blank lines for ever": Behaviour(streams(_STREAM, [_chunk(b"\n")] * 1000, 0.01), "timed out"),
    "stream that is silent": Behaviour(sends(_STREAM, then="wait"), "timed out"),
    "half a line and silence": Behaviour(sends(_STREAM, _chunk(ACTION[:20]), then="wait"), "timed out"),
    "stream one byte at a time": Behaviour(
        streams(_STREAM, [_chunk(each) for each in _bytewise(ACTION)], 0.1), "timed out"
    ),
    "stream cut off": Behaviour(sends(_STREAM, _chunk(ACTION[:20])), "unavailable", has_dropped_turn=True),
    "stream that ends in half a line": Behaviour(
        sends(_STREAM, _chunk(ACTION[:20]), _END, then="go on"), "unavailable", has_dropped_turn=True
    ),
    "stream of garbage": Behaviour(sends(_STREAM, _chunk(b"<html>\n"), _END), "malformed"),
    "line of 5 MB": Behaviour(streams(_STREAM, [_chunk(b"x" * 65536)] * 80), "malformed"),
    "line without end": Behaviour(streams(_STREAM, [_chunk(b"x" * 65536)] * 1600), "malformed"),
    "compressed stream": Behaviour(
        streams(_STREAM[:-2] + b"content-encoding: gzip\r\n\r\n", [_chunk(_BOMB[:65536])] * 500), "malformed"
    ),
    "steps that only begin": Behaviour(streams(_STREAM, _STARTS), "malformed"),
    "stream with a status of 503": Behaviour(
        replies(ACTION + b"\n", "503 Too Busy", _NDJSON + b"retry-after: 2\r\n"), "answered"
    ),
    "stream of one line": Behaviour(sends(_STREAM, _chunk(ACTION + b"\r\n"), _END, then="go on"), "answered"),
    "stream without a length": Behaviour(sends(b"HTTP/1.1 200 OK\r\n", _NDJSON, b"\r\n", ACTION), "answered"),
    # odd, and yet an action
    "wrong content-type": Behaviour(replies(ACTION, headers=b"content-type: image/png\r\n"), "answered"),
    "headers that are no text": Behaviour(replies(ACTION, headers=b"x-a: \xff\xfe\r\n"), "answered"),
    "HTTP/1.0": Behaviour(sends(b"HTTP/1.0 200 OK\r\n\r\n", ACTION), "answered"),
    "chunked": Behaviour(
        sends(_CHUNKED, b"5;x=y\r\n", ACTION[:5], b"\r\n44\r\n", ACTION[5:], b"\r\n0\r\n\r\n", then="go on"), "answered"
    ),
    "interim answers": Behaviour(
        sends(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\n", _WHOLE, then="go on"), "answered"
    ),
    "bytes after the body": Behaviour(sends(_WHOLE, b"HTTP/1.1 200 OK\r\n\r\nmore"), "answered", has_dropped_turn=None),
    "keep-alive closed early": Behaviour(sends(_WHOLE), "answered", has_dropped_turn=None),
}
HEALTHY = Behaviour(replies(ACTION, headers=b"content-type: application/json\r\n"), "answered")


class HostileRunner:
    """Serves one behaviour on a port that the system chooses: `async with HostileRunner(behaviour) as runner`."""

    def __init__(self, behaviour: Behaviour, *, ssl: tls.SSLContext | None = None) -> None:
        self._behaviour, self._ssl = behaviour, ssl
        self._socket = socket.socket()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.requests = 0
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))  # kept bound, so that a refused port stays refused
        self._socket.setblocking(False)
        scheme = "http" if self._ssl is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}/run"
        if self._behaviour.act is not None:
            self._socket.listen(512)
            asyncio.get_running_loop().add_reader(self._socket, self._accept, self._behaviour.act)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()

    def _accept(self, act: Act) -> None:
        # Not asyncio.start_server: closed in the middle of an accept, it leaves the connection lying about.
        with suppress(BlockingIOError):
            connection, _ = self._socket.accept()
            self.connections += 1
            task = asyncio.create_task(self._serve(connection, act))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: connection.close())

    async def _serve(self, connection: socket.socket, act: Act) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        connection.setblocking(False)
        with suppress(OSError, EOFError):
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._ssl)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            exchange = Exchange(reader, writer)
            try:
                while not exchange.is_over and (self._behaviour.is_deaf or await exchange.has_request()):
                    self.requests += 1
                    await act(exchange)
                writer.close()
                await writer.wait_closed()
            finally:
                transport.abort()
                await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@asynccontextmanager
async def hostile_process() -> AsyncIterator[Mapping[str, str]]:
    """Serve every behaviour, and `healthy`, from a child process; gives the URL of each by name."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield json.loads(await child.stdout.readline())
    finally:
        child.stdin.close()
        await child.wait()


async def _serve_all() -> None:
    async with AsyncExitStack() as stack:
        urls = {}
        for name, behaviour in {**BEHAVIOURS, "healthy": HEALTHY}.items():
            urls[name] = (await stack.enter_async_context(HostileRunner(behaviour))).url
        sys.stdout.write(json.dumps(urls) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)  # ends with the parent, however that ends


if __name__ == "__main__":
    asyncio.run(_serve_all())
