"""The pool and the deadlines. What servers do to an answer is in tests/faults/test_hostile_runner.py."""

import asyncio
import time

import pytest

from pylon_workflows.http_client.client import HttpClient
from pylon_workflows.http_client.connection import (
    CannotConnectError,
    ClientClosedError,
    ConnectionBrokenError,
    NoAnswerInTimeError,
    NotHttpError,
)
from pylon_workflows.testing import wait_until

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Sends the replies in turn, one for each request on whatever connection; `None` says nothing."""

    def __init__(self, *replies):
        self.replies = list(replies) or [OK]
        self.requests = 0
        self.connections = 0
        self.open = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await wait_until(lambda: self.open == 0)

    async def _serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                reply = self.replies[min(self.requests, len(self.replies) - 1)]
                self.requests += 1
                if reply is not None:
                    writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    def client(self, **options):
        return HttpClient("127.0.0.1", self.port, **options)


async def ask(client, timeout_s=5.0):
    return await client.request(HEAD, b"", timeout_s=timeout_s)


async def test_the_next_request_takes_the_connection_of_the_last():
    async with Server() as server, server.client() as client:
        for _ in range(3):
            answer = await ask(client)
            assert (answer.status, answer.body, answer.header(b"content-length")) == (200, b"ok", "2")
            assert answer.header(b"x-none") is None
        assert (server.requests, server.connections) == (3, 1)


async def test_a_connection_that_nobody_has_used_for_a_while_is_hung_up():
    async with Server() as server, server.client(idle_timeout_s=0.05) as client:
        await asyncio.gather(ask(client), ask(client))
        assert server.connections == 2
        await wait_until(lambda: server.open == 0)
        assert (await ask(client)).status == 200
        assert server.connections == 3


async def test_a_busy_connection_outlives_the_idle_time_of_the_others():
    async with Server() as server, server.client(idle_timeout_s=0.2) as client:
        await asyncio.gather(ask(client), ask(client), ask(client))

        async def only_one_is_open():
            await ask(client)
            return server.open == 1

        ends_at = time.monotonic() + 10
        while not await only_one_is_open():
            assert time.monotonic() < ends_at
        assert server.connections == 3


@pytest.mark.parametrize("reply", [OK + b"x", OK + OK, OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")])
async def test_a_connection_that_says_more_than_it_was_asked_or_that_it_ends_is_not_used_again(reply):
    async with Server(reply, OK) as server, server.client() as client:
        assert (await ask(client)).body == b"ok"
        assert (await ask(client)).body == b"ok"
        assert server.connections == 2


async def test_bytes_that_come_unasked_end_a_kept_connection():
    late = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await late.wait()
        writer.write(OK)
        assert await reader.read() == b"", "it was used again"
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with HttpClient("127.0.0.1", server.sockets[0].getsockname()[1]) as client:
        await ask(client)
        late.set()
        await wait_until(lambda: not any(connection.is_open for connection in client._connections))
    server.close()
    await server.wait_closed()


async def test_a_deadline_counts_for_its_own_request_whatever_those_of_the_others_were():
    async with Server(OK, None) as server, server.client() as client:
        await ask(client, timeout_s=30)
        began = time.monotonic()
        with pytest.raises(NoAnswerInTimeError):
            await ask(client, timeout_s=0.2)
        assert 0.15 <= time.monotonic() - began < 3


async def test_an_earlier_alarm_does_not_end_a_request_with_a_later_deadline():
    async with Server(OK, None) as server, server.client() as client:
        await ask(client, timeout_s=0.1)
        began = time.monotonic()
        with pytest.raises(NoAnswerInTimeError):
            await ask(client, timeout_s=0.5)
        assert 0.45 <= time.monotonic() - began < 3
        assert server.connections == 1


async def test_a_cancelled_request_hangs_up():
    async with Server(None) as server, server.client() as client:
        asking = asyncio.create_task(ask(client))
        await wait_until(lambda: server.requests == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await wait_until(lambda: server.open == 0)


async def test_an_answer_that_has_come_when_its_request_is_cancelled_goes_to_nobody_else():
    async with Server(OK, OK.replace(b"ok", b"no")) as server, server.client() as client:
        asking = asyncio.create_task(ask(client))
        await wait_until(lambda: server.requests == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (await ask(client)).body == b"no"


async def test_closing_ends_everything_and_nothing_can_be_asked_afterwards():
    async with Server(None) as server:
        client = server.client()
        asking = asyncio.create_task(ask(client))
        await wait_until(lambda: server.requests == 1)
        await client.close()
        with pytest.raises(ClientClosedError):
            await asking
        with pytest.raises(ClientClosedError):
            await ask(client)
        await wait_until(lambda: server.open == 0)


async def test_half_an_answer_without_a_length_is_none_when_it_is_this_side_that_closes():
    async with Server(b"HTTP/1.1 200 OK\r\n\r\n{}") as server:
        client = server.client()
        asking = asyncio.create_task(ask(client))
        await wait_until(lambda: server.requests == 1)
        await client.close()
        with pytest.raises(ClientClosedError):
            await asking


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000,
        b"HTTP/1.1 103 Early\r\n\r\n" * 4000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"a" * 70_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: " + b"a" * 600_000,
    ],
    ids=["a header", "interim answers", "a chunk extension", "a trailer"],
)
async def test_what_brings_no_body_is_bounded(reply):
    async with Server(reply) as server, server.client() as client:
        with pytest.raises(NotHttpError, match=r"65536 bytes of headers|exten"):
            await ask(client)


async def test_trailers_are_read_over():
    reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nretry-after: 9\r\n\r\n"
    async with Server(reply) as server, server.client() as client:
        answer = await ask(client)
        assert (answer.body, answer.header(b"retry-after")) == (b"ok", None)
        await ask(client)
        assert server.connections == 1


@pytest.mark.parametrize("is_declared", [True, False])
async def test_a_body_at_the_limit_is_whole_and_one_beyond_is_cut_off(is_declared):
    def reply(size):
        if is_declared:
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
        return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"

    async with Server(reply(1000), reply(1001)) as server, server.client(max_body_bytes=1000) as client:
        at_the_limit, beyond = await ask(client), await ask(client)
    assert (len(at_the_limit.body), at_the_limit.is_cut_off) == (1000, False)
    assert beyond.is_cut_off


async def test_a_server_on_a_unix_socket(tmp_path):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    async with HttpClient(unix_path=str(tmp_path / "s")) as client:
        assert (await ask(client)).body == b"ok"
    server.close()
    await server.wait_closed()
    async with HttpClient(unix_path=str(tmp_path / "none")) as client:
        with pytest.raises(CannotConnectError):
            await ask(client)


async def test_a_large_request_is_sent_whole():
    received = bytearray()

    async def serve(reader, writer):
        received.extend(await reader.readexactly(3_000_000))
        writer.write(OK)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with HttpClient("127.0.0.1", server.sockets[0].getsockname()[1]) as client:
        await client.request(b"h" * 1000, b"b" * 2_999_000, timeout_s=5)
    assert received == b"h" * 1000 + b"b" * 2_999_000
    server.close()
    await server.wait_closed()


async def test_a_connection_on_which_the_answer_came_before_the_request_was_taken_is_not_used_again():
    is_over = asyncio.Event()
    connections, ended = 0, 0

    async def serve(reader, writer):
        nonlocal connections, ended
        connections += 1
        await reader.readexactly(100)
        writer.write(OK)
        await is_over.wait()  # and reads no more
        writer.transport.abort()
        ended += 1

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with HttpClient("127.0.0.1", server.sockets[0].getsockname()[1]) as client:
        for _ in range(2):
            assert (await client.request(HEAD, b"b" * 30_000_000, timeout_s=5)).body == b"ok"
    is_over.set()
    await wait_until(lambda: ended == connections == 2)
    server.close()
    await server.wait_closed()


async def test_a_connection_that_ends_while_it_is_idle_is_not_used():
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with HttpClient("127.0.0.1", server.sockets[0].getsockname()[1]) as client:
        for _ in range(3):
            await ask(client)
            await wait_until(lambda: not client._connections)
    server.close()
    await server.wait_closed()


async def test_a_connection_that_breaks_says_so():
    async with Server(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok") as server, server.client() as client:
        asking = asyncio.create_task(ask(client))
        await wait_until(lambda: server.requests == 1)
        server._server.close()
        for connection in list(client._connections):
            connection._transport.get_extra_info("socket").shutdown(2)
        with pytest.raises(ConnectionBrokenError):
            await asking
