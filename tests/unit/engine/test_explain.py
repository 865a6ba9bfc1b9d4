"""Of every instance it can be said why it is where it is, since when, and what would let it go on (P8)."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from engine_parts import TroubledStore, at, settled

from pylon_workflows import Status, WorkflowDefinition
from pylon_workflows.errors import RunnerUnavailableError, UnknownInstanceError, UnreadableInstanceError
from pylon_workflows.explain.shapes import Reason
from pylon_workflows.settings import EngineSettings
from pylon_workflows.store import reads
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, script
from runner_protocol.messages import (
    Approval,
    Complete,
    Defer,
    Diverged,
    ErrorDetail,
    Fail,
    Map,
    Sleep,
    StartChild,
    StepComplete,
    WaitEvent,
)

HOUR = timedelta(hours=1)


@asynccontextmanager
async def engine_that(*answers, clock=None, store=None, **settings):
    clock = clock or FakeClock()
    runner = ScriptedRunner(script(*answers)) if answers else None
    engine = engine_in_memory(runner, clock=clock, store=store, settings=EngineSettings(shutdown_grace_s=0, **settings))
    engine.register(WorkflowDefinition("order", max_retries=2))
    async with engine:
        yield engine


async def explained(engine, instance_id="a"):
    await settled()
    return await engine.explain(instance_id)


@pytest.mark.parametrize(
    ("answer", "status", "summary"),
    [
        (Complete(output=1), Status.COMPLETED, "has completed"),
        (Fail(error="declined", retryable=False), Status.FAILED, "has failed: declined"),
    ],
)
async def test_one_that_has_finished_says_how_and_waits_for_nothing(answer, status, summary):
    async with engine_that(answer) as engine:
        await engine.start("order", id="a")
        found = await explained(engine)
        assert (found.status, found.reason, found.summary, found.since) == (status, Reason.FINISHED, summary, at(0))
        assert (found.ways_on, found.next_at, found.near_misses) == ((), None, ())


async def test_one_that_was_cancelled_says_so():
    async with engine_that() as engine:
        await engine.start("order", id="a")
        await engine.cancel("a")
        assert (await explained(engine)).summary == "was cancelled"


async def test_a_delayed_start_says_when_it_begins():
    async with engine_that() as engine:
        await engine.start("order", id="a", delay=60)
        found = await explained(engine)
        assert (found.reason, found.since, found.next_at) == (Reason.DELAYED, at(0), at(60))
        assert found.summary == "begins at 2026-01-01T00:01:00.000Z"


async def test_one_that_sleeps_says_until_when_and_since_when():
    async with engine_that(StepComplete(step_name="one"), Sleep(duration="1h")) as engine:
        await engine.start("order", id="a")
        await settled()
        await engine.send_event("a", "later")
        found = await explained(engine)
        assert (found.reason, found.since, found.next_at) == (Reason.SLEEPING, at(0), at(3600))
        assert found.ways_on == ("the time; it goes on by itself at 2026-01-01T01:00:00.000Z",)
        assert found.runner_said.text == "sleep until 2026-01-01T01:00:00.000Z"
        assert (found.unread_events, found.near_misses) == (1, ())


async def test_a_wait_for_an_event_says_which_and_how_to_send_it():
    wait = WaitEvent(event="it's paid", match={"order.id": 7}, correlation="order:7", timeout=HOUR, on_timeout="fail")
    async with engine_that(wait) as engine:
        await engine.start("order", id="a")
        found = await explained(engine)
        assert (found.reason, found.waiting_for, found.since, found.next_at) == (
            Reason.EVENT, "it's paid", at(0), at(3600),
        )  # fmt: skip
        assert found.summary == (
            'waits for the event "it\'s paid" with order.id = 7 '
            "since 2026-01-01T00:00:00.000Z until 2026-01-01T01:00:00.000Z"
        )
        assert found.ways_on == (
            "that event: pylon-workflows send-event a 'it'\"'\"'s paid' --data '{...}', with order.id = 7",
            "or that event published with the correlation 'order:7'",
            "or the time: at 2026-01-01T01:00:00.000Z it fails",
        )


async def test_a_wait_for_a_hook_says_that_its_url_may_be_called():
    async with engine_that(WaitEvent(event="hook:psp")) as engine:
        await engine.start("order", id="a")
        assert (await explained(engine)).ways_on == (
            "that event: pylon-workflows send-event a hook:psp",
            "or a POST to the hook URL 'psp' that it has handed out",
        )


async def test_events_that_nearly_fit_are_told_the_likeliest_first():
    wait = WaitEvent(event="paid", match={"order.id": 7, "ok": True})
    async with engine_that(wait) as engine:
        await engine.start("order", id="a")
        await settled()
        for seconds, (event, data) in enumerate(
            [("shipped", {}), ("Paid", {}), ("paid", {"order": {"id": "7"}}), ("payed", {}), ("paid", {"ok": True})], 1
        ):
            engine.clock.advance(1)
            await engine.send_event("a", event, data)
            assert at(seconds) == engine.clock.now()
        found = await explained(engine)
        assert [(miss.event, miss.received_at, miss.where) for miss in found.near_misses] == [
            ("paid", at(3), "inbox"),
            ("paid", at(5), "inbox"),
            ("Paid", at(2), "inbox"),
            ("payed", at(4), "inbox"),
            ("shipped", at(1), "inbox"),
        ]
        assert [miss.why for miss in found.near_misses[:3]] == [
            'does not match: order.id is "7" and should be 7, ok is missing and should be true',
            "does not match: order.id is missing and should be 7",
            "has another name than 'paid'",
        ]
        assert found.unread_events == 5
        assert "'payed' has another name than 'paid'" in str(found)


async def test_published_events_of_the_same_key_are_told_too():
    wait = WaitEvent(event="paid", match={"n": 1}, correlation="order:7")
    async with engine_that(wait) as engine:
        await engine.start("order", id="a")
        await settled()
        await engine.publish("payed", {"n": 1}, correlation="order:7")
        await engine.publish("paid", {"n": 2}, correlation="order:7")
        await engine.publish("paid", {"n": 1}, correlation="order:8")
        await engine.send_event("a", "pay")
        found = await explained(engine)
        assert [(miss.event, miss.received_at, miss.where, miss.why) for miss in found.near_misses] == [
            (
                "paid", at(0), "kept",
                "has the correlation 'order:7', but does not match: n is 2 and should be 1",
            ),
            ("payed", at(0), "kept", "has the correlation 'order:7', but has another name than 'paid'"),
            ("pay", at(0), "inbox", "has another name than 'paid'"),
        ]  # fmt: skip


async def test_published_events_of_the_same_name_under_other_keys_are_told_too():
    clock = FakeClock()
    async with engine_that(WaitEvent(event="paid", correlation="order:111"), clock=clock) as engine:
        await engine.start("order", id="a")
        assert (await explained(engine)).other_keys is None
        for key in ("order:111 ", "Order:111", "order:0111", "Order:111"):
            await engine.publish("paid", correlation=key)
            clock.advance(timedelta(seconds=1))
        await engine.publish("sent", correlation="order:112")
        found = await explained(engine)
        assert (found.near_misses, found.other_keys.count) == ((), 4)
        assert found.other_keys.newest == (
            ("Order:111", at(3)), ("order:0111", at(2)), ("order:111 ", at(0)),
        )  # fmt: skip
        assert "kept events named 'paid' under other keys: 4, under 'Order:111', 'order:0111', 'order:111 '" in str(
            found
        )
        for number in range(5):
            await engine.publish("paid", correlation=f"order:{number}")
        found = await explained(engine)
        assert (found.other_keys.count, len(found.other_keys.newest)) == (9, 5)


async def test_of_many_near_misses_ten_are_told_and_long_values_are_cut():
    async with engine_that(WaitEvent(event="paid", match={"text": "x" * 100})) as engine:
        await engine.start("order", id="a")
        await settled()
        for _ in range(30):
            await engine.send_event("a", "paid", {"text": "y" * 100})
        found = await explained(engine)
        assert (len(found.near_misses), found.unread_events) == (10, 30)
        assert len(found.near_misses[0].why) < 200


async def test_of_a_large_inbox_a_mebibyte_is_looked_at():
    async with engine_that(WaitEvent(event="paid", match={"n": 1}, correlation="k")) as engine:
        await engine.start("order", id="a")
        await settled()
        for number in range(9):
            await engine.send_event("a", "paid", {"text": "x" * 200_000, "number": number})
            await engine.publish("payed", {"text": "x" * 200_000}, correlation="k")
        found = await explained(engine)
        assert ([miss.where for miss in found.near_misses], found.unread_events) == (["inbox"] * 5 + ["kept"] * 5, 9)


async def test_a_gate_says_who_can_open_it():
    async with engine_that(Approval(name="ship", message="Ship it?", timeout=HOUR)) as engine:
        await engine.start("order", id="a")
        found = await explained(engine)
        assert (found.reason, found.waiting_for, found.next_at) == (Reason.APPROVAL, "approval:ship", at(3600))
        assert found.summary.endswith("until 2026-01-01T01:00:00.000Z: Ship it?")
        assert found.ways_on == (
            "pylon-workflows approve a approval:ship",
            "or pylon-workflows reject a approval:ship",
            "or the time: at 2026-01-01T01:00:00.000Z it is rejected",
        )


async def test_a_wait_for_a_child_says_what_the_child_does():
    def answer(request):
        return WaitEvent(event="paid") if request.workflow_id == "b" else StartChild(name="b", workflow="order", id="b")

    engine = engine_in_memory(ScriptedRunner(answer), clock=FakeClock())
    engine.register(WorkflowDefinition("order"))
    async with engine:
        await engine.start("order", id="a")
        found = await explained(engine)
        assert (found.reason, found.waiting_for) == (Reason.CHILD, "b")
        assert (
            found.summary == "waits for its child b (order), which is waiting_for_event since 2026-01-01T00:00:00.000Z"
        )
        assert found.ways_on == ("the child's end; what that waits for: pylon-workflows why b",)


async def test_between_attempts_it_says_what_failed_and_when_it_is_tried_again():
    async with engine_that(Fail(step_name="pay", error="no route", retry_after=timedelta(minutes=1))) as engine:
        await engine.start("order", id="a")
        found = await explained(engine)
        assert (found.reason, found.status, found.since, found.next_at) == (
            Reason.RETRY, Status.RUNNING, at(0), at(60),
        )  # fmt: skip
        assert found.runner_said.text == "attempt 1 of 'pay' failed: no route"


@pytest.mark.parametrize(
    ("error", "whose"),
    [(ErrorDetail(type="KeyError", message="no route"), "the workflow's function"), ("no route", "the turn")],
)
async def test_a_failure_of_no_step_is_told_as_that_of_the_code_that_raised(error, whose):
    async with engine_that(Fail(error=error, retry_after=timedelta(minutes=1))) as engine:
        await engine.start("order", id="a")
        assert (await explained(engine)).runner_said.text == f"attempt 1 of {whose} failed: no route"


async def test_a_blocked_one_says_why_and_how_it_goes_on():
    async with engine_that(Diverged(position=0, expected="charge", got="mail")) as engine:
        await engine.start("order", id="a")
        found = await explained(engine)
        assert (found.reason, found.since) == (Reason.BLOCKED, at(0))
        assert found.summary.startswith("is blocked: the workflow's code no longer fits its records")
        assert "pylon-workflows resume a" in found.ways_on[0]


async def test_one_that_cannot_be_read_says_so_too():
    store = TroubledStore()
    async with engine_that(store=store) as engine:
        await engine.start("order", id="a")
    histories = store.histories

    async def unreadable(instance_ids):
        found = dict(await histories(instance_ids))
        return {each: UnreadableInstanceError("its history is torn") for each in found}

    store.histories = unreadable
    async with engine_that(store=store) as engine:
        found = await explained(engine)
        assert (found.reason, found.status) == (Reason.UNREADABLE, Status.BLOCKED)
        assert "unreadable: its history is torn" in found.summary


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (RunnerUnavailableError("connection refused"), "the runner is unavailable: connection refused"),
        (Defer(retry_after=timedelta(seconds=5), reason="busy"), "the runner puts it off: busy"),
    ],
)
async def test_a_runner_that_is_away_is_told_with_the_next_try(answer, said):
    async with engine_that(StepComplete(step_name="one"), answer) as engine:
        await engine.start("order", id="a")
        found = await explained(engine)
        assert (found.reason, found.since) == (Reason.RUNNER, at(0))
        assert at(0) < found.next_at <= at(5)
        assert found.runner_said.text == said
        assert said in found.summary
        assert found.ways_on[1] == "or at once: advance it (`engine.advance`, or a POST to its `/advance`)"


async def test_a_child_that_cannot_be_started_is_not_told_as_the_runners_fault_nor_as_its_words():
    async with engine_that(StepComplete(step_name="one"), StartChild(name="ship", workflow="nope")) as engine:
        await engine.start("order", id="a")
        found = await explained(engine)
        assert (found.reason, found.since) == (Reason.RUNNER, at(0))
        told = "its child cannot be started: no workflow is named 'nope'; registered: order"
        assert found.summary.startswith(f"waits since 2026-01-01T00:00:00.000Z: {told}")
        assert found.ways_on[0].startswith(
            "that workflow, registered or told of by a runner; it is tried again by itself"
        )
        assert found.runner_said.text == "the step 'one' is done"


async def test_one_that_is_asked_about_says_since_when_and_until_when():
    is_to_answer = asyncio.Event()

    async def answer(_request):
        await is_to_answer.wait()
        return Complete()

    engine = engine_in_memory(ScriptedRunner(answer), clock=FakeClock())
    engine.register(WorkflowDefinition("order", step_timeout=timedelta(seconds=40)))
    async with engine:
        await engine.start("order", id="a")
        found = await explained(engine)
        assert (found.reason, found.since) == (Reason.IN_FLIGHT, at(0))
        assert found.ways_on == ("the runner's answer, which is waited for until 2026-01-01T00:00:40.000Z at least",)
        is_to_answer.set()
        await engine.wait("a", 5)


async def test_one_that_has_no_place_says_how_many_have():
    is_to_answer = asyncio.Event()

    async def answer(_request):
        await is_to_answer.wait()
        return Complete()

    engine = engine_in_memory(
        ScriptedRunner(answer), clock=FakeClock(), settings=EngineSettings(max_in_flight=1, max_queued=1)
    )
    engine.register(WorkflowDefinition("order"))
    async with engine:
        for instance_id in ("a", "b", "c"):
            await engine.start("order", id=instance_id)
        assert (await explained(engine, "a")).reason is Reason.IN_FLIGHT
        queued, stored = await explained(engine, "b"), await explained(engine, "c")
        assert (queued.reason, queued.summary) == (Reason.QUEUED, "waits for its turn; 1 turns are in flight")
        assert (stored.reason, stored.summary) == (
            Reason.QUEUED, "waits in the file for its turn; 1 turns are in flight",
        )  # fmt: skip
        is_to_answer.set()
        for instance_id in ("a", "b", "c"):
            await engine.wait(instance_id, 5)


async def test_an_open_group_says_how_far_it_is():
    is_to_answer = asyncio.Event()

    async def answer(request):
        if request.member is None:
            return Map(name="resize", items=[1, 2, 3]) if not request.completed_steps else Complete()
        if request.member.index:
            await is_to_answer.wait()
        return StepComplete(key=request.member.key, step_name="resize", output=1)

    engine = engine_in_memory(ScriptedRunner(answer), clock=FakeClock())
    engine.register(WorkflowDefinition("order"))
    async with engine:
        await engine.start("order", id="a")
        await settled()
        found = await explained(engine)
        assert found.reason is Reason.IN_FLIGHT
        assert "members of 'resize', 1 of 3 members are done, 0 have failed" in found.summary
        assert found.runner_said.text == "member 0 of the group is done"
        is_to_answer.set()
        await engine.wait("a", 5)


async def test_without_a_runner_it_waits_for_canned_answers():
    async with engine_that() as engine:
        await engine.start("order", id="a")
        assert (await explained(engine)).reason is Reason.NO_RUNNER


async def test_after_large_answers_the_last_one_is_told_and_not_one_of_those_before(tmp_path, monkeypatch):
    monkeypatch.setattr(reads, "MAX_HISTORY_PAGE_BYTES", 5_000)
    async with engine_that(store=SqliteStore(tmp_path / "workflows.db")) as engine:
        await engine.start("order", id="a")
        for number in range(60):
            await engine.apply("a", StepComplete(step_name=f"s{number}", output="x" * 1_000))
        assert (await engine.explain("a")).runner_said.text == "the step 's59' is done"
        await engine.apply("a", StepComplete(step_name="largest", output="x" * 9_000))
        assert (await engine.explain("a")).runner_said.text == "the step 'largest' is done"
        await engine.send_event("a", "early", "x" * 4_000)
        await engine.apply("a", Sleep(duration="1h"))
        found = await engine.explain("a")
        assert (found.since, found.runner_said.at) == (at(0), at(0))
        assert found.runner_said.text == "sleep until 2026-01-01T01:00:00.000Z"


async def test_nobody_is_unknown():
    async with engine_that() as engine:
        with pytest.raises(UnknownInstanceError):
            await engine.explain("nobody")
