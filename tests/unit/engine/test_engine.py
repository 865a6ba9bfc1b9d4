"""What users call: what is checked at the door, what a repeated or impossible call does, how it opens and closes."""

import asyncio
import gc
from datetime import timedelta

import pytest
from engine_parts import TroubledStore, settled

from pylon_workflows import WorkflowDefinition
from pylon_workflows.core.instance import Status
from pylon_workflows.errors import (
    CorruptDatabaseError,
    EngineNotRunningError,
    InstanceFinishedError,
    InstanceNotBlockedError,
    InstanceNotFinishedError,
    InvalidInputError,
    StartConflictError,
    StorageFullError,
    StoreError,
    TooLargeError,
    TurnNotOpenError,
    UnknownInstanceError,
    UnknownWorkflowError,
)
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import FakeClock, ScriptedRunner, engine_in_memory, script
from runner_protocol.messages import Complete, Defer, Fail, Sleep, StepComplete, WaitEvent

NOT_ONE_STRING = "\ud800"


@pytest.fixture
def store():
    return TroubledStore()


@pytest.fixture
async def engine(store):
    async with an_engine(store=store, settings=EngineSettings(max_input_bytes=100, max_event_bytes=50)) as engine:
        yield engine


def an_engine(runner=None, **options):
    engine = engine_in_memory(runner, **options)
    engine.register(WorkflowDefinition("order", max_retries=2))
    engine.register(WorkflowDefinition("refund"))
    return engine


async def test_a_start_with_the_same_key_name_and_input_finds_the_instance(engine):
    first = await engine.start_or_find("order", {"a": 1, "b": [1.0]}, idempotency_key="k")
    again = await engine.start_or_find("order", {"b": [1], "a": 1}, idempotency_key="k")
    assert (first.is_new, again.is_new, again.id) == (True, False, first.id)


@pytest.mark.parametrize(
    ("name", "input", "what"),
    [
        ("refund", {"a": 1}, "name"),
        ("order", {"a": 2}, "input"),
        ("order", {"a": True}, "input"),
        ("refund", {}, "name and input"),
    ],
)
async def test_a_start_with_a_used_key_and_another_name_or_input_is_refused(engine, name, input, what):
    await engine.start("order", {"a": 1}, idempotency_key="k")
    with pytest.raises(StartConflictError, match=rf"the idempotency key belongs to wf_\w+, which has another {what}$"):
        await engine.start(name, input, idempotency_key="k")
    assert len(await engine.list()) == 1


async def test_a_start_with_a_used_id_is_found_or_refused_alike(engine):
    await engine.start("order", {"a": 1}, id="mine")
    assert await engine.start("order", {"a": 1}, id="mine") == "mine"
    with pytest.raises(StartConflictError, match=r"the id belongs to mine, which has another input$"):
        await engine.start("order", {"a": 2}, id="mine")


async def test_a_used_key_with_another_id_is_refused(engine):
    await engine.start("order", id="mine", idempotency_key="k")
    assert await engine.start("order", id="mine", idempotency_key="k") == "mine"
    with pytest.raises(StartConflictError, match=r"the idempotency key belongs to mine, which has another id$"):
        await engine.start("order", id="yours", idempotency_key="k")


async def test_a_deleted_instance_leaves_its_id_and_key_free(engine):
    for _ in range(3):
        assert (await engine.start_or_find("order", id="mine", idempotency_key="k")).is_new
        await engine.apply("mine", Complete(output=1))
        await engine.delete("mine")
        with pytest.raises(UnknownInstanceError):
            await engine.get("mine")


async def test_an_id_that_is_started_again_while_its_deletion_is_on_the_way_is_driven(store):
    async with an_engine(ScriptedRunner(lambda _: Complete()), store=store) as engine:
        for _ in range(20):
            await engine.start("order", id="mine")
            await engine.wait("mine", 5)
            await asyncio.gather(engine.delete("mine"), engine.get("mine"), engine.start("order", {}, id="mine"))
            await engine.start("order", id="mine")
            assert (await engine.wait("mine", 5)).status is Status.COMPLETED
            await engine.delete("mine")


async def test_a_deletion_whose_caller_goes_away_is_forgotten_by_memory_too(engine, store):
    await engine.start("order", id="mine")
    await engine.apply("mine", Complete())
    deleting = asyncio.create_task(engine.delete("mine"))
    await asyncio.sleep(0)
    deleting.cancel()
    await settled()
    assert await store.summary("mine") is None
    with pytest.raises(UnknownInstanceError):
        await engine.get("mine")


async def test_a_start_whose_key_belongs_to_one_that_is_just_being_deleted_makes_a_new_one(engine, store):
    create = store.create

    async def too_late(instance):
        existing_id = await create(instance)
        if existing_id is not None:
            await engine.delete(existing_id)
        return existing_id

    old = await engine.start("order", idempotency_key="k")
    await engine.cancel(old)
    store.create = too_late
    started = await engine.start_or_find("order", idempotency_key="k")
    assert started.is_new
    assert started.id != old


async def test_only_finished_instances_can_be_deleted(engine):
    await engine.start("order", id="mine")
    with pytest.raises(InstanceNotFinishedError, match="mine is pending; cancel it before deleting it"):
        await engine.delete("mine")
    with pytest.raises(UnknownInstanceError):
        await engine.delete("nobody")


async def test_starts_say_what_is_wrong_with_them(engine):
    with pytest.raises(UnknownWorkflowError, match="no workflow is named 'nope'; registered: order, refund"):
        await engine.start("nope")
    with pytest.raises(InvalidInputError, match="id: "):
        await engine.start("order", id="not an id")
    with pytest.raises(InvalidInputError, match="idempotency_key: must have 1 to 128 characters, not 0"):
        await engine.start("order", idempotency_key="")
    with pytest.raises(InvalidInputError, match="idempotency_key: a string holds a lone surrogate"):
        await engine.start("order", idempotency_key=NOT_ONE_STRING)
    with pytest.raises(InvalidInputError, match="input: "):
        await engine.start("order", {"at": float("nan")})
    with pytest.raises(TooLargeError, match="input: has 103 bytes, the limit is 100"):
        await engine.start("order", "x" * 101)
    assert await engine.list() == []


async def test_events_say_what_is_wrong_with_them(engine):
    await engine.start("order", id="a")
    with pytest.raises(UnknownInstanceError):
        await engine.send_event("nobody", "paid")
    for event in ("", "x" * 129, None, NOT_ONE_STRING):
        with pytest.raises(InvalidInputError, match="event: "):
            await engine.send_event("a", event)
    for event_id in ("", NOT_ONE_STRING):
        with pytest.raises(InvalidInputError, match="event_id: "):
            await engine.send_event("a", "paid", event_id=event_id)
    with pytest.raises(InvalidInputError, match="data: "):
        await engine.send_event("a", "paid", {1, 2})
    with pytest.raises(TooLargeError, match="data: has 52 bytes, the limit is 50"):
        await engine.send_event("a", "paid", "x" * 50)
    assert (await engine.get("a")).inbox == ()


async def test_an_event_without_data_has_an_empty_object_and_null_stays_null(engine):
    await engine.start("order", id="a")
    await engine.send_event("a", "paid")
    await engine.send_event("a", "paid", None)
    assert [event.data_json for event in (await engine.get("a")).inbox] == [b"{}", b"null"]


async def test_names_of_events_may_have_any_characters(engine):
    await engine.start("order", id="a")
    await engine.send_event("a", "bezahlt ✓ 😀", event_id="ünïque")
    assert (await engine.send_event("a", "x", event_id="ünïque")).is_duplicate


@pytest.mark.parametrize(
    "action",
    [
        StepComplete(step_name="a", output=float("nan")),
        StepComplete(step_name="a", output={1: 2}),
        StepComplete(step_name="a", output=object()),
        StepComplete(step_name="a", output=NOT_ONE_STRING),
        StepComplete(step_name="a", output=2**64),
        StepComplete.model_construct(step_name=""),
        Sleep.model_construct(duration="soon"),
    ],
    ids=["NaN", "a key that is no string", "no JSON", "a surrogate", "65 bits", "an empty name", "a bad duration"],
)
async def test_a_canned_answer_that_would_be_malformed_is_refused(engine, action):
    await engine.start("order", id="a")
    with pytest.raises(InvalidInputError, match="action: "):
        await engine.apply("a", action)
    assert (await engine.get("a")).revision == 1


async def test_a_canned_answer_that_holds_itself_is_refused(engine):
    endless = []
    endless.append(endless)
    await engine.start("order", id="a")
    with pytest.raises(InvalidInputError, match="action: "):
        await engine.apply("a", Complete(output=endless))


async def test_a_canned_answer_with_a_recorded_key_is_refused(engine):
    await engine.start("order", id="a")
    await engine.apply("a", StepComplete(step_name="one", key="one"))
    with pytest.raises(InvalidInputError, match="action: key: 'one' is already recorded"):
        await engine.apply("a", StepComplete(step_name="one", key="one"))


async def test_a_canned_answer_is_refused_when_none_is_awaited(engine):
    await engine.start("order", id="a")
    await engine.apply("a", WaitEvent(event="paid"))
    with pytest.raises(TurnNotOpenError, match="a is waiting_for_event and awaits no answer"):
        await engine.apply("a", Complete())
    with pytest.raises(UnknownInstanceError):
        await engine.apply("nobody", Complete())


async def test_a_canned_deferral_changes_nothing(engine):
    await engine.start("order", id="a")
    assert (await engine.apply("a", Defer(retry_after="1s"))).revision == 1


async def test_advance_does_what_is_due_and_tells_the_status(store):
    clock = FakeClock()
    async with an_engine(store=store, clock=clock) as engine:
        await engine.start("order", id="a")
        await engine.apply("a", Sleep(duration="10s"))
        assert await engine.advance("a") == Status.SLEEPING
        clock.jump(timedelta(seconds=10))
        assert await engine.advance("a") == Status.RUNNING
        with pytest.raises(UnknownInstanceError):
            await engine.advance("nobody")


async def test_cancel_and_resume_tell_what_cannot_be(engine):
    await engine.start("order", id="a")
    with pytest.raises(InstanceNotBlockedError):
        await engine.resume("a")
    await engine.cancel("a")
    await engine.cancel("a")
    await engine.start("order", id="b")
    await engine.apply("b", Complete())
    with pytest.raises(InstanceFinishedError):
        await engine.cancel("b")


@pytest.mark.parametrize("limit", [0, 201, -1])
async def test_a_page_has_from_1_to_200_instances(engine, limit):
    with pytest.raises(InvalidInputError, match=f"limit: must be from 1 to 200, not {limit}"):
        await engine.list(limit=limit)


async def test_a_history_is_read_as_it_is_stored(engine, store):
    await engine.start("order", id="a")
    await engine.apply("a", Complete())
    kinds = [type(transition).__name__ for transition in await engine.history("a")]
    assert kinds == ["InstanceStarted", "RunStarted", "InstanceCompleted"]
    with pytest.raises(UnknownInstanceError):
        await engine.history("nobody")
    store.unreadable = {"a"}
    with pytest.raises(CorruptDatabaseError):
        await engine.history("a")


async def test_saved_definitions_come_back_with_the_store_and_those_in_code_win(store):
    async with an_engine(store=store) as engine:
        await engine.save_definition(WorkflowDefinition("extra", max_retries=7))
        await engine.save_definition(WorkflowDefinition("order", max_retries=7))
        await engine.start("extra", id="a")
    async with an_engine(store=store) as engine:
        found = {definition.name: definition.max_retries for definition in await engine.definitions()}
        assert found == {"extra": 7, "order": 2, "refund": 3}
        assert (await engine.get("a")).max_retries == 7


async def test_outside_its_lifetime_every_call_says_that_it_is_not_running(store):
    engine = an_engine(store=store)
    calls = [
        lambda: engine.start("order"),
        lambda: engine.get("a"),
        engine.list,
        lambda: engine.history("a"),
        lambda: engine.send_event("a", "paid"),
        lambda: engine.cancel("a"),
        lambda: engine.resume("a"),
        lambda: engine.advance("a"),
        lambda: engine.apply("a", Complete()),
        lambda: engine.delete("a"),
        lambda: engine.wait("a"),
        engine.definitions,
        lambda: engine.save_definition(WorkflowDefinition("x")),
    ]
    for _ in range(2):
        assert not engine.is_running
        for call in calls:
            with pytest.raises(EngineNotRunningError, match="the engine is not running"):
                await call()
        async with engine:
            assert engine.is_running


async def test_a_change_whose_caller_goes_away_is_made_all_the_same(engine):
    await engine.start("order", id="a")
    sending = asyncio.create_task(engine.send_event("a", "paid", 1))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await settled()
    assert len((await engine.get("a")).inbox) == 1
    await engine.send_event("a", "paid", 2)
    assert (await engine.get("a")).revision == 3


async def test_what_a_change_says_whose_caller_has_gone_is_no_fault(engine, store, caplog):
    store.hold()
    cancelling = asyncio.create_task(engine.cancel("unknown"))
    await settled()
    cancelling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelling
    store.release()
    await settled()
    gc.collect()
    assert not caplog.messages


async def test_an_exit_that_is_cut_short_returns_when_the_engine_has_let_go_of_everything(store):
    engine = an_engine(store=store)
    await engine.__aenter__()
    await engine.start("order", id="a")
    store.is_writing.clear()
    cancelling = asyncio.create_task(engine.cancel("a"))
    await settled()
    leaving = asyncio.create_task(engine.__aexit__(None, None, None))
    await settled()
    for _ in range(2):
        leaving.cancel()
        await settled()
        assert not leaving.done(), "the cancel is still being committed"
    store.is_writing.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await cancelling
    async with engine:
        assert (await engine.get("a")).status is Status.CANCELLED


async def test_changes_in_progress_are_committed_before_the_store_is_closed(store):
    engine = an_engine(store=store)
    async with engine:
        await engine.start("order", id="a")
        store.hold()
        engine._engine._live.clear()
        calls = [
            asyncio.create_task(engine.send_event("a", "paid", 1)),
            asyncio.create_task(engine.cancel("a")),
        ]
        await settled()
        asyncio.get_running_loop().call_later(0.01, store.release)
    await asyncio.gather(*calls)
    async with an_engine(store=store) as engine:
        instance = await engine.get("a")
        assert (instance.status, len(instance.inbox)) == (Status.CANCELLED, 1)


async def test_a_deletion_in_progress_ends_before_the_store_is_closed(store):
    engine = an_engine(store=store)
    async with engine:
        await engine.start("order", id="a")
        await engine.cancel("a")
        store.hold()
        engine._engine._live.clear()
        deleting = asyncio.create_task(engine.delete("a"))
        await settled()
        asyncio.get_running_loop().call_later(0.01, store.release)
    await deleting


async def test_those_who_wait_are_told_when_the_engine_closes(store):
    engine = an_engine(store=store)
    async with engine:
        await engine.start("order", id="a")
        waiting = asyncio.create_task(engine.wait("a"))
        await settled()
    with pytest.raises(EngineNotRunningError):
        await waiting


async def test_one_engine_can_be_opened_again_and_reads_what_has_changed_meanwhile(store):
    engine = an_engine(store=store)
    async with engine:
        await engine.start("order", id="a")
        await engine.get("a")
    async with an_engine(store=store) as other:
        await other.apply("a", StepComplete(step_name="one"))
    async with engine:
        assert [record.name for record in (await engine.get("a")).steps] == ["one"]
        await engine.apply("a", Complete())


async def test_an_engine_whose_store_does_not_open_holds_nothing_and_can_be_tried_again(store):
    opening, trouble = store.open, CorruptDatabaseError("not a database")

    async def refuse():
        raise trouble

    store.open = refuse
    engine = an_engine(store=store)
    with pytest.raises(CorruptDatabaseError):
        async with engine:
            pytest.fail("it opened")
    assert not engine.is_running
    store.open = opening
    async with engine:
        await engine.start("order", id="a")


async def test_a_start_that_cannot_be_stored_is_not_acknowledged_and_can_be_repeated(store):
    async with an_engine(ScriptedRunner(script(Complete())), store=store) as engine:
        create = store.create

        async def refuse(instance):
            raise StorageFullError("the disk is full")

        store.create = refuse
        with pytest.raises(StorageFullError):
            await engine.start("order", id="a")
        store.create = create
        assert (await engine.start_or_find("order", id="a")).is_new
        await engine.wait("a")


@pytest.mark.parametrize(
    ("question", "trouble"),
    [
        ("next_due", ZeroDivisionError("a bug")),
        ("expired", ZeroDivisionError("a bug")),
        ("unannounced", ZeroDivisionError("a bug")),
    ],
)
async def test_a_part_that_stops_is_logged_and_starts_again_a_second_later_as_often_as_it_takes(
    store, caplog, question, trouble
):
    async def broken(**_):
        asked.append(question)
        raise trouble

    asked, clock, told = [], FakeClock(), []
    answer = getattr(store, question)
    setattr(store, question, broken)
    engine = an_engine(store=store, clock=clock)
    engine.on_finished(lambda instance: told.append(instance.id))
    async with engine:
        await settled()
        for times in (1, 2, 3):
            assert len(asked) == times
            clock.advance(0.9)
            await settled()
            assert len(asked) == times
            clock.advance(0.2)
            await settled()
        setattr(store, question, answer)
        await engine.start("order", id="a")
        await engine.apply("a", Sleep(duration="5s"))
        await engine.start("order", id="b")
        await engine.cancel("b")
        for _ in range(60):
            clock.advance(0.1)
            await settled()
        assert (await engine.get("a")).status is Status.RUNNING
        assert told == ["b"]
    assert str(trouble) in caplog.text


async def test_what_finishes_while_announcements_are_stopped_is_told_once_when_they_start_again(store):
    async def broken(*, limit):
        raise StoreError("gone")

    clock, told, unannounced = FakeClock(), [], store.unannounced
    store.unannounced = broken
    engine = an_engine(store=store, clock=clock)
    engine.on_finished(lambda instance: told.append(instance.id))
    async with engine:
        await settled()
        await engine.start("order", id="a")
        await engine.cancel("a")
        store.unannounced = unannounced
        clock.advance(1)
        await settled()
    assert told == ["a"]


async def test_two_engines_in_one_process_know_nothing_of_each_other():
    async with an_engine(store=TroubledStore()) as one, an_engine(store=TroubledStore()) as two:
        await one.start("order", id="a")
        await two.start("order", id="a")
        await one.apply("a", Complete())
        assert (await two.get("a")).status is Status.PENDING


async def test_an_instance_keeps_the_terms_of_the_definition_that_it_was_started_with(store):
    clock = FakeClock()
    async with an_engine(store=store, clock=clock) as engine:
        await engine.start("order", id="a")
        engine.register(WorkflowDefinition("order", max_retries=0))
        await engine.start("order", id="b")
        assert (await engine.apply("a", Fail(step_name="x"))).status is Status.RUNNING
        assert (await engine.apply("b", Fail(step_name="x"))).status is Status.FAILED


async def test_nothing_is_kept_of_instances_that_nobody_uses():
    async with an_engine(
        ScriptedRunner(lambda _: Complete()), store=TroubledStore(), settings=EngineSettings(max_live_instances=10)
    ) as engine:
        ids = [await engine.start("order") for _ in range(100)]
        await asyncio.gather(*map(engine.wait, ids))
        await engine.get(ids[0])
        gc.collect()
        assert len(engine._engine._live) <= 10
