"""Whatever is sent to a hook URL is stored, acknowledged or refused: never a failure of ours."""

import asyncio
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylon_workflows import EngineSettings, WorkflowDefinition
from pylon_workflows.hook_keys import HookKeys
from pylon_workflows.hooks import create_hooks_app
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import engine_in_memory
from runner_protocol.hook_urls import hook_url
from runner_protocol.strict_json import parse

pytestmark = pytest.mark.slow

BASE = "https://shop.example"
TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=140)
ODD = st.sampled_from([b"{}", b"null", b'{"a":1e999}', b"[" * 100])
BODIES = st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | ODD
KINDS = st.sampled_from(
    ["application/json", "application/x-www-form-urlencoded", "text/xml", "application/json; charset=utf-16", ""]
)
NAMES = st.sampled_from(["webhook-id", "idempotency-key", "content-encoding", "x-forwarded-for", "expect"])
PARTS = st.text(max_size=12) | st.sampled_from(["..", "%2e%2e", "hook", "paid", "order-7"])


async def _status(path: str | None, body: bytes, headers: dict[str, str]) -> int:
    """What a call is answered; without a path it is one of the URL that an instance has given out."""
    store = MemoryStore()
    engine = engine_in_memory(None, store=store, settings=EngineSettings(hooks_url=BASE, shutdown_grace_s=0))
    engine.register(WorkflowDefinition("order"))
    transport = httpx.ASGITransport(create_hooks_app(engine))
    async with engine, httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        await engine.start("order", id="order-7")
        if path is None:
            keys = HookKeys(BASE)
            await keys.open(store.secrets)
            key = parse(b"{" + keys.member("order-7")[1:].encode() + b"}")["hooks"]["key"]
            path = hook_url(BASE, key, "order-7", 1, "paid").removeprefix(BASE)
        answer = await client.post(path, content=body, headers=headers)
        is_applied = answer.status_code == 200 and answer.json()["applied"]
        assert len((await engine.get("order-7")).inbox) == (1 if is_applied else 0)
    return answer.status_code


@settings(max_examples=150, deadline=None, derandomize=True)
@given(BODIES, KINDS, st.dictionaries(NAMES, TEXTS, max_size=3))
def test_whatever_comes_to_a_right_url(body: bytes, kind: str, headers: dict[str, str]) -> None:
    assert asyncio.run(_status(None, body, {**headers, "content-type": kind})) == 200


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PARTS, PARTS, PARTS, BODIES)
def test_whatever_comes_to_a_wrong_url(instance_id: str, name: str, signature: str, body: bytes) -> None:
    path = "/hook/" + "/".join(quote(part, safe="") for part in (instance_id, name, signature))
    assert asyncio.run(_status(path, body, {})) in (401, 404, 405)
