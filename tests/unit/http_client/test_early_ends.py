"""Answers that end before the request has been taken, and heads that promise a body which cannot come."""

import asyncio

import pytest

from pylon_workflows.http_client.client import HttpClient
from pylon_workflows.http_client.connection import ConnectionBrokenError

LARGE = 30_000_000


class Deaf:
    """Reads the head of a request, answers, says that it will say no more, and reads no further."""

    def __init__(self, reply):
        self._reply = reply
        self._is_over = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1024)
        return HttpClient("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_):
        self._is_over.set()
        self._server.close()
        await asyncio.sleep(0.01)

    async def _serve(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._reply)
        writer.write_eof()
        await self._is_over.wait()
        writer.transport.abort()


async def ask(client, size):
    async with client:
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size
        return await client.request(head, b"x" * size, timeout_s=3)


async def test_an_answer_that_ends_with_the_connection_counts_though_the_request_was_not_read():
    async with Deaf(b"HTTP/1.1 503 x\r\n\r\nbusy") as client:
        answer = await ask(client, LARGE)
        assert (answer.status, answer.body) == (503, b"busy")


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
async def test_a_connection_that_ends_too_early_is_broken_at_once_and_not_at_the_deadline(reply):
    async with Deaf(reply) as client:
        with pytest.raises(ConnectionBrokenError):
            await ask(client, LARGE)


@pytest.mark.parametrize("status", [b"103 Early Hints", b"204 No Content"])
async def test_a_length_where_no_body_can_be_is_not_a_body_that_is_too_large(status):
    last = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" if status.startswith(b"1") else b""
    async with Deaf(b"HTTP/1.1 %b\r\ncontent-length: 99999999\r\n\r\n%b" % (status, last)) as client:
        answer = await ask(client, 0)
        assert not answer.is_cut_off
        assert answer.body == last[-2:]
