"""Hook URLs: known before the wait, the same in each replay, and another one for each run, name and instance."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from playing import completed, request_for

from runner_protocol import Context, Runner, workflow
from runner_protocol.hook_urls import hook_event, hook_signature, hook_url

HOOKS = {"base_url": "https://app.example/hooks", "key": "0123456789abcdef" * 4}


@workflow("pay")
async def pay(ctx: Context, name: Any) -> Any:
    url = ctx.hook_url(name)
    given = await ctx.step("order", lambda: ctx.hook_url(name))
    assert given == url
    return [url, await ctx.wait_for_hook(name, timeout="3d")]


async def answer(records: list[dict[str, Any]] | None = None, input: Any = "psp", **changes: Any) -> Any:
    body = json.dumps(request_for("pay", records, input, **{"hooks": HOOKS, **changes})).encode()
    return json.loads((await Runner([pay], stream=False).handle(body))[1])


def test_the_signature_is_plain_hmac_sha256_in_hexadecimal() -> None:
    expected = hmac.new(b"the key", b"wf_1:2:psp", hashlib.sha256).hexdigest()
    assert hook_signature("the key", "wf_1", 2, "psp") == expected


@pytest.mark.parametrize(
    ("name", "part"), [("psp", "psp"), ("ä b", "%C3%A4%20b"), ("a?b&c=%.~!'()*", "a%3Fb%26c%3D%25.~%21%27%28%29%2A")]
)
def test_the_url_holds_the_name_percent_encoded(name: str, part: str) -> None:
    url = hook_url("https://app.example/hooks", "k", "wf_1", 1, name)
    assert url == f"https://app.example/hooks/hook/wf_1/{part}/{hook_signature('k', 'wf_1', 1, name)}"


async def test_a_step_can_hand_out_the_url_and_the_wait_comes_later() -> None:
    first = await answer()
    url = first["output"]
    assert url.startswith("https://app.example/hooks/hook/wf_1/psp/")
    waits = await answer(completed(("order", url)))
    assert (waits["action"], waits["event"], waits["key"]) == ("wait_event", "hook:psp", "event:hook:psp")
    assert (await answer(run=2))["output"] != url
    assert (await answer(workflow_id="wf_2"))["output"].rpartition("/")[2] != url.rpartition("/")[2]


async def test_without_hooks_of_the_engine_the_instance_fails_with_a_sentence() -> None:
    failed = await answer(hooks=None)
    assert (failed["action"], failed.get("step_name"), failed["retryable"]) == ("fail", None, False)
    assert failed["error"]["message"] == (
        "hook_url('psp'): the engine does not say where it is called from outside; set its hooks_url"
    )


@pytest.mark.parametrize("name", ["", "a/b", "a#b", ".", "..", "x" * 124, "event:x", None])
async def test_a_name_that_no_url_can_carry_is_refused(name: Any) -> None:
    failed = await answer(input=name)
    assert failed["action"] == "fail"
    assert failed["error"]["type"] in ("ValueError", "TypeError")


def test_the_longest_name_makes_the_longest_event() -> None:
    assert len(hook_event("x" * 123)) == 128
