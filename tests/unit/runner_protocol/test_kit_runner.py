"""The runner's doors: in the process, as an ASGI application, served over a socket."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playing import completed, request_for
from starlette.applications import Starlette
from starlette.routing import Mount

from runner_protocol import Context, Runner, Workflow, workflow
from runner_protocol.kit import asgi, serve
from runner_protocol.kit import runner as runner_module
from runner_protocol.kit import turn as turn_module
from runner_protocol.kit import workflows as workflows_module
from runner_protocol.messages import DESCRIBE_REQUEST, parse_description

EXAMPLE = Path(__file__).parents[3] / "examples" / "onboarding" / "runner.py"


@workflow("double")
async def double(ctx: Context, input: int) -> int:
    return await ctx.step("double", lambda: input * 2)


@workflow("echo")
async def echo(_: Context, input: Any) -> Any:
    return input


RUNNER = Runner([double, echo])


def client(app: Any = RUNNER.app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://runner")


async def call(app: Any, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Call an ASGI application with these messages to receive, and gather what it sends; then nothing comes."""
    coming, sent = list(messages), list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        if not coming:
            await asyncio.Event().wait()
        return coming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def post(**headers: bytes) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": "/run", "headers": pairs}


async def test_a_turn_is_answered_in_the_process() -> None:
    status, body = await RUNNER.handle(json.dumps(request_for("double", completed(("double", 8)))).encode())
    assert (status, json.loads(body)) == (200, {"action": "complete", "output": 8})


async def test_a_post_to_any_path_is_a_turn() -> None:
    async with client() as http:
        for path in ("/run", "/", "/a/b"):
            reply = await http.post(path, json=request_for("double", input=4))
            assert reply.status_code == 200
            assert reply.headers["content-type"] == "application/json"
            assert reply.json()["output"] == 8


async def test_a_runner_may_be_mounted_in_an_application() -> None:
    app = Starlette(routes=[Mount("/run", RUNNER.app)])
    async with client(app) as http:
        reply = await http.post("/run/", json=request_for("echo", input=[1]))
    assert reply.json() == {"action": "complete", "output": [1]}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_post_is_answered(method: str) -> None:
    async with client() as http:
        reply = await http.request(method, "/run")
    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"
    assert (reply.content == b"") == (method == "HEAD")


async def test_an_unknown_workflow_is_deferred() -> None:
    async with client() as http:
        reply = await http.post("/run", json=request_for("order"))
    assert reply.json() == {"action": "defer", "retry_after": "5s", "reason": "unknown workflow 'order'"}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"\xff", "UTF-8"),
        (b"[]", "no JSON object"),
        (b'{"a":1,"a":1}', "stands twice"),
        (b"[" * 5000, "nested deeper"),
        (json.dumps(request_for("echo", run="1")).encode(), "run"),
        (json.dumps({**request_for("echo"), "workflow_name": None}).encode(), "workflow_name"),
        (json.dumps(request_for("echo", completed_steps=[{}])).encode(), "completed_steps.0.step_id"),
        (json.dumps(request_for("echo", mode="jump")).encode(), "mode: 'jump' is none that this release knows"),
        (json.dumps(request_for("echo", mode="run_step")).encode(), "member: it is there in mode 'run_step'"),
    ],
)
async def test_a_malformed_request_is_400_and_the_field_is_named(body: bytes, named: str) -> None:
    status, reply = await RUNNER.handle(body)
    assert status == 400
    assert set(json.loads(reply)) == {"error"}
    assert named in json.loads(reply)["error"]


async def test_a_request_that_is_too_large_is_413(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "MAX_REQUEST_BYTES", 10)
    monkeypatch.setattr(runner_module, "MAX_REQUEST_BYTES", 10)
    announced = await call(RUNNER.app, post(content_length=b"11"))
    chunk = {"type": "http.request", "body": b"123456", "more_body": True}
    chunked = await call(RUNNER.app, post(content_length=b"?"), chunk, chunk)
    assert [sent[0]["status"] for sent in (announced, chunked)] == [413, 413]
    assert (await RUNNER.handle(b"x" * 11))[0] == 413


async def test_a_body_comes_in_pieces() -> None:
    body = json.dumps(request_for("echo", input=1)).encode()
    pieces = [
        {"type": "http.request", "body": body[:10], "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": body[10:]},
    ]
    start, end = await call(RUNNER.app, post(), *pieces)
    assert start["status"] == 200
    assert json.loads(end["body"])["output"] == 1


async def test_a_caller_that_goes_while_sending_gets_nothing() -> None:
    assert await call(RUNNER.app, post(), {"type": "http.disconnect"}) == []


async def test_when_the_caller_has_gone_the_step_is_cancelled() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @workflow("slow")
    async def slow(ctx: Context, _: Any) -> Any:
        async def work() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        await ctx.step("work", work)

    body = [{"type": "http.request", "body": json.dumps(request_for("slow")).encode()}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await began.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await Runner([slow]).app(post(), receive, send)
    assert ended.is_set()
    assert sent == []


async def test_a_server_that_repeats_the_body_is_not_taken_for_a_caller_that_goes() -> None:
    body = {"type": "http.request", "body": json.dumps(request_for("double", input=1)).encode()}
    start, _ = await call(RUNNER.app, post(), body, body, body)
    assert start["status"] == 200


async def test_the_lifespan_of_a_server_is_answered_and_a_websocket_closed() -> None:
    lifespan = await call(RUNNER.app, {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    assert [sent["type"] for sent in lifespan] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert await call(RUNNER.app, {"type": "websocket"}) == [{"type": "websocket.close", "code": 1000}]


async def test_a_fault_of_the_kit_is_500_without_an_action(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turn_module, "encode_answer", None)
    status, body = await RUNNER.handle(json.dumps(request_for("echo")).encode())
    assert (status, set(json.loads(body))) == (500, {"error"})
    assert "the kit has failed" in caplog.text


def test_two_workflows_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two workflows are named 'echo'"):
        Runner([echo, echo])


def test_what_is_no_workflow_is_refused() -> None:
    with pytest.raises(TypeError, match="is no workflow"):
        Runner([echo.function])  # type: ignore[list-item]


def test_a_workflow_has_a_name_and_an_async_function() -> None:
    async def body(_: Context, input: Any) -> Any:
        return input

    named = workflow("named")(body)
    assert named == Workflow("named", body)
    with pytest.raises(TypeError, match="write @workflow"):
        workflow(body)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="async def"):
        workflow("sync")(lambda ctx, value: None)  # type: ignore[arg-type, return-value]
    for name in ("", "n" * 129):
        with pytest.raises(ValueError, match="1 to 128"):
            workflow(name)


def serve_script(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


@pytest.mark.slow
def test_the_example_runner_says_where_it_listens_and_logs_what_it_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    request = request_for("onboarding", input={"user": "alice"})
    with serve_script(str(EXAMPLE), "--port", "0", "--log", str(log)) as process:
        assert process.stdout is not None
        words, url = process.stdout.readline().strip().rsplit(" ", 1)
        try:
            answer = httpx.post(url, json=request).json()
        finally:
            process.send_signal(signal.SIGTERM)
    assert words == "runner listening on"
    assert answer["output"] == {"account": "acct_alice"}
    assert [json.loads(line) for line in log.read_text().splitlines()] == [
        {
            "workflow_id": "wf_1",
            "key": "create_account",
            "attempt": 1,
            "idempotency_key": "wf_1:1:create_account",
        }
    ]


LONG = """
import asyncio
from runner_protocol import Runner, workflow

@workflow("long")
async def long(ctx, input):
    for number in range(10_000):
        await ctx.step("work", asyncio.sleep, 0.01)

Runner([long]).serve(0)
"""


@pytest.mark.slow
def test_a_runner_that_is_told_to_stop_ends_its_streams() -> None:
    with serve_script("-c", LONG) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().rsplit(" ", 1)[1]
        headers = {"accept": "application/x-ndjson"}
        with httpx.stream("POST", url, json=request_for("long"), headers=headers) as reply:
            lines = reply.iter_lines()
            first = next(lines)
            process.send_signal(signal.SIGTERM)
            rest = list(lines)
        process.wait(timeout=30)
    assert {json.loads(line)["action"] for line in [first, *rest]} == {"step_complete"}
    assert len(rest) < 1_000


@pytest.mark.slow
def test_the_default_address_is_that_of_the_environment() -> None:
    script = "from runner_protocol import Runner; Runner([]).serve(0)"
    with serve_script("-c", script, PYLON_WORKFLOW_RUNNER_URL="http://localhost:1/turns") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
    assert line.startswith("runner listening on http://localhost:")
    assert line.endswith("/turns\n")
    assert not line.endswith(":1/turns\n")


@pytest.mark.parametrize("url", ["https://host/run", "nonsense", "http://host:port/run"])
def test_a_bad_address_in_the_environment_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLON_WORKFLOW_RUNNER_URL", url)
    with pytest.raises(ValueError, match="PYLON_WORKFLOW_RUNNER_URL"):
        RUNNER.serve()


def test_a_taken_port_is_an_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match=r"the runner cannot listen on 127.0.0.1 port .* in use; stop what listens there"),
    ):
        RUNNER.serve(taken.getsockname()[1])


def test_serving_ends_with_the_server_and_works_on_ipv6(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import uvicorn

    async def main_loop(_: uvicorn.Server) -> None:
        """The server is asked to stop as soon as it has started."""

    monkeypatch.setattr(uvicorn.Server, "main_loop", main_loop)
    monkeypatch.setattr(serve, "DEFAULT_URL", "http://127.0.0.1")
    monkeypatch.delenv("PYLON_WORKFLOW_RUNNER_URL", raising=False)
    RUNNER.serve(0, host="::1")
    RUNNER.serve(0)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("runner listening on http://[::1]:")
    assert second.startswith("runner listening on http://127.0.0.1:")
    assert second.endswith("/run")


@workflow("described", version="2", max_retries=5, step_timeout="1m", input_schema={"type": "object"})
async def described(_: Context, input: Any) -> Any:
    """Says what it is.

    And more, which is for readers of the code.
    """
    return input


async def test_a_runner_describes_its_workflows() -> None:
    status, body = await Runner([described, echo]).handle(DESCRIBE_REQUEST)
    assert status == 200
    described_as = json.loads(body)
    assert described_as.pop("kit").startswith("python/")
    assert described_as == {
        "action": "description",
        "protocol": 2,
        "workflows": [
            {
                "name": "described",
                "version": "2",
                "description": "Says what it is.",
                "max_retries": 5,
                "step_timeout": "1m",
                "input_schema": {"type": "object"},
            },
            {"name": "echo"},
        ],
    }
    assert parse_description(body).workflows[0].step_timeout == timedelta(minutes=1)
    assert [line async for line in RUNNER.stream(DESCRIBE_REQUEST)] == [
        (await RUNNER.handle(DESCRIBE_REQUEST))[1] + b"\n"
    ]


async def test_a_kit_that_is_not_installed_describes_itself_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows_module, "_DISTRIBUTION", "no such distribution")
    assert parse_description((await RUNNER.handle(DESCRIBE_REQUEST))[1]).kit == "python/0"


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"version": ""}, "workflow 'echo': version"),
        ({"max_retries": -1}, "workflow 'echo': max_retries"),
        ({"step_timeout": "soon"}, "is no duration"),
        ({"description": 3}, "workflow 'echo': description"),
    ],
)
def test_terms_that_are_none_are_refused(terms: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        workflow("echo", **terms)(echo.function)
