"""Calls of the URLs that a workflow has handed out, from the kit's code to the wait."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from pylon_workflows import EngineSettings, InboxFullError, LocalRunner, StorageFullError, WorkflowEngine
from pylon_workflows.hooks import create_hooks_app
from pylon_workflows.hooks.hook_calls import without_signature
from pylon_workflows.server import serving_app
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import FakeClock, engine_in_memory
from runner_protocol import Context, Runner, workflow

BASE = "https://shop.example/hooks"


@workflow("checkout")
async def checkout(ctx: Context, input: Any) -> Any:
    name = input.get("name", "paid")
    ctx.set(url=ctx.hook_url(name))
    if input.get("again") and ctx.run == 1:
        await ctx.continue_as_new(input)
    if "early" in input:
        await ctx.wait_for_event("go")
    return await ctx.wait_for_hook(name)


@workflow("two")
async def two(ctx: Context, input: Any) -> Any:
    ctx.set(urls=[ctx.hook_url("a"), ctx.hook_url("a:b")])
    await ctx.wait_for_event("go")


@pytest.fixture
async def engine() -> AsyncIterator[WorkflowEngine]:
    settings = EngineSettings(hooks_url=BASE, shutdown_grace_s=0, max_unread_events=3)
    async with engine_in_memory(LocalRunner(Runner([checkout, two])), settings=settings) as engine:
        yield engine


@pytest.fixture
async def client(engine: WorkflowEngine) -> AsyncIterator[httpx.AsyncClient]:
    app = serving_app(engine, token="t0k3n")
    transport = httpx.ASGITransport(app, client=("203.0.113.9", 5))
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as client:
        yield client


async def started(engine: WorkflowEngine, **input: Any) -> tuple[str, str]:
    """An instance that waits, and the path of the URL that it has handed out."""
    instance_id = await engine.start("checkout", input)
    while (instance := await engine.get(instance_id)).wait is None:  # noqa: ASYNC110 -- only the engine tells of it
        await asyncio.sleep(0)
    url = json.loads(instance.vars.json)["url"]
    assert url.startswith(f"{BASE}/hook/{instance_id}/")
    return instance_id, url.removeprefix("https://shop.example")


async def test_a_call_is_what_the_wait_gives(engine: WorkflowEngine, client: httpx.AsyncClient) -> None:
    instance_id, path = await started(engine)
    answer = await client.post(path, json={"amount": 7})
    assert (answer.status_code, answer.json()) == (200, {"applied": True, "duplicate": False})
    assert await engine.result(instance_id, timeout=5) == {"amount": 7}


@pytest.mark.parametrize(
    ("body", "kind", "data"),
    [
        (b"", "application/json", {}),
        (b" \r\n", "", {}),
        (b'[1,"\xc3\xa4"]', "", [1, "ä"]),
        (b"null", "application/json", None),
        (b"a=1&b=%C3%A4&a=2", "application/x-www-form-urlencoded; charset=utf-8", {"a": ["1", "2"], "b": "ä"}),
        (b'{"ok":true}', "application/x-www-form-urlencoded", {"ok": True}),
    ],
)
async def test_json_a_form_and_nothing_are_read(
    engine: WorkflowEngine, client: httpx.AsyncClient, body: bytes, kind: str, data: Any
) -> None:
    instance_id, path = await started(engine)
    assert (await client.post(path, content=body, headers={"content-type": kind})).json()["applied"] is True
    assert await engine.result(instance_id, timeout=5) == data


async def test_a_call_that_comes_early_is_kept(engine: WorkflowEngine, client: httpx.AsyncClient) -> None:
    instance_id, path = await started(engine, early=True)
    assert (await client.post(path, json="early")).json()["applied"] is True
    await engine.send_event(instance_id, "go")
    assert await engine.result(instance_id, timeout=5) == "early"


@pytest.mark.parametrize("name", ["ä b?&=%+~!'()*😀", "x" * 123, "a\nb\n", "a%2fb"])
async def test_any_name_that_a_hook_may_have_comes_back_through_its_url(
    engine: WorkflowEngine, client: httpx.AsyncClient, name: str
) -> None:
    instance_id, path = await started(engine, name=name)
    assert (await client.post(path, json=1, headers={"webhook-id": "m" * 128})).json()["applied"] is True
    assert await engine.result(instance_id, timeout=5) == 1


@pytest.mark.parametrize("header", ["webhook-id", "Idempotency-Key"])
async def test_a_call_with_an_id_counts_once_and_apart_from_other_senders_ids(
    engine: WorkflowEngine, client: httpx.AsyncClient, header: str
) -> None:
    instance_id, path = await started(engine, early=True)
    await engine.send_event(instance_id, "other", event_id="m1")
    answers = [(await client.post(path, json=number, headers={header: "m1"})).json() for number in range(3)]
    assert [answer["duplicate"] for answer in answers] == [False, True, True]
    await engine.send_event(instance_id, "go")
    assert await engine.result(instance_id, timeout=5) == 0
    late = await client.post(path, json=4, headers={header: "m1"})
    assert late.json() == {"applied": True, "duplicate": True}


async def test_one_call_that_comes_fifty_times_at_once_counts_once(
    engine: WorkflowEngine, client: httpx.AsyncClient
) -> None:
    instance_id, path = await started(engine)
    calls = (client.post(path, json=7, headers={"webhook-id": "m1"}) for _ in range(50))
    answers = [answer.json() for answer in await asyncio.gather(*calls)]
    assert all(answer["applied"] for answer in answers)
    assert [answer["duplicate"] for answer in answers].count(False) == 1
    assert await engine.result(instance_id, timeout=5) == 7


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_only_post_counts(engine: WorkflowEngine, client: httpx.AsyncClient, method: str) -> None:
    instance_id, path = await started(engine)
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await engine.get(instance_id)).wait is not None


async def test_whoever_has_no_url_learns_nothing(
    engine: WorkflowEngine, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    instance_id, path = await started(engine)
    signature = path.rpartition("/")[2]
    other_id, _ = await started(engine)
    answers = []
    for wrong in (
        f"{instance_id}/paid/{'0' * 64}",
        f"{instance_id}/paid/no",
        f"{instance_id}/pai%FF/{signature}",
        f"{other_id}/paid/{signature}",
        f"wf_nobody/paid/{signature}",
        f"%20/paid/{signature}",
        f"{'x' * 200}/paid/{signature}",
    ):
        answer = await client.post(f"/hooks/hook/{wrong}", content=b"no JSON", headers={"webhook-id": ""})
        answers.append((answer.status_code, answer.headers["content-type"], answer.text))
    assert len(set(answers)) == 1
    assert answers[0][:2] == (401, "application/problem+json")
    assert json.loads(answers[0][2])["code"] == "wrong-hook-url"
    told = [record.message for record in caplog.records if "hook URLs: a call was refused" in record.message]
    assert len(told) == 1
    assert signature not in caplog.text


async def test_the_url_of_an_earlier_run_is_acknowledged_and_counts_no_more(
    engine: WorkflowEngine, client: httpx.AsyncClient
) -> None:
    instance_id, path = await started(engine, again=True)
    latest = (await engine.get(instance_id)).revision
    former = [(await engine.get(instance_id, as_of=revision)).vars.json for revision in range(1, latest + 1)]
    urls = [json.loads(each)["url"] for each in former if b"url" in each]
    earlier = urlsplit(urls[0]).path
    assert earlier != path
    answer = await client.post(earlier, json=1)
    assert (answer.status_code, answer.json()["applied"], answer.json()["reason"]) == (200, False, "earlier-run")
    assert (await engine.get(instance_id)).wait is not None
    assert (await client.post(path, json=2)).json()["applied"] is True
    assert await engine.result(instance_id, timeout=5) == 2


async def test_an_instance_that_has_ended_is_not_called(engine: WorkflowEngine, client: httpx.AsyncClient) -> None:
    instance_id, path = await started(engine)
    await engine.cancel(instance_id)
    answer = await client.post(path, json=1)
    assert (answer.status_code, answer.json()["reason"]) == (200, "instance-finished")
    await engine.delete(instance_id)
    assert (await client.post(path, json=1)).status_code == 401


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"<xml/>", {}, "unreadable-body"),
        (b'{"a":1,"a":2}', {}, "unreadable-body"),
        (b"\xff", {"content-type": "application/x-www-form-urlencoded"}, "unreadable-body"),
        (b"{}", {"content-encoding": "gzip"}, "unreadable-body"),
        (b'"' + b"x" * 300_000 + b'"', {}, "event-too-large"),
    ],
)
async def test_what_can_never_be_applied_is_acknowledged_with_the_reason(
    engine: WorkflowEngine, client: httpx.AsyncClient, body: bytes, headers: dict[str, str], reason: str
) -> None:
    instance_id, path = await started(engine)
    answer = await client.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["applied"], answer.json()["reason"]) == (200, False, reason)
    assert (await engine.get(instance_id)).wait is not None


@pytest.mark.parametrize(
    "headers",
    [
        [(b"webhook-id", b"m" * 128)],
        [(b"webhook-id", b"m" * 129)],
        [(b"webhook-id", b"m" * 60_000)],
        [(b"webhook-id", b"m1"), (b"webhook-id", b"m1")],
        [(b"webhook-id", b" m1\t")],
        [(b"webhook-id", b"\xff\xfe\x80")],
        [(b"webhook-id", "ä😀".encode())],
        [(b"webhook-id", b""), (b"idempotency-key", b"m1")],
        [(b"webhook-id", b"m1"), (b"idempotency-key", b"a"), (b"idempotency-key", b"b")],
    ],
)
async def test_however_its_id_is_written_a_call_is_stored_and_counts_once(
    engine: WorkflowEngine, client: httpx.AsyncClient, headers: list[tuple[bytes, bytes]]
) -> None:
    instance_id, path = await started(engine, early=True)
    answers = [await client.post(path, json=number, headers=headers) for number in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json() for answer in answers] == [
        {"applied": True, "duplicate": False}, {"applied": True, "duplicate": True}
    ]  # fmt: skip
    other = [(b"webhook-id", headers[0][1] + b"x")]
    assert (await client.post(path, json=2, headers=other)).json() == {"applied": True, "duplicate": False}
    assert len((await engine.get(instance_id)).inbox) == 2


async def test_an_id_that_is_doubled_is_the_one_that_it_is(engine: WorkflowEngine, client: httpx.AsyncClient) -> None:
    _, path = await started(engine, early=True)
    for headers, is_duplicate in (
        ([("webhook-id", "m1")], False),
        ([("webhook-id", "m1"), ("Webhook-Id", "m1")], True),
    ):
        assert (await client.post(path, json=1, headers=headers)).json()["duplicate"] is is_duplicate


async def test_an_empty_id_is_none(engine: WorkflowEngine, client: httpx.AsyncClient) -> None:
    _, path = await started(engine, early=True)
    for _ in range(2):
        answer = await client.post(path, json=1, headers={"webhook-id": "", "idempotency-key": " "})
        assert answer.json() == {"applied": True, "duplicate": False}


@pytest.mark.parametrize("ids", [["", "m1"], ["m1", ""], ["m1", "m1"]])
async def test_an_empty_id_beside_one_is_none_and_one_twice_is_one(
    engine: WorkflowEngine, client: httpx.AsyncClient, ids: list[str]
) -> None:
    _, path = await started(engine, early=True)
    for is_duplicate in (False, True):
        answer = await client.post(path, json=1, headers=[("webhook-id", each) for each in ids])
        assert answer.json() == {"applied": True, "duplicate": is_duplicate}


async def test_a_call_of_several_ids_is_acknowledged_and_not_applied(
    engine: WorkflowEngine, client: httpx.AsyncClient
) -> None:
    instance_id, path = await started(engine)
    answer = await client.post(path, json=1, headers=[("webhook-id", "m1"), ("webhook-id", "m2")])
    assert (answer.status_code, answer.json()["applied"], answer.json()["reason"]) == (200, False, "ambiguous-header")
    assert (await engine.get(instance_id)).wait is not None


async def test_no_caller_of_one_hook_can_take_an_id_of_another(
    engine: WorkflowEngine, client: httpx.AsyncClient
) -> None:
    instance_id = await engine.start("two")
    while (instance := await engine.get(instance_id)).wait is None:  # noqa: ASYNC110 -- only the engine tells of it
        await asyncio.sleep(0)
    for url, call_id in zip(json.loads(instance.vars.json)["urls"], ("b:c", "c"), strict=True):
        answer = await client.post(url, json=1, headers={"webhook-id": call_id})
        assert answer.json() == {"applied": True, "duplicate": False}


async def test_a_body_that_is_too_large_is_refused(engine: WorkflowEngine, client: httpx.AsyncClient) -> None:
    _, path = await started(engine)
    assert (await client.post(path, content=b"x" * 1_100_000)).status_code == 413


async def test_a_full_inbox_and_trouble_of_the_store_ask_the_caller_to_come_again(
    engine: WorkflowEngine, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, path = await started(engine, early=True)
    for number in range(3):
        assert (await client.post(path, json=number)).json()["applied"] is True
    full = await client.post(path, json=3)
    assert (full.status_code, full.json()["code"], "retry-after" in full.headers) == (429, InboxFullError.code, True)

    async def no_room(*_: Any, **__: Any) -> Any:
        raise StorageFullError("no room")

    monkeypatch.setattr(engine, "send_event", no_room)
    caplog.set_level(logging.WARNING)
    away = await client.post(path, json=4)
    assert (away.status_code, "retry-after" in away.headers) == (503, True)
    assert path.rpartition("/")[2] not in caplog.text
    assert without_signature(path) in caplog.text


async def test_an_app_without_sources_takes_calls(engine: WorkflowEngine) -> None:
    instance_id, path = await started(engine)
    transport = httpx.ASGITransport(create_hooks_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.post(path.removeprefix("/hooks"), json=1)).status_code == 200
    assert await engine.result(instance_id, timeout=5) == 1


async def test_urls_are_good_over_a_restart() -> None:
    store, clock = MemoryStore(), FakeClock()
    settings = EngineSettings(hooks_url=BASE, shutdown_grace_s=0)
    paths = []
    for _ in range(2):
        runner = LocalRunner(Runner([checkout]))
        async with engine_in_memory(runner, settings=settings, store=store, clock=clock) as engine:
            if not paths:
                paths.append(await started(engine))
                continue
            (instance_id, path), transport = paths[0], httpx.ASGITransport(serving_app(engine, token=None))
            async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as client:
                assert (await client.post(path, json=1)).json()["applied"] is True
            assert await engine.result(instance_id, timeout=5) == 1
