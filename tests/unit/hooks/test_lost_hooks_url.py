"""An engine that was started without its `hooks_url`: what asks for a URL waits for the operator, and loses nothing."""

import asyncio
from typing import Any

from pylon_workflows import EngineSettings, LocalRunner, WorkflowEngine
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import engine_in_memory
from runner_protocol import Context, Runner, workflow


@workflow("checkout")
async def checkout(ctx: Context, _: Any) -> Any:
    paid = await ctx.wait_for_event("paid")
    url = await ctx.step("order", lambda: ctx.hook_url("psp"), retries=0)
    await ctx.wait_for_event("go")
    return [paid, url == ctx.hook_url("psp")]


def engine_on(store: MemoryStore, hooks_url: str | None) -> WorkflowEngine:
    settings = EngineSettings(hooks_url=hooks_url, shutdown_grace_s=0)
    return engine_in_memory(LocalRunner(Runner([checkout])), store=store, settings=settings)


async def test_an_instance_waits_for_the_lost_setting_and_goes_on_with_it() -> None:
    store = MemoryStore()
    async with engine_on(store, None) as engine:
        await engine.start("checkout", id="a")
        await engine.send_event("a", "paid", 7)
        await why_put_off(engine)
    async with engine_on(store, "https://shop.example/hooks") as engine:
        while "order" not in {record.key for record in (await engine.get("a")).records}:  # noqa: ASYNC110
            await asyncio.sleep(0)
    async with engine_on(store, None) as engine:  # its records go on beyond what asks for the URL
        await engine.send_event("a", "go")
        await why_put_off(engine)
    async with engine_on(store, "https://shop.example/hooks") as engine:
        assert await engine.result("a", timeout=5) == [7, True]
        assert not [told for told in await engine.history("a") if "Failed" in type(told).__name__]


async def why_put_off(engine: WorkflowEngine) -> None:
    """Wait until the instance is put off, and see that its explanation tells the operator what to do."""
    while (said := (await engine.explain("a")).runner_said) is None or "--hooks-url" not in said.text:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert "hook_url('psp'): the engine does not say where it is called from outside" in said.text
