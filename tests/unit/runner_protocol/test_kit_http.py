"""`ctx.http`: real requests to a server of a few lines."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playing import Play, ask

from runner_protocol import Context, HttpError, NonRetryableError, RetryAfter, workflow
from runner_protocol.kit import http as http_module
from runner_protocol.kit.http import HttpRequest

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(reply: bytes | Serve, received: list[bytes] | None = None) -> AsyncIterator[str]:
    """Answer each connection with these bytes, once the whole request has come."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if callable(reply):
            await reply(reader, writer)
        else:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(
                (line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0"
            )
            body = await reader.readexactly(int(size))
            if received is not None:
                received.append(head + body)
            writer.write(reply)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


def response(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def fetch(url: str, **options: Any) -> Any:
    return await HttpRequest("get", url, **options).execute()


async def test_a_request_is_a_step_that_is_recorded_without_its_headers() -> None:
    received: list[bytes] = []
    async with server(response(201, b'{"id": 7}', content_type="application/json; charset=utf-8"), received) as url:

        @workflow("http")
        async def http(ctx: Context, _: Any) -> Any:
            secret = {"Authorization": "Bearer s3cret"}
            return await ctx.http("create", "post", f"{url}/a b?q=é", json={"n": 1}, headers=secret)

        play = Play(http)
        result = await play.run()
    assert result["status"] == 201
    assert result["body"] == {"id": 7}
    assert result["headers"]["content-type"].startswith("application/json")
    done = play.answers[0]
    assert (done["kind"], done["input"]) == ("http", {"method": "POST", "url": f"{url}/a b?q=é", "json": {"n": 1}})
    head, _, body = received[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /a%20b?q=%c3%a9 http/1.1"
    assert {b"authorization: bearer s3cret", b"idempotency-key: wf_1:1:create", b"accept-encoding: identity"} <= set(
        lines
    )
    assert b"content-type: application/json" in lines
    assert body == b'{"n":1}'


async def test_a_text_is_given_as_a_text_and_sent_as_it_is() -> None:
    received: list[bytes] = []
    async with server(response(body="grüße".encode()), received) as url:
        result = await HttpRequest("GET", url, body="frage", headers={"x-a": "1"}).execute()
    assert result["body"] == "grüße"
    assert received[0].startswith(b"GET / HTTP/1.1\r\n")
    assert received[0].endswith(b"\r\n\r\nfrage")
    assert b"idempotency-key" not in received[0]


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    async with server(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n[1]") as url:
        assert (await fetch(url))["body"] == [1]


async def test_chunks_and_hints_before_the_answer_are_read() -> None:
    reply = b"HTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
    reply += b"set-cookie: a\r\nset-cookie: b\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    async with server(reply) as url:
        result = await fetch(url)
    assert (result["body"], result["headers"]["set-cookie"]) == ("hi", "a, b")


async def test_what_calls_itself_json_and_is_none_is_a_text() -> None:
    async with server(response(body=b"NaN", content_type="application/problem+json")) as url:
        assert (await fetch(url))["body"] == "NaN"


@pytest.mark.parametrize(
    ("reply", "kind", "sentence"),
    [
        (response(404, b"gone"), NonRetryableError, "was answered 404: gone"),
        (response(302, location="http://other"), NonRetryableError, "was answered 302"),
        (response(503, b"busy"), HttpError, "was answered 503: busy"),
        (response(429, retry_after="7"), RetryAfter, "was answered 429"),
        (response(200, b"\xff\xfe"), NonRetryableError, "no UTF-8 text"),
        (b"nonsense\r\n\r\n", HttpError, "illegal status line"),
        (b"", HttpError, "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", HttpError, "peer closed"),
        (response(200, b"x" * 200), NonRetryableError, "more than 100 bytes"),
    ],
)
async def test_what_is_no_success_fails_the_step(
    reply: bytes, kind: type[Exception], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "MAX_BODY_BYTES", 100)
    async with server(reply) as url:
        with pytest.raises(kind, match=sentence) as caught:
            await fetch(url)
        assert f"GET {url}" in str(caught.value)
    if isinstance(caught.value, RetryAfter):
        assert caught.value.delay.total_seconds() == 7


async def test_other_statuses_may_be_fine() -> None:
    async with server(response(404, b"gone")) as url:
        assert (await fetch(url, ok=(200, 404)))["status"] == 404


async def test_a_server_that_is_not_there_is_a_failure_that_is_tried_again() -> None:
    async with server(b"") as url:
        pass

    @workflow("http")
    async def http(ctx: Context, _: Any) -> Any:
        await ctx.http("get", "GET", url)

    answer = await ask(http)
    assert (answer["action"], answer["error"]["type"], "retryable" in answer) == ("fail", "HttpError", False)


async def test_a_request_that_takes_too_long_is_hung_up() -> None:
    hung_up = asyncio.Event()

    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        hung_up.set()

    async with server(never) as url:

        @workflow("http")
        async def http(ctx: Context, _: Any) -> Any:
            await ctx.http("get", "GET", url, timeout=0.05)

        assert (await ask(http))["error"]["message"] == "step 'get' timed out after 0.05 s"
        await asyncio.wait_for(hung_up.wait(), 5)


async def test_a_certificate_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Any] = []

    async def connect(host: str, port: int, ssl: Any) -> Any:
        checked.append((host, port, ssl))
        raise ConnectionRefusedError("seen enough")

    monkeypatch.setattr(asyncio, "open_connection", connect)
    with pytest.raises(HttpError, match="seen enough"):
        await fetch("https://example.com/x")
    host, port, context = checked[0]
    assert (host, port) == ("example.com", 443)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("method", "url", "options", "sentence"),
    [
        ("GET", "ftp://host/", {}, "is no http or https URL"),
        ("GET", "http://", {}, "is no http or https URL"),
        ("GET", "http://host:port/", {}, "is no http or https URL"),
        ("GET", "http://user:word@host/", {}, "a URL holds no user and password"),
        ("GET", None, {}, "is no http or https URL"),
        ("G T", "http://host/", {}, "is no request"),
        ("GET", "http://host/", {"headers": {"x": "a\r\nb: c"}}, "is no request"),
        ("GET", "http://host/", {"headers": {"x": "é\u2028"}}, "is no request"),
    ],
)
def test_a_request_that_is_none_is_refused(method: str, url: Any, options: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        HttpRequest(method, url, **options)


def test_json_and_a_body_are_one_too_many() -> None:
    with pytest.raises(TypeError, match="json or a body"):
        HttpRequest("POST", "http://host/", json=1, body="x")


def test_a_host_may_have_any_letters_and_a_fragment_stays_at_home() -> None:
    assert HttpRequest("GET", "http://bücher.example:81/a#b").input["url"] == "http://xn--bcher-kva.example:81/a"
    assert HttpRequest("GET", "http://[::1]:81/").input["url"] == "http://[::1]:81/"
