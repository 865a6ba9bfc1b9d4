"""Workflows that start again and again, and workflows whose code is deployed anew."""

from datetime import UTC, datetime, timedelta

from pylon_workflows.testing import FakeClock, MemoryStore, ScriptedRunner, engine_in_memory, wait_until
from runner_protocol.messages import Complete, DescribedWorkflow, Description, Sleep


def a_runner(*versions, answer=lambda request: Complete(output=request.workflow_version)):
    """A runner that tells of these versions of `report`, as a kit's runner does."""
    workflows = [DescribedWorkflow(name="report", version=version) for version in versions]
    return ScriptedRunner(answer, description=Description(workflows=workflows))


async def test_a_workflow_that_a_runner_tells_of_need_not_be_registered():
    """The engine asks its runner which workflows it has: when it starts, and when it hears a name that is new to it."""
    async with engine_in_memory(a_runner("1")) as engine:
        assert await engine.result(await engine.start("report")) == "1"
        assert [(each.name, each.source) for each in await engine.definitions()] == [("report", "runner")]


async def test_a_run_keeps_the_version_with_which_it_began():
    """A new version has a runner of its own beside the old one; what starts from now on goes there."""

    def old_code(request):
        return Complete(output="old code") if request.current_step else Sleep(duration="30d")

    clock, store = FakeClock(), MemoryStore()
    old, new = a_runner("1", answer=old_code), a_runner("2")
    async with engine_in_memory(old, clock=clock, store=store) as engine:
        begun = await engine.start("report")
    async with engine_in_memory(old, runners={"report@2": new}, clock=clock, store=store) as engine:
        await wait_until(lambda: _version_is(engine, "2"))
        assert await engine.result(await engine.start("report")) == "2"
        clock.advance(timedelta(days=30))
        assert await engine.result(begun) == "old code"


async def test_a_schedule_starts_an_instance_at_each_tick():
    """Each tick starts one instance, which says for which it is: by its tags, and by its idempotency key."""
    clock = FakeClock(datetime(2026, 11, 27, 12, tzinfo=UTC))  # a Friday
    async with engine_in_memory(a_runner("1"), clock=clock) as engine:
        schedule = await engine.schedule("0 9 * * MON-FRI", "report", id="weekdays", timezone="Europe/Berlin")
        assert schedule.next_at == datetime(2026, 11, 30, 8, tzinfo=UTC)
        clock.advance(schedule.next_at - clock.now())
        await wait_until(lambda: _has_started(engine, 1))
        (started,) = await engine.list(tags={"schedule": "weekdays"})
        assert (await engine.get(started.id)).tags["scheduled_for"] == "2026-11-30T08:00:00Z"
        assert await engine.result(started.id) == "1"


async def test_ticks_that_nobody_could_start_are_made_up_for_once_or_not_at_all():
    """`missed="once"` (the default) starts one instance for all of them, `"skip"` none."""
    clock, store = FakeClock(datetime(2026, 11, 27, 12, tzinfo=UTC)), MemoryStore()
    async with engine_in_memory(a_runner("1"), clock=clock, store=store) as engine:
        await engine.schedule("0 9 * * *", "report", id="once")
        await engine.schedule("0 9 * * *", "report", id="skip", missed="skip")
    clock.jump(timedelta(days=7))
    async with engine_in_memory(a_runner("1"), clock=clock, store=store) as engine:

        async def are_done():
            return all(schedule.next_at > clock.now() for schedule in await engine.schedules())

        await wait_until(are_done)
        started = [(await engine.get(each.id)).tags for each in await engine.list()]
        assert started == [{"schedule": "once", "scheduled_for": "2026-12-04T09:00:00Z"}]


async def _version_is(engine, version):
    return [each.version for each in await engine.definitions()] == [version]


async def _has_started(engine, count):
    return len(await engine.list()) == count
