"""A workflow tested whole: its code, its retries, its sleeps and what comes from outside, in milliseconds."""

from datetime import timedelta

import pytest

from pylon_workflows import PublishedStart, Status, UnknownInstanceError, WorkflowDefinition
from pylon_workflows.testing import StillWaitingError, WorkflowTester
from runner_protocol import Context, Runner, workflow

ONBOARDING = WorkflowDefinition("onboarding", max_retries=3, initial_backoff=timedelta(minutes=1))


class Mailer:
    def __init__(self, failures=0):
        self.failures = failures
        self.sent = []

    def send(self, kind):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the mail server is away")
        self.sent.append(kind)
        return {"sent": kind}


def an_onboarding(mailer):
    @workflow("onboarding")
    async def onboarding(ctx: Context, input):
        await ctx.step("welcome", mailer.send, "welcome")
        confirmed = await ctx.wait_for_event("confirmed", timeout="7d")
        await ctx.sleep("30d")
        await ctx.step("survey", mailer.send, "survey")
        return {"confirmed": bool(confirmed)}

    return Runner([onboarding])


def a_tester(mailer):
    return WorkflowTester(an_onboarding(mailer), definitions=[ONBOARDING])


async def test_a_month_a_retry_and_an_event_pass_in_milliseconds():
    mailer = Mailer(failures=2)
    async with a_tester(mailer) as tester:
        began = tester.clock.now()
        instance_id = await tester.start("onboarding", {"user": "alice"})
        await tester.until_waiting(instance_id, "confirmed")
        await tester.engine.send_event(instance_id, "confirmed", {"ok": True})
        instance = await tester.finish(instance_id)
        history = await tester.history(instance_id)
    assert instance.output == {"confirmed": True}
    assert mailer.sent == ["welcome", "survey"]
    assert timedelta(days=30) < tester.clock.now() - began < timedelta(days=30, minutes=10)
    assert [type(each).__name__ for each in history].count("AttemptFailed") == 2


async def test_a_wait_that_can_time_out_does():
    async with a_tester(Mailer()) as tester:
        instance = await tester.run("onboarding", {"user": "alice"})
    assert instance.output == {"confirmed": False}


async def test_time_passes_as_far_as_the_test_says_and_no_further():
    mailer = Mailer(failures=1)
    async with a_tester(mailer) as tester:
        instance_id = await tester.start("onboarding")
        await tester.advance(timedelta(seconds=59))
        assert (mailer.sent, (await tester.engine.get(instance_id)).retry_at) == (
            [],
            tester.clock.now() + timedelta(seconds=1),
        )
        await tester.advance(timedelta(seconds=1))
        assert mailer.sent == ["welcome"]
        await tester.advance(timedelta(days=37))
        assert mailer.sent == ["welcome", "survey"], "the wait ended after 7 days, the sleep 30 days later"


async def test_what_only_the_test_can_give_is_named():
    @workflow("order")
    async def order(ctx: Context, input):
        await ctx.wait_for_event("paid")

    async with WorkflowTester(Runner([order]), definitions=[WorkflowDefinition("order")]) as tester:
        instance_id = await tester.start("order")
        with pytest.raises(StillWaitingError, match="waits for the event 'paid': send it"):
            await tester.finish(instance_id)
        assert (await tester.until_waiting(instance_id)).status is Status.WAITING_FOR_EVENT
        await tester.engine.send_event(instance_id, "paid")
        with pytest.raises(StillWaitingError, match=r"completed and waited for nothing named 'shipped'"):
            await tester.until_waiting(instance_id, "shipped")


async def test_the_code_goes_by_the_virtual_time_too():
    @workflow("order")
    async def order(ctx: Context, input):
        await ctx.step("first", lambda: None)
        await ctx.sleep("30d")
        await ctx.step("second", lambda: None)
        before = ctx.now()
        await ctx.sleep_until(before + timedelta(days=1))
        return before.isoformat()

    async with WorkflowTester(Runner([order])) as tester:
        began = tester.clock.now()
        instance = await tester.run("order")
        took = tester.clock.now() - began
    assert timedelta(days=31) <= took < timedelta(days=31, seconds=5)
    assert instance.output.startswith("2026-01-31T00:00:00")


async def test_a_schedule_starts_its_instances_as_time_passes():
    @workflow("report")
    async def report(ctx: Context, input):
        await ctx.sleep("1h")
        return ctx.now().isoformat()

    async with WorkflowTester(Runner([report])) as tester:
        await tester.engine.schedule("0 9 * * *", "report")
        await tester.advance(timedelta(days=9, hours=12))
        instances = [await tester.engine.get(each.id) for each in await tester.engine.list()]
        assert {instance.status for instance in instances} == {Status.COMPLETED}
        assert [instance.output for instance in reversed(instances)] == [
            f"2026-01-{day:02d}T10:00:00+00:00" for day in range(1, 11)
        ]


async def test_what_was_published_is_taken_before_time_passes():
    @workflow("published")
    async def waits(ctx, input):
        return await ctx.wait_for_event("paid", correlation="order:7", timeout=input)

    async with WorkflowTester(Runner([waits])) as tester:
        began = tester.clock.now()
        for length in (None, "7d"):
            first = await tester.start("published", length)
            await tester.engine.publish("paid", "early", correlation="order:7")
            assert (await tester.finish(first)).output == "early"
            second = await tester.start("published", length)
            await tester.until_waiting(second)
            await tester.engine.publish("paid", "late", correlation="order:7")
            assert (await tester.finish(second)).output == "late"
        assert tester.clock.now() == began


async def test_an_instance_that_a_published_event_starts_is_there_when_it_is_asked_for():
    @workflow("order")
    async def order(ctx, input):
        return await ctx.wait_for_event("paid", correlation="order:9")

    async with WorkflowTester(Runner([order])) as tester:
        start = PublishedStart("order", id="order-9")
        await tester.engine.publish("created", correlation="order:9", start=start)
        await tester.engine.publish("paid", 40, correlation="order:9", start=start)
        assert (await tester.finish("order-9")).output == 40
        with pytest.raises(UnknownInstanceError, match="order-8"):
            await tester.finish("order-8")
