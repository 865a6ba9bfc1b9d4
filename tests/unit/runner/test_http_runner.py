"""HttpRunner keeps the runner's contract over real sockets; what is particular to HTTP stands beside it."""

import asyncio
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pylon_workflows.errors import EngineNotRunningError, InvalidInputError, RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.http_client.address import HttpAddress
from pylon_workflows.ports import Runner
from pylon_workflows.runner.http import HttpRunner
from pylon_workflows.runner.idempotency_header import encode_key
from runner_protocol.messages import Complete
from tests.contracts.describer_contract import DescriberContract, Describing
from tests.contracts.runner_contract import HeaderContract, NoAnswerError, ReplyTo, a_turn, answer_of
from tests.contracts.stream_contract import Pieces, WireStreamContract, unless_gone
from tests.faults.hostile_runner import Act, Behaviour, Exchange, HostileRunner, replies, sends

DONE = b'{"action":"complete"}'
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"


def doing(act: Act) -> HostileRunner:
    return HostileRunner(Behaviour(act, "answered"))


class TestOverHttp(HeaderContract, DescriberContract):
    @asynccontextmanager
    async def serve_replies(self, reply_to: ReplyTo) -> AsyncIterator[Describing]:
        async def act(exchange: Exchange) -> None:
            try:
                reply = await reply_to(exchange.body)
            except NoAnswerError:
                exchange.close()
                return
            lines = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
            if reply.status in (204, 304):
                await exchange.send(f"HTTP/1.1 {reply.status} x\r\n{lines}\r\n".encode())
            else:
                await exchange.answer(reply.body, f"{reply.status} x", lines.encode())

        async with doing(act) as server, HttpRunner(server.url) as runner:
            yield runner


class TestStreamsOverHttp(WireStreamContract):
    @asynccontextmanager
    async def serve_pieces(self, pieces: Pieces) -> AsyncIterator[Runner]:
        async def act(exchange: Exchange) -> None:
            await exchange.send(STREAM)
            if not await unless_gone(send_all(exchange), exchange.until_gone()):
                exchange.is_over = True

        async def send_all(exchange: Exchange) -> None:
            try:
                async with aclosing(pieces()) as given:
                    async for piece in given:
                        await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
                await exchange.send(b"0\r\n\r\n")
            except NoAnswerError:
                exchange.close()

        async with doing(act) as server, HttpRunner(server.url) as runner:
            yield runner


async def test_a_turn_is_a_post_with_the_headers_of_the_protocol_and_no_others() -> None:
    heads: list[bytes] = []

    async def act(exchange: Exchange) -> None:
        heads.append(exchange.head)
        await exchange.answer(DONE, headers=b"set-cookie: session=1\r\n")

    turn = a_turn(idempotency_key="wf_1:1:näme #2%")
    async with doing(act) as server, HttpRunner(f"{server.url}?tenant=a%20b") as runner:
        await answer_of(runner, turn)
        await answer_of(runner, turn)
    assert heads[0] == heads[1], "a cookie came back"
    first, *lines = heads[0].decode().rstrip("\r\n").split("\r\n")
    assert first == "POST /run?tenant=a%20b HTTP/1.1"
    assert {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)} == {
        "host": server.url.split("/")[2],
        "content-type": "application/json; charset=utf-8",
        "content-length": str(len(turn.body)),
        "accept": "application/x-ndjson, application/json",
        "accept-encoding": "identity",
        "user-agent": "pylon-workflows",
        "idempotency-key": "wf_1:1:n%C3%A4me%20#2%25",
    }


async def test_connections_are_used_again() -> None:
    async with doing(replies(DONE)) as server, HttpRunner(server.url) as runner:
        for _ in range(10):
            await answer_of(runner, a_turn())
        await asyncio.gather(*(answer_of(runner, a_turn()) for _ in range(10)))
        assert server.requests == 20
        assert server.connections <= 10


async def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with doing(replies(b"", "502 Bad Gateway")) as proxy, doing(replies(DONE)) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with HttpRunner(server.url) as runner:
            assert await answer_of(runner, a_turn()) == Complete()
        assert proxy.connections == 0


async def test_a_redirect_is_not_followed() -> None:
    async with doing(replies(DONE)) as elsewhere:
        redirect = replies(b"", "307 Temporary Redirect", f"location: {elsewhere.url}\r\n".encode())
        async with doing(redirect) as server, HttpRunner(server.url) as runner:
            with pytest.raises(RunnerUnavailableError, match="redirects are not followed"):
                await answer_of(runner, a_turn())
        assert elsewhere.connections == 0


async def test_retry_after_may_be_a_date() -> None:
    class Noon:
        def now(self) -> datetime:
            return datetime(2026, 6, 1, 12, tzinfo=UTC)

        def monotonic(self) -> float:
            return 0.0

        async def sleep(self, seconds: float) -> None:
            raise AssertionError(seconds)

    at = format_datetime(Noon().now() + timedelta(seconds=90), usegmt=True)
    busy = replies(b"", "503 Service Unavailable", f"retry-after: {at}\r\n".encode())
    async with doing(busy) as server, HttpRunner(server.url, clock=Noon()) as runner:
        with pytest.raises(RunnerUnavailableError) as caught:
            await answer_of(runner, a_turn())
    assert caught.value.retry_after_s == 90.0


async def test_credentials_in_the_url_become_basic_auth_and_appear_in_no_message() -> None:
    heads: list[bytes] = []

    async def act(exchange: Exchange) -> None:
        heads.append(exchange.head)
        exchange.close()

    async with doing(act) as server:
        url = server.url.replace("http://", "http://us%40er:s3cr%3At@")
        async with HttpRunner(url) as runner:
            with pytest.raises(RunnerUnavailableError) as caught:
                await answer_of(runner, a_turn())
    assert b"authorization: basic " + b64encode(b"us@er:s3cr:t").lower() in heads[0].lower()
    assert "s3cr" not in str(caught.value)
    assert "s3cr" not in repr(HttpAddress.parse(url, "runner URL"))


async def test_a_connection_that_the_runner_closes_after_each_answer_costs_no_more_than_a_dropped_turn() -> None:
    act = sends(b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n", DONE)
    answered = 0
    async with doing(act) as server, HttpRunner(server.url) as runner:
        for _ in range(50):
            try:
                assert await answer_of(runner, a_turn()) == Complete()
                answered += 1
            except RunnerUnavailableError as error:
                assert error.has_dropped_turn
    assert answered >= 25


async def test_a_runner_that_cannot_be_connected_to_in_time_is_unavailable_and_not_timed_out() -> None:
    queue = socket_that_never_accepts()
    try:
        async with HttpRunner(f"http://127.0.0.1:{queue[0].getsockname()[1]}/run") as runner:
            with pytest.raises(RunnerUnavailableError, match=r"cannot connect .*: no connection in time") as caught:
                await answer_of(runner, a_turn(timeout_s=0.7))
        assert not caught.value.has_dropped_turn
    finally:
        for connection in queue:
            connection.close()


async def test_a_host_that_does_not_exist_is_unavailable() -> None:
    async with HttpRunner("http://no-such-host.invalid/run") as runner:
        with pytest.raises(RunnerUnavailableError, match=r"cannot connect to the runner at no-such-host\.invalid"):
            await answer_of(runner, a_turn())


async def test_closing_gives_up_the_turns_that_still_wait_and_it_can_be_opened_again() -> None:
    is_asked = asyncio.Event()

    async def act(exchange: Exchange) -> None:
        if not is_asked.is_set():
            is_asked.set()
            await exchange.until_gone()
            exchange.close()
        else:
            await exchange.answer(DONE)

    async with doing(act) as server:
        runner = HttpRunner(server.url)
        await runner.open()
        await runner.open()
        turn = asyncio.ensure_future(answer_of(runner, a_turn(timeout_s=5)))
        await is_asked.wait()
        await runner.close()
        with pytest.raises(RunnerUnavailableError, match="closed here"):
            await turn
        with pytest.raises(EngineNotRunningError):
            await answer_of(runner, a_turn())
        async with runner:
            assert await answer_of(runner, a_turn()) == Complete()


async def test_two_runners_in_one_process_do_not_disturb_each_other() -> None:
    async with doing(replies(DONE)) as server, HttpRunner(server.url) as one:
        async with HttpRunner(server.url) as other:
            await answer_of(other, a_turn())
        assert await answer_of(one, a_turn()) == Complete()


async def test_at_the_deadline_the_connection_is_hung_up() -> None:
    has_hung_up = asyncio.Event()

    async def act(exchange: Exchange) -> None:
        await exchange.until_gone()
        has_hung_up.set()
        exchange.close()

    async with doing(act) as server, HttpRunner(server.url) as runner:
        with pytest.raises(TurnTimedOutError):
            await answer_of(runner, a_turn(timeout_s=0.1))
        async with asyncio.timeout(5):
            await has_hung_up.wait()


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
async def test_a_deadline_that_has_passed_is_a_timeout(timeout_s: float) -> None:
    async with doing(sends(then="wait")) as server, HttpRunner(server.url) as runner:
        with pytest.raises(TurnTimedOutError):
            await answer_of(runner, a_turn(timeout_s=timeout_s))


async def test_a_deadline_of_a_hundred_years_is_no_trouble() -> None:
    async with doing(replies(DONE)) as server, HttpRunner(server.url) as runner:
        assert await answer_of(runner, a_turn(timeout_s=100 * 365.25 * 86400)) == Complete()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "should begin with http"),
        ("127.0.0.1:9876/run", "should begin with http:// or https://, not '127.0.0.1:9876'"),
        ("host/run?key=secret", "should begin with http:// or https://, not 'host'"),
        ("//me:secret@host/run", "should begin with http:// or https://, not ''"),
        ("ftp://localhost/run", "should begin with http:// or https://, not 'ftp'"),
        ("/run", "should begin with http"),
        ("http://", "host is missing"),
        ("http://:9876/run", "host is missing"),
        ("http://localhost:99999/run", "ort out of range"),
        ("http://localhost:port/run", "ort could not be cast"),
        ("http://[::1/run", "Invalid IPv6"),
        ("http://a b/run", "runner URL"),
    ],
)
def test_a_url_that_is_none_is_refused_at_once(url: str, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint) as caught:
        HttpRunner(url)
    assert str(caught.value).startswith("runner URL: ")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://localhost/run", "localhost"),
        ("https://runner.example:8443", "runner.example:8443"),
        ("HTTP://[::1]:9876/run", "[::1]:9876"),
        ("http://user@localhost/run", "localhost"),
    ],
)
def test_a_runner_is_called_by_its_host_and_port(url: str, name: str) -> None:
    assert HttpAddress.parse(url, "runner URL").name == name


@pytest.mark.parametrize(
    ("key", "header"),
    [
        ("wf_1:1:charge#2", b"wf_1:1:charge#2"),
        ("a b%", b"a%20b%25"),
        ("a\n", b"a%0A"),
        ("é\r\nx: y", b"%C3%A9%0D%0Ax:%20y"),
        ("", b""),
    ],
)
def test_an_idempotency_key_is_percent_encoded_as_javascripts_encode_uri_does(key: str, header: bytes) -> None:
    assert encode_key(key) == header


def socket_that_never_accepts() -> list[socket.socket]:
    """A listening socket whose queue is full, so that a further connection finds nobody."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    queue = [listener]
    for _ in range(4):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(listener.getsockname())
        queue.append(connection)
    return queue
