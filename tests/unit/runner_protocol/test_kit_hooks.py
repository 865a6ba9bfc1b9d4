"""Hook URLs: known before the wait, the same in each replay, and another one for each run, name and instance."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from typing import Any

import pytest
from playing import completed, request_for

from runner_protocol import Context, Runner, Workflow, workflow
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


PUT_OFF = {
    "action": "defer",
    "retry_after": "10s",
    "reason": (
        "hook_url('psp'): the engine does not say where it is called from outside: start it with serve --hooks-url, "
        "PYLON_WORKFLOW_HOOKS_URL or EngineSettings(hooks_url=)"
    ),
}


async def lines_of(code: Workflow, **changes: Any) -> list[Any]:
    body = json.dumps(request_for(code.name, **changes)).encode()
    return [json.loads(line) async for line in Runner([code]).stream(body)]


async def test_without_hooks_of_the_engine_the_turn_is_put_off_also_where_records_go_on() -> None:
    assert await answer(hooks=None) == PUT_OFF
    assert await answer(completed(("order", "https://app.example/")), hooks=None) == PUT_OFF


async def test_without_hooks_a_steps_function_puts_the_turn_off_too_and_what_runs_beside_it_is_kept() -> None:
    @workflow("gathers")
    async def gathers(ctx: Context, _: Any) -> None:
        ctx.set(seen=1)
        await asyncio.gather(
            ctx.step("order", lambda: ctx.hook_url("psp")), ctx.step("beside", asyncio.sleep, 0), ctx.sleep("1h")
        )

    *others, last = await lines_of(gathers)
    assert [line["key"] for line in others] == ["beside"]
    assert last == PUT_OFF


async def test_a_step_that_wants_a_hook_url_uses_up_no_attempt() -> None:
    @workflow("one_step")
    async def one_step(ctx: Context, _: Any) -> Any:
        return await ctx.step("order", lambda: [ctx.log.info("lost"), ctx.hook_url("psp")], retries=0)

    assert await lines_of(one_step) == [PUT_OFF]


async def test_code_that_catches_what_hook_url_raises_does_nothing_more_in_that_turn() -> None:
    @workflow("catches")
    async def catches(ctx: Context, _: Any) -> Any:
        with contextlib.suppress(Exception):
            ctx.hook_url("psp")
        ctx.set(url=None)
        return await ctx.step("fallback", lambda: 1)

    assert await lines_of(catches) == [PUT_OFF]
    assert (await Runner([catches]).rehearse(json.dumps(request_for("catches")).encode())).end is not None


async def test_a_member_of_a_group_puts_off_its_own_call() -> None:
    @workflow("maps")
    async def maps(ctx: Context, _: Any) -> Any:
        return await ctx.map("urls", ["psp"], ctx.hook_url)

    member = {"group": "urls", "name": "urls", "key": "urls[0]", "index": 0, "total": 1, "input": "psp"}
    assert await lines_of(maps, mode="run_step", member=member) == [PUT_OFF]


@pytest.mark.parametrize("name", ["", "a/b", "a#b", ".", "..", "x" * 124, "event:x", None])
async def test_a_name_that_no_url_can_carry_is_refused(name: Any) -> None:
    failed = await answer(input=name)
    assert failed["action"] == "fail"
    assert failed["error"]["type"] in ("ValueError", "TypeError")


def test_the_longest_name_makes_the_longest_event() -> None:
    assert len(hook_event("x" * 123)) == 128
