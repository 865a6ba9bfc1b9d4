"""A worker that does not own the file does all that the owner does: it forwards, reads the file, and takes over."""

import asyncio
import errno
import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from owner import Mute, Owner, worker

from pylon_workflows import (
    DatabaseInUseError,
    EngineNotRunningError,
    InstanceNotBlockedError,
    InvalidInputError,
    NewerDatabaseError,
    NoOwnerError,
    OwnershipLostError,
    Status,
    StoreError,
    UnknownInstanceError,
    UnreadableInstanceError,
    WorkflowDefinition,
    WorkflowError,
    create_app,
)
from pylon_workflows.errors import DatabaseInUseHereError
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.store import migrations
from pylon_workflows.store.file_reads import SqliteFileReads
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Approval, Complete, Diverged, StepComplete
from runner_protocol.strict_json import MAX_DEPTH


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


def answer(key="charge"):
    return StepComplete(step_name=key, output=key)


async def test_a_standby_does_all_that_an_owner_does(path):
    async with Owner(path) as owner, worker(path) as standby:
        assert (standby.role, standby.is_running) == ("standby", True)
        started = await standby.start_or_find("order", {"n": 1}, id="order-1", idempotency_key="cart-1")
        again = await standby.start_or_find("order", {"n": 1}, id="order-1", idempotency_key="cart-1")
        assert (started.is_new, again.is_new) == (True, False)
        assert (await standby.send_event("order-1", "paid", {"by": "card"}, event_id="e")).is_duplicate is False
        assert (await standby.send_event("order-1", "paid", {"by": "card"}, event_id="e")).is_duplicate is True
        waiting = asyncio.create_task(standby.result("order-1"))
        applied = await standby.apply("order-1", answer())
        assert [record.key for record in applied.records] == ["charge"]
        assert await standby.advance("order-1") is Status.RUNNING
        assert standby.waiting_for_runner(await standby.get("order-1")) is None
        await standby.apply("order-1", Diverged(position=0, expected="charge", got="mail"))
        assert await standby.resume("order-1") is Status.RUNNING
        await standby.apply("order-1", Approval(name="ship"))
        key = "approval:ship"
        assert not (await standby.approve("order-1", key, by="al", comment="go", data=1)).is_duplicate
        assert (await standby.approve("order-1", key)).is_duplicate
        assert (await standby.get("order-1")).steps[-1].output["by"] == "al"
        await standby.apply("order-1", Approval(name="pay #2/3?"))
        assert not (await standby.reject("order-1", "approval:pay #2/3?")).is_duplicate
        await standby.apply("order-1", Complete(output=7))
        assert await asyncio.wait_for(waiting, 10) == 7
        assert type((await standby.history("order-1"))[0]).__name__ == "InstanceStarted"
        assert [type(each).__name__ for each in await standby.history("order-1", after=1, limit=1)] == ["EventReceived"]
        assert (await standby.get("order-1", as_of=1)).status is Status.PENDING
        soon = datetime.now(UTC) + timedelta(days=1, microseconds=7)
        other = await standby.start("order", tags={"a": "ü"}, at=soon, parent_id="order-1")
        for engine in (owner.engine, standby):
            started = await engine.get(other)
            assert (started.due_at, started.tags, started.parent_id) == (soon, {"a": "ü"}, "order-1")
            where = {"tags": {"a": "ü"}, "parent_id": "order-1", "started_after": started.created_at}
            assert [found.id for found in await engine.list(**where)] == [other]
        await standby.cancel(other)
        assert [summary.id for summary in await standby.list()] == [other, "order-1"]
        await standby.delete("order-1")
        with pytest.raises(UnknownInstanceError):
            await standby.get("order-1")


async def test_a_definition_is_kept_with_all_its_terms(path):
    definition = WorkflowDefinition(
        "mail", version="2", description="d", max_retries=7, step_timeout=timedelta(microseconds=1_500_001),
        initial_backoff=timedelta(milliseconds=5), maximum_backoff=timedelta(days=3),
    )  # fmt: skip
    async with Owner(path) as owner, worker(path) as standby:
        await standby.save_definition(definition)
        assert definition in await owner.engine.definitions()
        assert [known.name for known in await standby.definitions()] == ["mail", "order"]
        assert await standby.start("mail")


async def test_what_is_as_deep_as_may_be_is_taken_and_told_so(path):
    deep = {}
    for _ in range(MAX_DEPTH - 1):
        deep = {"a": deep}
    async with Owner(path) as owner, worker(path, forward_timeout_s=2) as standby:
        assert json.loads((await standby.schedule("0 0 1 1 *", "order", deep, id="s")).input_json) == deep
        definition = WorkflowDefinition("mail", input_schema=deep)
        await standby.save_definition(definition)
        assert definition in await owner.engine.definitions()


async def test_a_definition_that_cannot_be_sent_is_refused(path):
    async with Owner(path), worker(path) as standby:
        with pytest.raises(InvalidInputError, match=r"definition: .* lone surrogate"):
            await standby.save_definition(WorkflowDefinition("mail", description="\ud800"))


async def test_changes_of_many_are_forwarded_a_page_at_a_time(path):
    async with Owner(path) as owner, worker(path) as standby:
        for number in range(5):
            await owner.engine.start_or_find("order", id=f"o{number}", tags={"n": "ü"})
        await owner.engine.apply("o0", Diverged(position=0, expected="charge", got="mail"))
        assert (await standby.resume_many(tags={"n": "ü"}, statuses=[Status.BLOCKED])).count == 1
        soon = datetime.now(UTC) + timedelta(days=1)
        terms = {"tags": {"n": "ü"}, "started_before": soon, "name": "order", "parent_id": None, "limit": 3}
        first = await standby.cancel_many(**terms)
        rest = await standby.cancel_many(**terms, after=first.after)
        assert (first.count, first.after, rest.count, rest.after) == (3, "o2", 2, None)
        assert {found.status for found in await standby.list()} == {Status.CANCELLED}


REFUSED = {
    "unknown workflow": lambda engine: engine.start_or_find("mail"),
    "input that is no JSON": lambda engine: engine.start_or_find("order", {"n": float("nan")}),
    "input too large": lambda engine: engine.start_or_find("order", "x" * 1024 * 1024),
    "input too deep": lambda engine: engine.start_or_find("order", eval("[" * 65 + "]" * 65)),
    "id of other characters": lambda engine: engine.start_or_find("order", id="a/b"),
    "reserved id": lambda engine: engine.start_or_find("order", id="start"),
    "key too long": lambda engine: engine.start_or_find("order", idempotency_key="x" * 129),
    "tag that is no text": lambda engine: engine.start_or_find("order", tags={"a": 1}),
    "delay and time": lambda engine: engine.start_or_find("order", delay=1, at=datetime.now(UTC)),
    "time without a zone": lambda engine: engine.start_or_find("order", at=datetime(2026, 1, 1)),  # noqa: DTZ001
    "delay too long": lambda engine: engine.start_or_find("order", delay="101000w"),
    "parent that is no id": lambda engine: engine.start_or_find("order", parent_id="a/b"),
    "id with another input": lambda engine: engine.start_or_find("order", {"n": 2}, id="there"),
    "event for nobody": lambda engine: engine.send_event("nobody", "paid"),
    "event for an id that none can have": lambda engine: engine.send_event("a/b?c", "paid"),
    "event too large": lambda engine: engine.send_event("there", "paid", "x" * 1024 * 256),
    "event without a name": lambda engine: engine.send_event("there", ""),
    "event id too long": lambda engine: engine.send_event("there", "paid", event_id="x" * 129),
    "event for a finished one": lambda engine: engine.send_event("done", "paid"),
    "cancel of a finished one": lambda engine: engine.cancel("done"),
    "resume of one that is not blocked": lambda engine: engine.resume("there"),
    "decision of nobody": lambda engine: engine.approve("nobody", "approval:ship"),
    "decision about no gate": lambda engine: engine.reject("there", "approval:ship #2/3?"),
    "decision by nobody": lambda engine: engine.approve("there", "approval:ship", by=""),
    "decision with a long comment": lambda engine: engine.approve("there", "approval:ship", comment="x" * 10_001),
    "decision with too much data": lambda engine: engine.approve("there", "approval:ship", data="x" * 1024 * 256),
    "advance of nobody": lambda engine: engine.advance("nobody"),
    "delete of a live one": lambda engine: engine.delete("there"),
    "answer for a finished one": lambda engine: engine.apply("done", Complete()),
    "cancel of nothing said": lambda engine: engine.cancel_many(),
    "resume of running ones": lambda engine: engine.resume_many(statuses=[Status.RUNNING]),
    "cancel of far too many": lambda engine: engine.cancel_many(name="order", limit=10**30),
    "cancel of one and a half": lambda engine: engine.cancel_many(name="order", limit=1.5),
    "cancel of a name that is none": lambda engine: engine.cancel_many(name="\ud800"),
    "page of no number": lambda engine: engine.list(limit=1.5),
    "page too long": lambda engine: engine.list(limit=201),
    "page of a history of nobody": lambda engine: engine.history_page("nobody"),
    "page of a history that is too long": lambda engine: engine.history_page("there", limit=1001),
    "revision that is none": lambda engine: engine.history_page("there", after=-1),
    "revision that is not yet": lambda engine: engine.get("there", as_of=99),
    "history of nobody": lambda engine: engine.history("nobody"),
    "name that is no text": lambda engine: engine.start_or_find(None),
    "option that there is not": lambda engine: engine.start_or_find("order", key="k"),
    "id that is no text": lambda engine: engine.get(None),
    "cancel of an id that is no text": lambda engine: engine.cancel(5),
    "schedule's id that is no text": lambda engine: engine.get_schedule(5),
    "definition that is none": lambda engine: engine.save_definition("order"),
    "filter that there is not": lambda engine: engine.list(status="blocked"),
    "cancel of a filter that there is not": lambda engine: engine.cancel_many(status="blocked", name="order"),
    "one status in place of several": lambda engine: engine.cancel_many(statuses="blocked"),
    "no status in place of several": lambda engine: engine.cancel_many(statuses=None, name="order"),
    "page that is no number": lambda engine: engine.list(limit="5"),
    "page of many that is no number": lambda engine: engine.cancel_many(name="order", limit="5"),
    "page of a history that is no number": lambda engine: engine.history_page("there", limit="5"),
    "revision that is no number": lambda engine: engine.history_page("there", after="5"),
    "revision to be shown that is no number": lambda engine: engine.get("there", as_of="5"),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_is_refused_with_the_owners_error_and_sentence(path, call):
    async with Owner(path) as owner, worker(path) as standby:
        await owner.engine.start_or_find("order", {"n": 1}, id="there")
        await owner.engine.start_or_find("order", id="done")
        await owner.engine.apply("done", Complete())
        with pytest.raises(Exception) as here:
            await call(owner.engine)
        assert isinstance(here.value, WorkflowError) or "; there are " in str(here.value)
        with pytest.raises(type(here.value)) as there:
            await call(standby)
        assert type(there.value) is type(here.value)
        assert str(there.value) == str(here.value)


async def test_the_largest_input_and_event_fit_through_the_link(path):
    async with Owner(path), worker(path) as standby:
        instance_id = await standby.start("order", "x" * (1024 * 1024 - 2))
        await standby.send_event(instance_id, "paid", "x" * (256 * 1024 - 2))
        assert len((await standby.get(instance_id)).origin.input_json) == 1024 * 1024


class TestAnOwnerThatDiesAfterTheCommitAndBeforeItsAnswer:
    """This process takes over and asks again: what was done must be found, not done twice."""

    @staticmethod
    async def asked_twice(path, mute, call, prepare=None):
        owner = Owner(path, mute)
        async with owner, worker(path) as standby:
            if prepare is not None:
                await prepare(owner.engine)
            calling = asyncio.create_task(call(standby))
            await asyncio.wait_for(mute.has_done.wait(), 10)
            await owner.die()
            try:
                answered = await asyncio.wait_for(calling, 10)
            finally:
                await wait_until(lambda: standby.role == "owner")
                instances = await standby.list()
                histories = {one.id: await standby.history(one.id) for one in instances}
            return answered, histories

    async def test_a_start_without_an_id_starts_one_instance_and_it_is_new(self, path):
        started, histories = await self.asked_twice(
            path, Mute("/start"), lambda standby: standby.start_or_find("order")
        )
        assert list(histories) == [started.id]
        assert started.is_new

    async def test_a_start_with_a_key_keeps_it(self, path):
        async def call(standby):
            return await standby.start("order", idempotency_key="cart-1")

        started, histories = await self.asked_twice(path, Mute("/start"), call)
        assert [history[0].idempotency_key for history in histories.values()] == ["cart-1"]
        assert list(histories) == [started]

    async def test_an_event_without_an_id_is_delivered_once_and_is_no_duplicate(self, path):
        receipt, histories = await self.asked_twice(
            path,
            Mute("/event"),
            lambda standby: standby.send_event("order-1", "paid"),
            lambda engine: engine.start_or_find("order", id="order-1"),
        )
        assert [type(entry).__name__ for entry in histories["order-1"]] == ["InstanceStarted", "EventReceived"]
        assert not receipt.is_duplicate

    async def test_a_resume_that_finds_its_work_done_has_done_it(self, path):
        async def prepare(engine):
            await engine.start_or_find("order", id="order-1")
            await engine.apply("order-1", Diverged(position=0, expected="charge", got="mail"))

        status, _ = await self.asked_twice(path, Mute("/resume"), lambda standby: standby.resume("order-1"), prepare)
        assert status is Status.RUNNING

    async def test_a_delete_that_finds_its_work_done_has_done_it(self, path):
        async def prepare(engine):
            await engine.start_or_find("order", id="order-1")
            await engine.apply("order-1", Complete())

        _, histories = await self.asked_twice(
            path, Mute("/order-1"), lambda standby: standby.delete("order-1"), prepare
        )
        assert histories == {}

    async def test_an_answer_that_is_applied_is_not_applied_again_and_nobody_claims_to_know(self, path):
        mute = Mute("/apply")
        owner = Owner(path, mute)
        async with owner, worker(path) as standby:
            await owner.engine.start_or_find("order", id="order-1")
            applying = asyncio.create_task(standby.apply("order-1", answer()))
            await asyncio.wait_for(mute.has_done.wait(), 10)
            await owner.die()
            with pytest.raises(NoOwnerError, match="whether it was done, the instance shows"):
                await applying
            assert len((await standby.get("order-1")).records) == 1


async def test_calls_that_find_no_owner_wait_for_this_process_to_become_it(path):
    owner = Owner(path)
    async with owner, worker(path) as standby:
        await owner.engine.start_or_find("order", id="order-1")
        waiting = asyncio.create_task(standby.wait("order-1"))
        await asyncio.sleep(0)
        await owner.die()
        calls = [asyncio.create_task(standby.start("order")) for _ in range(20)]
        calls.append(asyncio.create_task(standby.get("order-1")))
        await asyncio.wait_for(asyncio.gather(*calls), 10)
        assert standby.role == "owner"
        assert len(await standby.list()) == 21
        await standby.apply("order-1", Complete(output=1))
        assert (await asyncio.wait_for(waiting, 10)).output == 1


async def test_while_the_owner_drains_a_change_is_tried_until_it_has_gone(path):
    owner = Owner(path)
    async with owner, worker(path) as standby:
        await owner.engine.close()  # its socket still answers: 503
        starting = asyncio.create_task(standby.start("order"))
        done, _ = await asyncio.wait([starting], timeout=0.2)
        assert not done
        await owner.die()
        assert (await standby.get(await asyncio.wait_for(starting, 10))).status is Status.PENDING


async def test_without_an_owner_a_change_is_given_up_by_the_deadline_and_told_as_503(path):
    owner = Owner(path)
    async with owner, worker(path, forward_timeout_s=0.2) as standby:
        await owner.engine.start_or_find("order", id="order-1")
        await owner.engine.close()
        with pytest.raises(NoOwnerError, match="the engine is not running"):
            await standby.start("order")
        transport = httpx.ASGITransport(create_app(standby))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            refused = await client.post("/start", json={"name": "order"})
            assert (refused.status_code, refused.json()["code"]) == (503, "no-owner")
            assert refused.headers["retry-after"] == "1"
            assert str(path) not in refused.text
            assert (await client.get("/healthz")).json()["role"] == "standby"
            assert (await client.get("/order-1")).status_code == 200


async def test_a_wait_runs_out_in_time_on_a_standby_too(path):
    async with Owner(path) as owner, worker(path) as standby:
        await owner.engine.start_or_find("order", id="order-1")
        with pytest.raises(TimeoutError, match=r"order-1 has not finished within 0\.1 s"):
            await standby.wait("order-1", 0.1)


class NotedRunner:
    """Notes when it is entered and left."""

    def __init__(self):
        self.log = []

    async def __aenter__(self):
        self.log.append("opened")

    async def __aexit__(self, *_):
        self.log.append("closed")

    async def take_turn(self, turn, apply):
        await apply([Complete(output="driven")])


async def test_a_standby_drives_nothing_and_opens_its_runner_when_it_takes_over(path):
    runner = NotedRunner()
    owner = Owner(path)
    async with owner, worker(path, runner=runner) as standby:
        instance_id = await standby.start("order")
        assert runner.log == []
        await owner.die()
        assert await asyncio.wait_for(standby.result(instance_id), 10) == "driven"
        assert runner.log == ["opened"]
    assert runner.log == ["opened", "closed"]


async def test_a_takeover_that_fails_is_tried_again_and_the_lock_is_left_to_others_meanwhile(path, monkeypatch):
    owner = Owner(path)
    monkeypatch.setattr("pylon_workflows.ownership.worker.FAILED_TAKEOVER_PAUSE_S", 0.05)
    async with owner, worker(path) as standby:
        opening, failures = standby._engine.open, []

        async def fail_twice():
            if len(failures) < 2:
                failures.append(standby.role)
                raise OSError("no memory")
            await opening()

        monkeypatch.setattr(standby._engine, "open", fail_twice)
        await owner.die()
        await asyncio.wait_for(standby.start("order"), 10)
        assert failures == ["standby", "standby"]


async def test_without_its_lock_file_an_owner_stands_by_and_comes_back_when_nobody_else_has_it(path, caplog):
    async with worker(path) as engine:
        instance_id = await engine.start("order")
        path.with_name("orders.db.lock").unlink()
        await wait_until(lambda: "goes on as a standby" in caplog.text)
        await wait_until(lambda: engine.role == "owner")
        assert (await engine.get(instance_id)).id == instance_id
        await engine.start("order")


async def test_an_owner_whose_lock_file_another_has_replaced_forwards_to_it(path):
    async with worker(path) as former:
        path.with_name("orders.db.lock").unlink()
        async with Owner(path):
            await wait_until(lambda: former.role == "standby")
            instance_id = await former.start("order")
            assert (await former.get(instance_id)).id == instance_id
        await wait_until(lambda: former.role == "owner")


async def test_a_standby_whose_file_is_replaced_stops_and_does_not_begin_an_empty_one(path):
    async with Owner(path), worker(path) as standby:
        new = path.with_name("new.db")
        new.write_bytes(path.read_bytes())
        new.replace(path)
        assert isinstance(await asyncio.wait_for(standby.until_failed(), 10), OwnershipLostError)
        with pytest.raises(OwnershipLostError, match="put it right"):
            await standby.start("order")
        assert not standby.is_running


async def test_a_standby_whose_file_was_removed_just_before_its_owner_died_begins_no_empty_one(path):
    """Between two looks of the standby: what it finds is a lock that is free, and no file (decision 0013)."""
    owner = Owner(path)
    async with owner, worker(path) as standby:
        path.unlink()
        owner.let_go_of_its_lock()
        await wait_until(lambda: standby.role == "owner" or standby.refusal is not None)
        with pytest.raises(OwnershipLostError, match="removed or replaced while this process stood by"):
            await standby.start("order")
        assert not path.exists()
        other = FileGuard(path)
        other.acquire()  # who has stopped is in nobody's way
        other.release()


async def test_a_second_engine_of_one_process_is_refused_beside_an_owner_and_beside_a_standby(path):
    async with worker(path):
        with pytest.raises(DatabaseInUseHereError, match="another engine in this process"):
            await worker(path).__aenter__()
    async with Owner(path), worker(path) as standby:
        for other in (worker(path), standby):
            with pytest.raises(DatabaseInUseError):
                await other.__aenter__()
        assert standby.is_running
    async with worker(path):
        pass


async def test_a_second_engine_is_refused_beside_a_standby_by_another_name_of_the_file_too(path, tmp_path):
    async with Owner(path), worker(path):
        (tmp_path / "second.db").hardlink_to(path)
        with pytest.raises(DatabaseInUseHereError, match=r"second\.db is in use by another engine in this process"):
            await worker(tmp_path / "second.db").__aenter__()


async def test_a_file_that_cannot_be_looked_at_is_not_taken_for_a_lost_one(path, monkeypatch):
    """A denied or failing look proves nothing: the standby stays, and reads on when it can."""
    async with Owner(path) as owner, worker(path) as standby:
        looks = []

        def refuse(file):
            looks.append(file)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        with monkeypatch.context() as denied:
            denied.setattr("pylon_workflows.ownership.standby.identity_of", refuse)
            await wait_until(lambda: len(looks) > 2)
        assert standby.is_running
        await owner.engine.start_or_find("order", id="order-1")
        assert (await standby.get("order-1")).id == "order-1"


async def test_a_file_that_a_newer_release_owns_is_refused(path, monkeypatch):
    known = migrations.migrations()
    async with Owner(path):
        monkeypatch.setattr(migrations, "migrations", lambda: known[:-1])
        with pytest.raises(NewerDatabaseError):
            await worker(path).__aenter__()


@pytest.mark.slow
async def test_beside_an_owner_of_an_older_release_starts_are_forwarded_and_reads_say_which_to_stop(path):
    known = len(migrations.migrations())
    async with Owner(path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {known - 1}")
        async with worker(path, forward_timeout_s=2) as standby:
            assert await standby.start("order", id="order-1") == "order-1"
            with pytest.raises(NoOwnerError) as told:
                await standby.list()
    older = f"orders.db is of an older release (schema {known - 1}, this release's is {known}): its owner "
    assert older in str(told.value)
    assert "stop it, and this process takes over" in str(told.value)


async def test_a_file_that_is_being_made_is_told_as_that(path):
    path.touch()
    with pytest.raises(StoreError, match=r"orders\.db is not ready: its owner is making it"):
        await SqliteFileReads(path).open()


async def test_a_standby_that_was_left_takes_no_calls_and_may_be_entered_again(path):
    async with Owner(path):
        standby = worker(path)
        async with standby:
            waiting = asyncio.create_task(standby.wait(await standby.start("order")))
            await asyncio.sleep(0.05)
        for call in (waiting, standby.start("order"), standby.list()):
            with pytest.raises(EngineNotRunningError):
                await call
        async with standby:
            assert len(await standby.list()) == 1


async def test_a_refusal_at_the_first_try_is_the_callers_to_hear(path):
    async with Owner(path) as owner, worker(path) as standby:
        await owner.engine.start_or_find("order", id="order-1")
        with pytest.raises(InstanceNotBlockedError):
            await standby.resume("order-1")


async def test_an_instance_that_cannot_be_read_is_shown_as_the_owner_shows_it(path):
    async with Owner(path) as owner, worker(path) as standby:
        await owner.engine.start_or_find("order", id="order-1")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE history SET body = '{}'")
        owner.engine._live.drop("order-1")
        there, here = await owner.engine.get("order-1"), await standby.get("order-1")
        assert here.status is Status.BLOCKED
        assert (here.blocked_reason, here.id, here.name) == (there.blocked_reason, there.id, there.name)
        with pytest.raises(UnreadableInstanceError):
            await standby.wait("order-1", 1)
