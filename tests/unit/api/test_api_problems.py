import json
import logging

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send
from still_engine import StillEngine, TroubledEngine

from pylon_workflows import errors
from pylon_workflows.api import refusals
from pylon_workflows.api.answers import ANSWERS, explain
from pylon_workflows.api.app import create_app
from pylon_workflows.api.link import create_link_app
from pylon_workflows.api.problems import AnswerErrors, Problem
from pylon_workflows.settings import EngineSettings


async def test_a_problem_has_the_members_of_rfc_9457_and_a_code(client: httpx.AsyncClient) -> None:
    answer = await client.get("/wf_nobody")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:pylon-workflows:problem:unknown-instance",
        "title": "Unknown instance",
        "status": 404,
        "detail": "no instance has the id 'wf_nobody'",
        "code": "unknown-instance",
    }


def test_a_title_is_the_code_in_words() -> None:
    titles = {"wrong-hook-url": "Wrong hook URL", "malformed-json": "Malformed JSON", "invalid-id": "Invalid id"}
    for code, title in titles.items():
        assert json.loads(bytes(Problem(status=400, code=code, detail="x").response().body))["title"] == title


@pytest.mark.parametrize(
    ("trouble", "status", "code", "retry_after"),
    [
        (errors.StorageFullError("/secret/workflows.db is full"), 503, "storage-full", "5"),
        (errors.StoreError("/secret/workflows.db: disk I/O error"), 503, "store-error", "5"),
        (errors.DatabaseInUseError("/secret/workflows.db"), 503, "database-in-use", "5"),
        (errors.CorruptDatabaseError("/secret/workflows.db, row 7"), 500, "corrupt-database", None),
        (errors.RunnerUnavailableError("/secret"), 500, "internal-error", None),
        (RuntimeError("/secret"), 500, "internal-error", None),
        (KeyError("/secret"), 500, "internal-error", None),
    ],
)
async def test_our_own_trouble_is_told_without_internals_and_logged(
    caplog: pytest.LogCaptureFixture,
    *,
    trouble: Exception,
    status: int,
    code: str,
    retry_after: str | None,
) -> None:
    transport = httpx.ASGITransport(create_app(TroubledEngine(trouble)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for method, path in (("GET", "/"), ("POST", "/start"), ("GET", "/wf_alice"), ("POST", "/wf_alice/cancel")):
            answer = await client.request(method, path, json={"name": "onboarding"})
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert answer.headers.get("retry-after") == retry_after
            assert "secret" not in answer.text
    assert "secret" in caplog.text


async def test_an_engine_that_does_not_run_is_503_everywhere() -> None:
    transport = httpx.ASGITransport(create_app(StillEngine()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("/", "/wf_alice", "/healthz", "/wf_alice/history"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "engine-not-running")
            assert answer.headers["retry-after"] == "1"


async def test_health_is_200_while_it_runs(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ok", "role": "owner", "unexplained_instances": 0, "given_up_webhooks": 0},
    )


async def test_head_has_the_headers_of_get_and_no_body(client: httpx.AsyncClient, instance_id: str) -> None:
    for path in ("/", "/healthz", f"/{instance_id}", f"/{instance_id}/history", "/wf_nobody"):
        got, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert {**head.headers, "x-request-id": ""} == {**got.headers, "x-request-id": ""}


async def test_a_body_that_ends_before_its_time_is_no_error_of_ours(
    engine: StillEngine, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Message] = []
    waiting: list[Message] = [
        {"type": "http.request", "body": b'{"name"', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/start",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "query_string": b"",
    }
    await create_app(engine)(scope, receive, send)
    assert sent[0]["status"] == 400
    assert not caplog.records


async def test_an_error_after_the_answer_has_begun_is_logged_and_raised(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("half way")

    transport = httpx.ASGITransport(AnswerErrors(broken, explain))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError, match="half way"):
            await client.get("/")
    assert "half way" in caplog.text


@pytest.mark.parametrize("trouble", [errors.EngineNotRunningError("not yet"), errors.StorageFullError("full")])
async def test_what_is_refused_to_a_standby_frightens_nobody(
    caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    """The standby asks the next owner, or tells its own caller; the log of an owner that comes or goes stays silent."""
    transport = httpx.ASGITransport(create_link_app(TroubledEngine(trouble), EngineSettings()))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/wf_alice")).status_code == 503
    assert not [record for record in caplog.records if record.name.startswith("pylon_workflows")]


async def test_other_protocols_than_http_pass_untouched(engine: StillEngine) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": []}
    await create_app(engine)(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_every_error_of_a_caller_has_a_status_below_500() -> None:
    def family(kind: type[errors.WorkflowError]) -> list[type[errors.WorkflowError]]:
        return [kind, *(heir for child in kind.__subclasses__() for heir in family(child))]

    for kind in family(errors.CallerError):
        problem = explain(kind("x"))
        assert problem is not None
        assert 400 <= problem.status < 500
        assert (problem.code, problem.detail) == (kind.code, "x")
    assert {kind for kind in ANSWERS if kind.__module__ == refusals.__name__} == {
        kind for kind in family(refusals.RefusedRequestError) if kind is not refusals.RefusedRequestError
    }
