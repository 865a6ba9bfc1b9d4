"""What a body says of its own size, and how long it takes to come, is no other caller's trouble (PROMISES.md P32)."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.end_to_end.processes import Api, Processes, until

pytestmark = pytest.mark.slow

SLOW_CALLERS = 200
SENT_BY_EACH = 100_000
BODY = b'{"name":"onboarding","input":{"user":"alice","pause":"1h"}}'


@pytest.fixture(scope="module")
def api(shared_processes: Processes) -> Api:
    runner = shared_processes.runner("python")
    return shared_processes.serve(runner, "--workflow", "onboarding:3", "--body-timeout", "4")


def connected(api: Api) -> socket.socket:
    parts = urlsplit(api.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def head(api: Api, *headers: str) -> bytes:
    lines = (f"POST {urlsplit(api.url).path}/start HTTP/1.1", "host: 127.0.0.1", *headers)
    return "\r\n".join((*lines, "", "")).encode()


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def status(answered: bytes) -> int:
    return int(answered.split(b" ", 2)[1]) if answered else 0


def count(api: Api) -> int:
    return len(api.http.get("/").json())


@pytest.mark.parametrize(
    ("headers", "body", "statuses"),
    [
        (["content-length: -1"], BODY, {400}),
        (["content-length: +59"], BODY, {400}),
        (["content-length: many"], BODY, {400}),
        (["content-length: 0x3b"], BODY, {400}),
        (["content-length: "], BODY, {400}),
        ([f"content-length: {'9' * 5000}"], BODY, {400, 413}),
        (["content-length: 1048577"], b"", {413}),
        (["content-length: 5", f"content-length: {len(BODY)}"], BODY, {400}),
        ([f"content-length: {len(BODY)}", "transfer-encoding: chunked"], BODY, {400}),
        (["transfer-encoding: chunked"], b"-5\r\n" + BODY, {400}),
        (["transfer-encoding: chunked"], b"ffffffffffffffffff\r\n" + BODY, {400}),
    ],
)
def test_a_size_that_is_none_is_refused_and_starts_nothing(
    api: Api, headers: list[str], body: bytes, statuses: set[int]
) -> None:
    before = count(api)
    with closing(connected(api)) as connection:
        connection.sendall(head(api, *headers) + body)
        connection.shutdown(socket.SHUT_WR)
        assert status(answer(connection)) in statuses
    assert count(api) == before


def test_a_size_that_is_too_small_is_where_the_body_ends(api: Api) -> None:
    before = count(api)
    with closing(connected(api)) as connection:
        connection.sendall(head(api, f"content-length: {len(BODY) - 1}") + BODY)
        connection.shutdown(socket.SHUT_WR)
        assert status(answer(connection)) == 400
    assert count(api) == before


def test_a_size_that_is_too_large_is_waited_for_no_longer_than_the_time(api: Api) -> None:
    before, began_at = count(api), time.monotonic()
    with closing(connected(api)) as connection:
        connection.sendall(head(api, f"content-length: {len(BODY) + 1}") + BODY)
        answered = answer(connection)
    assert (status(answered), b"body-timeout" in answered) == (408, True)
    assert 3.9 < time.monotonic() - began_at < 15
    assert count(api) == before


def test_a_body_that_is_larger_than_it_may_be_ends_with_the_first_byte_too_many(api: Api) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with closing(connected(api)) as connection:
        connection.sendall(head(api, "transfer-encoding: chunked"))
        sent = 0
        try:
            for sent in range(1000):  # noqa: B007
                connection.sendall(chunk)
        except OSError:  # it has hung up
            pass
        assert sent < 999, "64 MB were taken"


def test_chunks_without_end_end_with_the_time(api: Api) -> None:
    began_at = time.monotonic()
    with closing(connected(api)) as connection:
        connection.sendall(head(api, "transfer-encoding: chunked"))
        connection.settimeout(0.05)
        answered = b""
        while not answered and time.monotonic() - began_at < 15:
            connection.sendall(b"1\r\n \r\n")
            try:
                answered = connection.recv(65536)
            except TimeoutError:
                continue
    assert status(answered) == 408
    assert time.monotonic() - began_at > 3.9


@pytest.fixture
def slow_callers(api: Api) -> Iterator[list[socket.socket]]:
    """Each has sent the better part of a large body, and goes no further."""
    with ExitStack() as open_connections:
        callers = [open_connections.enter_context(closing(connected(api))) for _ in range(SLOW_CALLERS)]
        for caller in callers:
            caller.sendall(head(api, "content-length: 900000") + b" " * SENT_BY_EACH)
        yield callers


def resident_mb(api: Api) -> float:
    lines = Path(f"/proc/{api.process.pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


@pytest.fixture
def memory_before(api: Api) -> float:
    count(api)
    return resident_mb(api)


def test_two_hundred_slow_bodies_hold_up_nobody_and_are_all_refused(
    api: Api, memory_before: float, slow_callers: list[socket.socket]
) -> None:
    latencies, until_s = [], time.monotonic() + 2.5
    while time.monotonic() < until_s:
        began_at = time.monotonic()
        api.start("onboarding", {"user": "alice", "pause": "1h"})
        latencies.append(time.monotonic() - began_at)
    assert sorted(latencies)[len(latencies) * 95 // 100] < 0.5, "the healthy caller hardly got on"
    assert resident_mb(api) - memory_before < 2.5 * SLOW_CALLERS * SENT_BY_EACH / 2**20 + 20
    for caller in slow_callers:
        answered = answer(caller)
        assert (status(answered), json.loads(answered.partition(b"\r\n\r\n")[2])["code"]) == (408, "body-timeout")
    until(lambda: resident_mb(api) - memory_before < 40, "the memory is given back")
    assert "Traceback" not in api.process.said()
