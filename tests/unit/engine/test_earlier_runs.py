"""Earlier runs are deleted when they ended long ago, while their instance goes on as if nothing had happened."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from pylon_workflows import EngineSettings, InvalidInputError, WorkflowDefinition, WorkflowEngine
from pylon_workflows.api.views import history_json
from pylon_workflows.cli import main
from pylon_workflows.cli.timeline import timeline
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import EarlierRunsDeleted, EventTaken, InstanceStarted
from pylon_workflows.exports import exported, read_export
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, wait_for_status, wait_until
from runner_protocol.messages import Complete, ContinueAsNew, Sleep, StepComplete, WaitEvent

DAY = timedelta(days=1)


def monthly(request):
    """A step, a month's sleep, and so on for ever; in its third run it waits for the event that came in the first."""
    if not request.completed_steps:
        return StepComplete(step_name="bill", output=request.run, vars={"last": request.run}, noted=1)
    if len(request.completed_steps) == 1:
        return Sleep(duration="20d")
    if request.run == 3 and len(request.completed_steps) == 2:
        return WaitEvent(event="early")
    return ContinueAsNew(input=request.run + 1)


def an_engine(clock, store, answer=monthly, **settings):
    engine = engine_in_memory(
        ScriptedRunner(answer),
        clock=clock,
        store=store,
        settings=EngineSettings(shutdown_grace_s=0, **settings),
    )
    engine.register(WorkflowDefinition("billing"))
    return engine


async def months(engine, clock, run):
    """Let time pass until that run sleeps."""
    await wait_until(lambda: _sleeps_in(engine, run))
    clock.advance(timedelta(hours=1))


async def _sleeps_in(engine, run):
    instance = await engine.get("a")
    if instance.run < run and instance.status is Status.SLEEPING:
        engine._engine._clock.advance(timedelta(days=20))
    return instance.run == run and instance.status is Status.SLEEPING


async def shortened(engine):
    return isinstance((await engine.history("a"))[1], EarlierRunsDeleted)


async def test_a_run_goes_when_it_ended_long_enough_ago_and_the_instance_stays_as_it_is():
    clock, store = FakeClock(), MemoryStore()
    async with an_engine(clock, store) as engine:
        await engine.start("billing", 1, id="a", idempotency_key="k")
        await engine.send_event("a", "early", {"n": 1}, event_id="e-1")
        await months(engine, clock, 3)
        before, whole = await engine.get("a"), await engine.history("a")
        clock.advance(timedelta(days=9))  # run 1 ended 29 days ago
        assert await engine.history("a") == whole
        clock.advance(2 * DAY)
        await wait_until(lambda: shortened(engine))
        history = await engine.history("a")
        assert (history[0], history[1].run, history[1].vars_json) == (whole[0], 2, b'{"last":1}')
        assert await engine.get("a") == before

    async with an_engine(clock, store) as engine:  # folded anew, from what is left
        assert await engine.get("a") == before
        assert await engine.start("billing", 1, idempotency_key="k") == "a", "the start is still known"
        assert (await engine.send_event("a", "early", event_id="e-1")).is_duplicate
        clock.advance(20 * DAY)
        await months(engine, clock, 4)
        instance = await engine.get("a", as_of=(await engine.get("a")).revision - 1)
        assert (instance.run, instance.steps[0].output) == (4, 4)
        names = [type(each).__name__ for each in await engine.history("a")]
        assert "EventTaken" in names


async def test_nothing_is_deleted_where_everything_is_kept():
    clock, store = FakeClock(), MemoryStore()
    async with an_engine(clock, store, retain_finished_for=None) as engine:
        await engine.start("billing", 1, id="a")
        await months(engine, clock, 2)
        clock.advance(timedelta(days=10_000))
        assert not await shortened(engine)


async def test_one_that_cannot_be_read_keeps_its_runs_and_holds_up_no_other(caplog):
    clock, store = FakeClock(), MemoryStore()

    def answer(request):
        return ContinueAsNew() if request.run < 3 else WaitEvent(event="end")

    async with an_engine(clock, store, answer) as engine:
        for each in ("broken", "a"):
            await engine.start("billing", id=each)
            await wait_for_status(engine, each, Status.WAITING_FOR_EVENT)
        impossible = EventTaken(at=clock.now(), source=99, key="event:x", position=0, started_at=clock.now())
        store._instances["broken"].history.insert(1, impossible)
        clock.advance(31 * DAY)
        await wait_until(lambda: shortened(engine))
        assert len(await engine.history("broken")) == 6
        assert "broken: its earlier runs stay, for they cannot be read" in caplog.text


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A file in which the first two runs of an instance have been deleted."""

    def answer(request):
        if not request.completed_steps and request.run == 1:
            return StepComplete(step_name="first", output="x" * 50)
        if request.run < 3:
            return ContinueAsNew(input=request.run + 1)
        return WaitEvent(event="early") if not request.completed_steps else WaitEvent(event="end")

    path = tmp_path / "runs.db"
    settings = EngineSettings(shutdown_grace_s=0, retain_finished_for=timedelta(0))
    engine = WorkflowEngine(runner=ScriptedRunner(answer), database=path, settings=settings)
    engine.register(WorkflowDefinition("billing"))
    async with engine:
        await engine.start("billing", 1, id="a", delay=0.05)
        await engine.send_event("a", "early", {"n": 1})
        await wait_for_status(engine, "a", Status.WAITING_FOR_EVENT)
    async with engine:  # which looks when it starts
        await wait_until(lambda: shortened(engine))
    return path


async def test_pages_earlier_states_and_documents_go_on_behind_the_gap(file: Path) -> None:
    engine = WorkflowEngine(runner=None, database=file)
    async with engine:
        history = await engine.history("a")
        instance = await engine.get("a")
        start, deletion, *rest = history
        assert isinstance(start, InstanceStarted)
        assert (deletion.run, instance.revision) == (3, deletion.replaces + len(rest))
        assert list(await engine.history("a", after=2)) == history[1:]
        assert list(await engine.history("a", after=deletion.replaces)) == rest
        page = await engine.history_page("a", after=1, limit=1)
        assert (list(page.transitions), page.last, page.is_last) == ([deletion], deletion.replaces, False)
        assert (await engine.get("a", as_of=1)).status is Status.PENDING
        assert (await engine.get("a", as_of=deletion.replaces)).run == 3
        with pytest.raises(InvalidInputError, match="as_of: revision 3 of a was deleted with its earlier runs"):
            await engine.get("a", as_of=3)
        with pytest.raises(InvalidInputError, match=f"as_of: must be from 1 to {instance.revision}"):
            await engine.get("a", as_of=instance.revision + 1)
        shown = json.loads(history_json(history))
        assert [entry["revision"] for entry in shown][:2] == [1, deletion.replaces]
        rows = [(row.what, row.name) for row in timeline(shown)]
        assert rows == [("started", "billing"), ("next run", ""), ("event taken", "early"), ("wait", "end")]
        assert read_export(exported(history, start.at)) == (instance, history)


async def test_a_document_with_another_gap_is_refused(file: Path) -> None:
    async with WorkflowEngine(runner=None, database=file) as engine:
        history = await engine.history("a")
    document = json.loads(exported(history, history[0].at))
    document["history"][2]["revision"] += 1
    with pytest.raises(InvalidInputError, match=r"history.3.revision: should be"):
        read_export(json.dumps(document))
    document = json.loads(exported(history, history[0].at))
    document["history"][1]["replaces"] = 1
    with pytest.raises(InvalidInputError, match=r"history.2.revision: should be 2"):
        read_export(json.dumps(document))


def test_the_command_line_verifies_exports_and_imports_what_is_left(file: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    verified = run(main, ["doctor", str(file), "--verify"])
    assert "1 instances are what their histories add up to" in verified.output.replace("\n", " "), verified.output
    document, copy = tmp_path / "a.json", tmp_path / "copy.db"
    assert run(main, ["export", "a", str(file), "--to", str(document)]).exit_code == 0
    for words in ("imported a, waiting_for_event", "a is there already, the same"):
        assert words in run(main, ["import", str(document), str(copy)]).output
    assert "are what their histories add up to" in run(main, ["doctor", str(copy), "--verify"]).output


async def test_an_instance_that_has_ended_goes_whole_all_the_same():
    clock, store = FakeClock(), MemoryStore()

    def answer(request):
        return ContinueAsNew() if request.run == 1 else Complete()

    async with an_engine(clock, store, answer) as engine:
        await engine.wait(await engine.start("billing", id="a"), 10)
        clock.advance(31 * DAY)
        await wait_until(lambda: "a" not in store._instances)
