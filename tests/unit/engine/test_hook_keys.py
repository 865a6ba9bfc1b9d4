"""Hook URLs as the engine gives them out, and knows them again."""

import asyncio
from pathlib import Path

import pytest

from pylon_workflows import EngineSettings, InvalidInputError, WorkflowDefinition, WorkflowEngine, WrongHookUrlError
from pylon_workflows.hook_keys import RUNS_LOOKED_BACK
from pylon_workflows.settings import HOOKS_URL_VARIABLE
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import ScriptedRunner, engine_in_memory, wait_until
from runner_protocol.hook_urls import hook_signature
from runner_protocol.messages import (
    Complete,
    ContinueAsNew,
    HookGrant,
    Map,
    StepComplete,
    TurnRequest,
    WaitEvent,
)

SETTINGS = EngineSettings(hooks_url="https://app.example/hooks/", shutdown_grace_s=0)
WAITS = WaitEvent(event="hook:psp", key="event:hook:psp")


def new_engine(runner: ScriptedRunner, store: MemoryStore | None = None) -> WorkflowEngine:
    engine = engine_in_memory(runner, settings=SETTINGS, store=store)
    engine.register(WorkflowDefinition("order"))
    return engine


def grant_of(request: TurnRequest) -> HookGrant:
    assert request.hooks is not None
    return request.hooks


async def waiting(engine: WorkflowEngine, instance_id: str) -> None:
    while (await engine.get(instance_id)).wait is None:  # noqa: ASYNC110 -- only the engine tells of it
        await asyncio.sleep(0)


async def test_each_instance_is_told_where_it_is_called_and_a_key_of_its_own_in_all_of_its_turns() -> None:
    runner = ScriptedRunner(
        lambda request: Complete() if request.completed_steps else StepComplete(step_name="a", key="a")
    )
    async with new_engine(runner) as engine:
        for _ in range(2):
            await engine.result(await engine.start("order"), timeout=5)
    grants = [(request.workflow_id, grant_of(request)) for request in runner.requests]
    assert {grant.base_url for _, grant in grants} == {"https://app.example/hooks"}
    assert len({(instance_id, grant.key) for instance_id, grant in grants}) == 2
    assert len({grant.key for _, grant in grants}) == 2


async def test_members_are_told_too() -> None:
    def answer(request: TurnRequest) -> Complete | Map | StepComplete:
        if request.member is not None:
            return StepComplete(step_name="each", key=request.member.key, output=grant_of(request).key)
        return (
            Complete(output=grant_of(request).key)
            if request.completed_steps
            else Map(name="each", key="each", items=[1])
        )

    async with new_engine(ScriptedRunner(answer)) as engine:
        instance_id = await engine.start("order")
        key = await engine.result(instance_id, timeout=5)
        assert (await engine.get(instance_id)).records[0].output_json == f'["{key}"]'.encode()


async def test_without_a_url_of_its_own_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HOOKS_URL_VARIABLE, raising=False)
    runner, store = ScriptedRunner(lambda _: Complete()), MemoryStore()
    async with engine_in_memory(runner, store=store, settings=EngineSettings(shutdown_grace_s=0)) as engine:
        engine.register(WorkflowDefinition("order"))
        await engine.result(await engine.start("order"), timeout=5)
        assert await store.secrets.get("hooks") is None
    assert runner.requests[0].hooks is None


async def test_the_key_stays_over_a_restart_and_under_another_url() -> None:
    runner, store = ScriptedRunner(lambda _: WAITS), MemoryStore()
    async with new_engine(runner, store) as engine:
        await waiting(engine, await engine.start("order", id="order-7"))
    moved = ScriptedRunner(lambda _: Complete())
    settings = EngineSettings(hooks_url="https://elsewhere.example", shutdown_grace_s=0)
    async with engine_in_memory(moved, store=store, settings=settings) as engine:
        await engine.send_event("order-7", "hook:psp")
        await engine.wait("order-7", timeout=5)
    assert grant_of(moved.requests[0]) == HookGrant(
        base_url="https://elsewhere.example", key=grant_of(runner.requests[0]).key
    )


async def test_a_url_is_known_by_its_signature_and_so_is_one_of_an_earlier_run() -> None:
    runner = ScriptedRunner(lambda request: WAITS if request.run == 3 else ContinueAsNew(input=None))
    async with new_engine(runner) as engine:
        instance_id = await engine.start("order")
        await waiting(engine, instance_id)
        key = grant_of(runner.requests[0]).key
        for run, is_present in ((3, True), (2, False), (1, False)):
            signature = hook_signature(key, instance_id, run, "psp")
            assert await engine.is_present_hook(instance_id, "psp", signature) is is_present


async def test_any_other_url_is_nobodys() -> None:
    runner = ScriptedRunner(lambda _: WAITS)
    async with new_engine(runner) as engine:
        instance_id, other_id = [await engine.start("order") for _ in range(2)]
        await waiting(engine, other_id)
        key = next(grant_of(request).key for request in runner.requests if request.workflow_id == instance_id)
        right = hook_signature(key, instance_id, 1, "psp")
        wrong = [
            (instance_id, "psq", right),
            (other_id, "psp", right),
            ("wf_unknown", "psp", right),
            ("..", "psp", right),
            (instance_id, "psp", hook_signature(key, instance_id, 2, "psp")),
            (instance_id, "psp", right.upper()),
            (instance_id, "psp", right[:-1]),
            (instance_id, "psp", ""),
            (instance_id, "psp", "ä" * 64),
            (instance_id, "\ud800", right),
            (instance_id, ".", hook_signature(key, instance_id, 1, ".")),
        ]
        wrong += [
            (instance_id, "psp", right[:at] + f"{int(right[at], 16) ^ 1:x}" + right[at + 1 :]) for at in range(64)
        ]
        for url in wrong:
            with pytest.raises(WrongHookUrlError, match="nobody has been given this URL"):
                await engine.is_present_hook(*url)


async def test_an_instance_of_many_runs_is_looked_back_at_only_so_far() -> None:
    last = RUNS_LOOKED_BACK + 5
    runner = ScriptedRunner(lambda request: WAITS if request.run == last else ContinueAsNew(input=None))
    async with new_engine(runner) as engine:
        instance_id = await engine.start("order")
        await wait_until(lambda: len(runner.requests) == last)
        await waiting(engine, instance_id)
        key = grant_of(runner.requests[0]).key
        known = hook_signature(key, instance_id, last - RUNS_LOOKED_BACK, "psp")
        assert await engine.is_present_hook(instance_id, "psp", known) is False
        with pytest.raises(WrongHookUrlError):
            await engine.is_present_hook(instance_id, "psp", hook_signature(key, instance_id, 1, "psp"))


async def test_what_is_nobodys_url_costs_the_same_few_signatures_whatever_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed = []

    def counted(key: str, instance_id: str, run: int, name: str) -> str:
        computed.append(run)
        return hook_signature(key, instance_id, run, name)

    last = RUNS_LOOKED_BACK * 2
    runner = ScriptedRunner(
        lambda request: WAITS if request.workflow_id == "young" or request.run == last else ContinueAsNew(input=None)
    )
    async with new_engine(runner) as engine:
        for instance_id in ("young", "old"):
            await waiting(engine, await engine.start("order", id=instance_id))
        monkeypatch.setattr("pylon_workflows.hook_keys.hook_signature", counted)
        for instance_id, name, count in (
            ("young", "psp", RUNS_LOOKED_BACK + 1),
            ("old", "psp", RUNS_LOOKED_BACK + 1),
            ("nobody", "psp", RUNS_LOOKED_BACK + 1),
            ("n" * 129, "psp", 0),
            ("old", "p" * 124, 0),
        ):
            computed.clear()
            with pytest.raises(WrongHookUrlError):
                await engine.is_present_hook(instance_id, name, "0" * 64)
            assert len(computed) == count
        computed.clear()
        key = grant_of(runner.requests[-1]).key
        assert await engine.is_present_hook("old", "psp", hook_signature(key, "old", last, "psp")) is True
        assert computed == [last]


async def test_a_run_that_never_was_is_nobodys() -> None:
    runner = ScriptedRunner(lambda _: WAITS)
    async with new_engine(runner) as engine:
        await waiting(engine, await engine.start("order", id="order-7"))
        key = grant_of(runner.requests[0]).key
        for run in (0, -1):
            with pytest.raises(WrongHookUrlError):
                await engine.is_present_hook("order-7", "psp", hook_signature(key, "order-7", run, "psp"))


async def test_no_url_is_anybodys_in_a_file_that_has_given_out_none() -> None:
    async with engine_in_memory(None, settings=EngineSettings(shutdown_grace_s=0)) as engine:
        engine.register(WorkflowDefinition("order"))
        instance_id = await engine.start("order")
        guess = hook_signature(bytes(32).hex(), instance_id, 1, "psp")
        with pytest.raises(WrongHookUrlError):
            await engine.is_present_hook(instance_id, "psp", guess)


async def test_the_file_keeps_its_secret(tmp_path: Path) -> None:
    keys = []
    for number in range(2):
        runner = ScriptedRunner(lambda _: Complete())
        engine = WorkflowEngine(runner=runner, database=tmp_path / "w.db", settings=SETTINGS)
        engine.register(WorkflowDefinition("order"))
        async with engine:
            await engine.result(await engine.start("order", id=f"order-{number}"), timeout=5)
            assert await engine.is_present_hook(
                f"order-{number}", "psp", hook_signature(grant_of(runner.requests[0]).key, f"order-{number}", 1, "psp")
            )
            keys.append(await engine._engine._store.secrets.get("hooks"))
    assert keys[0] == keys[1] is not None
    assert len(keys[0]) == 32


@pytest.mark.parametrize(
    "url",
    [
        "", "app.example/hooks", "ftp://app.example", "https://", "https://app.example/?a=1", "https://app.example/#b",
        "https://me:word@app.example/", "https://app.example:99999", "https://app.example/hö", "https://app.example/ b",
        "https://app.example/" + "x" * 1000, "https://[::1",
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="hooks_url: "):
        EngineSettings(hooks_url=url)


def test_the_url_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOOKS_URL_VARIABLE, "https://app.example/hooks")
    assert EngineSettings().hooks_url == "https://app.example/hooks"
    assert EngineSettings(hooks_url=None).hooks_url is None
    monkeypatch.setenv(HOOKS_URL_VARIABLE, "")
    assert EngineSettings().hooks_url is None
