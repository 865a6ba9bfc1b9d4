"""A runner that costs next to nothing: it answers prepared bytes, from a process of its own.

    python -m benchmarks.bare_runner

It prints its URL and answers until its standard input ends. It reads of a request: the path, `content-length`, and the
position, or the member's key, at the end of the `idempotency-key` header (`<workflow id>:<run>:<position>`); of the
body, nothing.

    POST /steps/N   a step at each position below N, then the end of the workflow
    POST /stream/N  all steps from the position to N and the end of the workflow, as lines of one answer
    POST /map/N     a map over N items with 32 in flight, each a step, then the end of the workflow
    POST /wait/N    a wait for the event `go` at each position below N, then the end; notes when each turn arrived
    POST /paid      at position 0 a wait for the event `paid` with the workflow's id as its correlation key, then the
                    end; notes when each turn arrived
    POST /sleep     at position 0 a sleep until the time in the id (`...-<unix milliseconds>`), then the end;
                    notes when each turn arrived
    POST /noted/N   as /steps/N, and notes when each turn arrived
    GET  /arrivals  the notes so far, and forgets them: a JSON list of [key, monotonic ns, unix ns]
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import cast

import uvloop

STEP = b'{"action":"step_complete","step_name":"charge","output":{"id":"ch_1","amount":4200},"duration_ms":12}'
LINE = (
    b'{"action":"step_complete","key":"%b","after":%d,"step_name":"charge","duration_ms":12.405,'
    b'"started_at":"2026-11-21T09:39:04.914Z","completed_at":"2026-11-21T09:39:04.926Z",'
    b'"output":{"id":"ch_1","amount":4200}}\n'
)
"""As a kit writes it."""

MAP = b'{"action":"map","name":"charge","key":"charge","items":%b,"max_in_flight":32}'
END = b'{"action":"complete","output":{"done":true}}'
WAIT = b'{"action":"wait_event","event":"go"}'
WAIT_WITH_KEY = b'{"action":"wait_event","event":"paid","correlation":"%b"}'

_LENGTH = b"\r\ncontent-length:"
_KEY = b"\r\nidempotency-key:"
_HEAD_ENDS = b"\r\n\r\n"

Answer = Callable[[bytes, int], bytes]
Arrival = tuple[str, int, int]


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


_NOT_SAID = _response(b'{"error":"what there is, is not said"}')
"""To `describe`."""

_STEP, _END, _WAIT = _response(STEP), _response(END), _response(WAIT)


@cache
def _stream(position: int, length: int) -> bytes:
    """The rest of a workflow, each line a chunk of its own, as servers send it."""
    lines = [
        LINE % (b"charge" if number == 0 else b"charge#%d" % (number + 1), number) for number in range(position, length)
    ]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in [*lines, END + b"\n"])
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + chunks + b"0\r\n\r\n"


def _items(count: int) -> bytes:
    return json.dumps([{"sku": f"A-{number}", "count": 2} for number in range(count)]).encode()


def _sleep(key: bytes, position: int) -> bytes:
    if position:
        return _END
    due_ms = int(key.split(b":", 1)[0].rpartition(b"-")[2])
    return _response(b'{"action":"sleep","duration":"%dms"}' % max(0, due_ms - time.time_ns() // 1_000_000))


def _wait_with_key(key: bytes, position: int) -> bytes:
    return _END if position else _response(WAIT_WITH_KEY % key.split(b":", 1)[0])


@cache
def _plan(path: bytes) -> tuple[Answer, bool]:
    """What answers this path, and whether arrivals are noted."""
    name, _, number = path.strip(b"/").partition(b"/")
    if name == b"map":
        begin = _response(MAP % _items(int(number)))
        return lambda _, position: begin if position == 0 else _END, False
    if name in (b"sleep", b"paid"):
        return _sleep if name == b"sleep" else _wait_with_key, True
    length, answer = int(number), _WAIT if name == b"wait" else _STEP
    if name == b"stream":
        return lambda _, position: _stream(position, length), False
    return lambda _, position: answer if position < length else _END, name != b"steps"


class BareRunner(asyncio.Protocol):
    """One connection, kept alive; `arrivals` are the process's."""

    def __init__(self, arrivals: list[Arrival]) -> None:
        self._arrivals = arrivals
        self._buffer = bytearray()
        self._wanted = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        buffer = self._buffer
        buffer += data
        while len(buffer) > self._wanted:
            head_ends = buffer.find(_HEAD_ENDS)
            if head_ends < 0:
                return
            head = bytes(buffer[: head_ends + 2])
            lower = head.lower()
            self._wanted = head_ends + 4 + int(_value(head, lower, _LENGTH) or 0)
            if len(buffer) < self._wanted:
                self._wanted -= 1  # a body's last byte is what it waits for
                return
            answer = self._answer(head, lower)
            del buffer[: self._wanted]
            self._wanted = 0
            if self._transport is not None:
                self._transport.write(answer)

    def _answer(self, head: bytes, lower: bytes) -> bytes:
        method, path, _ = head.split(b" ", 2)
        if method == b"GET":
            notes = json.dumps(self._arrivals).encode()
            self._arrivals.clear()
            return _response(notes)
        answer, is_noted = _plan(path)
        key = _value(head, lower, _KEY)
        if is_noted:
            self._arrivals.append((key.decode(), time.monotonic_ns(), time.time_ns()))
        position = key[key.rfind(b":") + 1 :]
        if position.endswith(b"]"):
            return _STEP
        return answer(key, int(position)) if position.isdigit() else _NOT_SAID


def _value(head: bytes, lower: bytes, name: bytes) -> bytes:
    begins = lower.find(name)
    if begins < 0:
        return b""
    begins += len(name)
    return head[begins : head.find(b"\r\n", begins)].strip()


async def serve() -> None:
    """Answer until the standard input ends, so that no runner outlives its benchmark."""
    arrivals: list[Arrival] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BareRunner(arrivals), "127.0.0.1", 0, backlog=2048)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    parent_left = loop.create_future()
    loop.add_reader(sys.stdin, parent_left.cancel)
    async with server:
        await asyncio.wait((parent_left,))


if __name__ == "__main__":
    uvloop.run(serve())
