import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send
from still_engine import StillEngine

from pylon_workflows.api.app import create_app
from pylon_workflows.api.limits import LimitBody, Limits
from pylon_workflows.errors import InvalidInputError

LIMIT = 1024 * 1024


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 64 * 1024):
        yield b" " * 64 * 1024


@pytest.mark.parametrize("path", ["/start", "/definitions", "/wf_alice/event"])
async def test_a_body_beyond_1_mib_is_413_with_and_without_content_length(
    client: httpx.AsyncClient, instance_id: str, path: str
) -> None:
    declared = await client.post(path, content=b" " * (LIMIT + 1))
    streamed = await client.post(path, content=chunks(LIMIT + 64 * 1024))
    for answer in (declared, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
        assert answer.json()["detail"] == "the body: must have at most 1048576 bytes"
        assert answer.headers["connection"] == "close"


async def test_a_declared_size_is_refused_before_anything_is_read(engine: StillEngine) -> None:
    async def receive() -> Message:
        raise AssertionError("nothing may be read")

    sent = await _post(engine, receive, headers=[(b"content-length", b"9" * 5000)])
    assert sent[0]["status"] == 413


@pytest.mark.parametrize(
    "sizes", [[b"5"], [b"0"], [b"-1"], [b"many"], [b""], [b"\xb2"], [b"5", b"7"], [str(LIMIT).encode()]], ids=repr
)
async def test_bytes_are_counted_whatever_size_a_server_lets_through(engine: StillEngine, sizes: list[bytes]) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b" " * 64 * 1024, "more_body": True}

    sent = await _post(engine, receive, headers=[(b"content-length", size) for size in sizes])
    assert (sent[0]["status"], json.loads(sent[1]["body"])["code"]) == (413, "body-too-large")


async def test_a_body_of_exactly_the_limit_is_read(client: httpx.AsyncClient) -> None:
    body = json.dumps({"name": "onboarding", "input": "x"})
    answer = await client.post("/start", content=body.replace("x", "x" * (LIMIT - len(body) + 1)))
    assert answer.status_code == 201


async def test_a_body_that_does_not_come_in_time_is_408(engine: StillEngine) -> None:
    parts = [b'{"name":', b'"onboarding"']

    async def receive() -> Message:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    sent = await _post(engine, receive, limits=Limits(body_timeout_s=0.02))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["code"] == "body-timeout"
    assert json.loads(sent[1]["body"])["detail"] == "the body did not arrive within 0.02 s"


async def test_a_dripping_body_is_no_faster_than_a_silent_one(engine: StillEngine) -> None:
    async def receive() -> Message:
        await asyncio.sleep(0.005)
        return {"type": "http.request", "body": b" ", "more_body": True}

    sent = await _post(engine, receive, limits=Limits(body_timeout_s=0.05))
    assert sent[0]["status"] == 408


async def test_the_time_is_for_the_body_and_not_for_what_comes_after() -> None:
    limited = LimitBody(_reads_twice, Limits(body_timeout_s=0.02))
    messages: list[Message] = [{"type": "http.request", "body": b"{}", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await limited({"type": "http", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["http.request", "http.disconnect"]


async def _reads_twice(scope: Scope, receive: Receive, send: Send) -> None:
    await send(await receive())
    await send(await receive())


async def test_a_body_in_one_piece_is_read_for_the_end_of_the_connection(engine: StillEngine) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b'{"name":"onboarding"}', "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    sent = await _post(engine, receive)
    assert sent[0]["status"] == 201


async def _post(
    engine: StillEngine,
    receive: object,
    *,
    limits: Limits | None = None,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/start",
        "headers": [(b"host", b"localhost"), *(headers or [])],
        "client": ("127.0.0.1", 1),
        "query_string": b"",
    }
    await create_app(engine, limits=limits)(scope, receive, send)  # type: ignore[arg-type]
    return sent


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_body_bytes": "1MB"}, "max_body_bytes: must be a whole number, not '1MB'"),
        ({"max_streams": 2.5}, "max_streams: must be a whole number, not 2.5"),
        ({"body_timeout_s": "30s"}, "body_timeout_s: must be a number of seconds, not '30s'"),
        ({"body_timeout_s": float("nan")}, "body_timeout_s: must be a number of seconds, not nan"),
        ({"max_stream_s": 0}, "max_stream_s: must be positive, not 0"),
    ],
)
def test_a_limit_that_is_none_is_refused_with_its_name(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{sentence}"):
        Limits(**options)
