"""What runners tell of their workflows, as the engine's users see it."""

import asyncio
import logging
from datetime import timedelta

import pytest

from pylon_workflows import (
    EngineSettings,
    RunnerUnavailableError,
    StorageFullError,
    UnknownWorkflowError,
    WorkflowDefinition,
)
from pylon_workflows.definitions import Definitions
from pylon_workflows.discovery import LEAST_PAUSE_S, REFRESH_S, Discovery, is_newer
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, script, wait_for_status, wait_until
from runner_protocol.messages import Complete, DescribedWorkflow, Description, Sleep

AWAY = RunnerUnavailableError("connection refused")


def tells(*workflows):
    return Description(workflows=[each if isinstance(each, DescribedWorkflow) else told(*each) for each in workflows])


def told(name, version=None, **terms):
    return DescribedWorkflow(name=name, version=version, **terms)


def a_runner(description):
    return ScriptedRunner(lambda request: Complete(output=request.workflow_version), description=description)


def discovery_of(*runners, store=None, clock=None):
    definitions = Definitions()
    return definitions, Discovery(runners, definitions, store, clock or FakeClock(), lambda: 1.0)


@pytest.fixture
async def store():
    store = MemoryStore()
    await store.open()
    return store


class TestAtTheStart:
    async def test_a_workflow_that_a_runner_tells_of_can_be_started_without_being_registered(self):
        async with engine_in_memory(a_runner(tells(("order", "2")))) as engine:
            assert await engine.result(await engine.start("order")) == "2"

    async def test_it_runs_on_the_terms_that_were_told_and_the_engines_where_none_were(self):
        order = told("order", description="Orders", max_retries=0, step_timeout="90s", input_schema={"type": "object"})
        async with engine_in_memory(a_runner(tells(order))) as engine:
            await engine.start("order")
            assert await engine.definitions() == [
                WorkflowDefinition(
                    "order",
                    description="Orders",
                    max_retries=0,
                    step_timeout=timedelta(seconds=90),
                    input_schema={"type": "object"},
                )
            ]

    async def test_a_runner_that_is_away_keeps_no_engine_from_starting_and_is_asked_until_it_answers(self):
        runner, clock = a_runner(AWAY), FakeClock()
        async with engine_in_memory(runner, clock=clock) as engine:
            for _ in range(5):
                await asked_again(clock, runner)
            runner.description = tells(("order", None))
            await asked_again(clock, runner)
            assert [known.name for known in await engine.definitions()] == ["order"]

    async def test_the_pauses_double_up_to_a_minute(self):
        class NotedClock(FakeClock):
            def __init__(self):
                super().__init__()
                self.slept = []

            async def sleep(self, seconds):
                self.slept.append(seconds)
                self.advance(seconds)
                if len(self.slept) == 8:
                    raise asyncio.CancelledError

        _, discovery = discovery_of(a_runner(AWAY), clock=(clock := NotedClock()))
        (ask_again_and_again,) = discovery.parts
        with pytest.raises(asyncio.CancelledError):
            await ask_again_and_again()
        assert clock.slept == [2, 4, 8, 16, 32, 60, 60, 60]

    async def test_a_runner_of_version_1_is_asked_once(self):
        runner, clock = a_runner(None), FakeClock()
        async with engine_in_memory(runner, clock=clock) as engine:
            engine.register(WorkflowDefinition("order"))
            for _ in range(10):
                await engine.result(await engine.start("order"))
                clock.advance(3600)
            assert runner.descriptions_asked == 1

    async def test_without_discovery_nobody_is_asked(self):
        runner = a_runner(tells(("order", "2")))
        async with engine_in_memory(runner, settings=EngineSettings(shutdown_grace_s=0, has_discovery=False)) as engine:
            with pytest.raises(UnknownWorkflowError):
                await engine.start("order")
        assert runner.descriptions_asked == 0


class TestANameThatNobodyKnows:
    async def test_it_has_the_runners_asked_again_before_it_is_refused(self):
        runner, clock = a_runner(tells(("order", None))), FakeClock()
        async with engine_in_memory(runner, clock=clock) as engine:
            await engine.start("order")
            runner.description = tells(("order", None), ("refund", None))
            clock.advance(LEAST_PAUSE_S)
            await engine.start("refund")
            assert runner.descriptions_asked == 2

    async def test_a_runner_of_version_1_that_was_replaced_is_found_out_and_then_followed(self):
        runner, clock = a_runner(None), FakeClock()
        async with engine_in_memory(runner, clock=clock) as engine:
            with pytest.raises(UnknownWorkflowError):
                await engine.start("order")
            runner.description = tells(("order", "1"))
            clock.advance(LEAST_PAUSE_S)
            await engine.start("order")
            runner.description = tells(("order", "2"))
            await asked_again(clock, runner)
            assert await engine.result(await engine.start("order")) == "2"

    @pytest.mark.parametrize("answer", [AWAY, None, tells(("order", None))], ids=["away", "version 1", "another"])
    async def test_however_many_are_asked_for_a_runner_is_asked_once_a_second(self, answer):
        runner, clock = a_runner(answer), FakeClock()
        async with engine_in_memory(runner, clock=clock) as engine:
            await wait_until(lambda: runner.descriptions_asked == 1)
            for n in range(20):
                with pytest.raises(UnknownWorkflowError):
                    await engine.start(f"nothing-{n}")
            assert runner.descriptions_asked == 1
            clock.advance(LEAST_PAUSE_S)
            for n in range(20):
                with pytest.raises(UnknownWorkflowError):
                    await engine.start(f"nothing-{n}")
            assert runner.descriptions_asked == 2

    async def test_those_that_come_while_the_runner_is_asked_wait_for_its_one_answer(self, store):
        class SlowRunner(ScriptedRunner):
            async def describe(self):
                await is_released.wait()
                return await super().describe()

        is_released = asyncio.Event()
        runner = SlowRunner(script(), description=tells(("order", None)))
        definitions, discovery = discovery_of(runner, store=store)
        starts = [asyncio.create_task(discovery.look_for("order")) for _ in range(100)]
        await asyncio.sleep(0)
        is_released.set()
        await asyncio.gather(*starts)
        assert "order" in definitions
        assert runner.descriptions_asked == 1

    async def test_what_could_not_be_stored_is_not_registered_and_is_asked_for_again(self):
        class FullStore(MemoryStore):
            is_full = True

            async def save_definition(self, definition):
                if self.is_full:
                    raise StorageFullError("full")
                await super().save_definition(definition)

        store, clock = FullStore(), FakeClock()
        runner = a_runner(tells(("order", None)))
        async with engine_in_memory(runner, clock=clock, store=store) as engine:
            await wait_until(lambda: runner.descriptions_asked == 1)
            assert await engine.definitions() == []
            clock.advance(LEAST_PAUSE_S)
            with pytest.raises(StorageFullError):
                await engine.start("order")
            store.is_full = False
            clock.advance(LEAST_PAUSE_S)
            assert await engine.start("order")


class TestWhatIsKnown:
    async def test_code_goes_before_what_was_saved_and_that_before_what_a_runner_tells(self):
        runner = a_runner(tells(("a", "told"), ("b", "told"), ("c", "told")))
        async with engine_in_memory(runner) as engine:
            for name in ("a", "b"):
                await engine.save_definition(WorkflowDefinition(name, version="saved"))
            engine.register(WorkflowDefinition("a", version="code"))
            await engine.start("c")
            known = [(each.name, each.version, each.source) for each in await engine.definitions()]
            assert known == [("a", "code", "code"), ("b", "saved", "saved"), ("c", "told", "runner")]
            for name, version, _ in known:
                assert await engine.result(await engine.start(name)) == version

    async def test_it_stays_known_after_a_restart_while_the_runner_is_away(self):
        store, runner = MemoryStore(), a_runner(tells(("order", "2")))
        async with engine_in_memory(runner, store=store) as engine:
            await engine.start("order")
        runner.description = AWAY
        async with engine_in_memory(runner, store=store) as engine:
            instance = await engine.get(await engine.start("order"))
            assert instance.version == "2"
            assert [known.source for known in await engine.definitions()] == ["runner"]

    async def test_a_name_that_vanishes_stays(self):
        runner, clock = a_runner(tells(("order", "1"), ("refund", "1"))), FakeClock()
        async with engine_in_memory(runner, clock=clock) as engine:
            await engine.start("order")
            runner.description = tells(("order", "2"))
            await asked_again(clock, runner)
            assert [(each.name, each.version) for each in await engine.definitions()] == [
                ("order", "2"),
                ("refund", "1"),
            ]

    async def test_what_has_not_changed_is_not_written_again(self):
        class CountingStore(MemoryStore):
            saved = 0

            async def save_definition(self, definition):
                self.saved += 1
                await super().save_definition(definition)

        store, clock = CountingStore(), FakeClock()
        runner = a_runner(tells(("order", "1")))
        for _ in range(2):
            asks = runner.descriptions_asked
            async with engine_in_memory(runner, clock=clock, store=store):
                await wait_until(lambda asks=asks: runner.descriptions_asked == asks + 1)
                clock.advance(REFRESH_S)
                await wait_until(lambda asks=asks: runner.descriptions_asked == asks + 2)
        assert store.saved == 1

    async def test_one_that_makes_no_sense_is_left_out_and_told_once(self, store, caplog):
        long = told("long", description="x" * 10_001)
        clock = FakeClock()
        definitions, discovery = discovery_of(a_runner(tells(long, ("order", None))), store=store, clock=clock)
        await discovery.look_for("order")
        clock.advance(LEAST_PAUSE_S)
        await discovery.look_for("nothing")
        assert [known.name for known in definitions] == ["order"]
        warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
        assert warnings == [
            "a runner's workflow 'long' is not registered: description: must have at most 10,000 characters"
        ]


class TestSeveralVersions:
    @pytest.mark.parametrize(
        ("version", "other"),
        [("2", "1"), ("10", "9"), ("1.10", "1.9"), ("1.9.1", "1.9"), ("v2", "v1"), ("1", None), ("2024-10", "2024-9")],
    )
    def test_numbers_count_as_numbers_and_none_comes_first(self, version, other):
        assert is_newer(version, other)
        assert not is_newer(other, version)
        assert not is_newer(version, version)

    async def test_the_newest_of_one_runner_is_what_starts_get(self, store):
        definitions, discovery = discovery_of(
            a_runner(tells(("order", "9"), ("order", "10"), ("order", None))), store=store
        )
        await discovery.look_for("order")
        assert definitions.get("order").version == "10"

    async def test_the_newest_of_several_runners_is_what_starts_get(self, store):
        old, new = a_runner(tells(("order", "1"))), a_runner(tells(("order", "2")))
        for runners in ((old, new), (new, old)):
            definitions, discovery = discovery_of(*runners, store=store)
            await discovery.look_for("order")
            assert definitions.get("order").version == "2"

    async def test_while_a_runner_is_away_its_newer_version_stays_the_one_that_starts_get(self, store):
        old, new, clock = a_runner(tells(("order", "1"))), a_runner(AWAY), FakeClock()
        definitions, discovery = discovery_of(old, new, store=store, clock=clock)
        definitions.restore([WorkflowDefinition("order", version="2", source="runner")])
        await discovery.look_for("nothing")
        assert definitions.get("order").version == "2"
        new.description = tells(("refund", "1"))
        clock.advance(LEAST_PAUSE_S)
        await discovery.look_for("nothing")
        assert definitions.get("order").version == "1"

    async def test_a_version_that_was_taken_back_is_no_longer_what_starts_get(self, store):
        runner, clock = a_runner(tells(("order", "2"))), FakeClock()
        definitions, discovery = discovery_of(runner, store=store, clock=clock)
        await discovery.look_for("order")
        runner.description = tells(("order", "1"))
        clock.advance(LEAST_PAUSE_S)
        await discovery.look_for("nothing")
        assert definitions.get("order").version == "1"

    async def test_a_run_keeps_the_version_that_it_began_with(self):
        def answer(request):
            is_old = request.workflow_version == "1" and request.current_step == 0
            return Sleep(duration="1m") if is_old else Complete(output=request.workflow_version)

        runner, clock = ScriptedRunner(answer, description=tells(("order", "1"))), FakeClock()
        async with engine_in_memory(runner, clock=clock) as engine:
            old = await engine.start("order")
            await wait_for_status(engine, old, "sleeping")
            runner.description = tells(("order", "2"))
            await asked_again(clock, runner)
            assert await engine.result(await engine.start("order")) == "2"
            clock.advance(60)
            assert await engine.result(old) == "1"


async def asked_again(clock, runner):
    """Let half a minute pass, as often as it takes."""
    asks = runner.descriptions_asked

    def is_asked_again():
        clock.advance(REFRESH_S)
        return runner.descriptions_asked > asks

    await wait_until(is_asked_again)


async def test_a_runner_that_tells_of_other_workflows_each_time_does_not_fill_the_file(store, caplog, monkeypatch):
    monkeypatch.setattr("pylon_workflows.discovery.MAX_TOLD", 3)
    runner, clock = a_runner(tells(("a", "1"), ("b",))), FakeClock()
    definitions, discovery = discovery_of(runner, store=store, clock=clock)
    await discovery.look_for("a")
    runner.description = tells(("c",), ("d",), ("e",), ("a", "2"))
    clock.advance(LEAST_PAUSE_S)
    await discovery.look_for("c")
    clock.advance(LEAST_PAUSE_S)
    await discovery.look_for("d")
    assert [(each.name, each.version) for each in definitions] == [("a", "2"), ("b", None), ("c", None)]
    assert len(await store.definitions()) == 3
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "runners tell of more than 3 workflows: 'd' and further ones stay unknown"
    ]


def test_an_engine_that_runs_in_another_event_loop_than_before_goes_on_asking(caplog):
    engine = engine_in_memory(a_runner(None), clock=FakeClock())
    engine.register(WorkflowDefinition("order"))

    async def once():
        async with engine:
            await engine.wait(await engine.start("order"), 5)
            for _ in range(50):
                await asyncio.sleep(0)

    for _ in range(2):
        asyncio.run(once())
    assert "event loop" not in caplog.text
