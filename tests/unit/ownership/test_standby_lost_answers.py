"""What a standby sends again, because the first answer was lost, is done once, and told as what it was."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from owner import Lossy, Mute, Owner, worker

from pylon_workflows import (
    ApprovalConflictError,
    InstanceFinishedError,
    NoOwnerError,
    Status,
    StorageFullError,
    WorkflowDefinition,
)
from pylon_workflows.core.transitions import ApprovalDecided, InstanceResumed
from pylon_workflows.store import migrations
from runner_protocol.messages import Approval, Complete, ContinueAsNew, Diverged

KEY = "approval:ship"
GATE = Approval(name="ship")
BLOCK = Diverged(position=0, expected="charge", got="mail")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


async def at_its_gate(engine):
    await engine.start_or_find("order", id="order-1")
    await engine.apply("order-1", GATE)


def decisions(history):
    return [(each.is_approved, each.by) for each in history if isinstance(each, ApprovalDecided)]


class TestADecision:
    @staticmethod
    async def decided(path, then, decide=lambda standby: standby.approve("order-1", KEY, by="ann")):
        """The receipt of a decision whose first answer is lost after `then`, and all decisions there are."""
        lossy = Lossy("/approvals/")
        async with Owner(path, lossy) as owner, worker(path) as standby:
            await at_its_gate(owner.engine)
            lossy.then = lambda: then(owner.engine)
            try:
                receipt = await decide(standby)
            finally:
                assert lossy.count == 2
            return receipt, decisions(await standby.history("order-1"))

    async def test_is_not_made_again_about_the_next_runs_gate(self, path):
        async def then(engine):
            await engine.apply("order-1", ContinueAsNew())
            await engine.apply("order-1", GATE)

        receipt, made = await self.decided(path, then)
        assert receipt.is_duplicate
        assert made == [(True, "ann")]

    async def test_a_rejection_neither(self, path):
        async def then(engine):
            await engine.apply("order-1", ContinueAsNew())
            await engine.apply("order-1", GATE)

        _, made = await self.decided(path, then, lambda standby: standby.reject("order-1", KEY, by="ann"))
        assert made == [(False, "ann")]

    async def test_counts_as_made_when_the_next_run_has_no_gate(self, path):
        receipt, made = await self.decided(path, lambda engine: engine.apply("order-1", ContinueAsNew()))
        assert receipt.is_duplicate
        assert made == [(True, "ann")]

    async def test_counts_as_made_in_the_same_run(self, path):
        receipt, made = await self.decided(path, lambda engine: engine.apply("order-1", Complete()))
        assert receipt.is_duplicate
        assert made == [(True, "ann")]

    async def test_is_not_made_about_another_instance_of_that_id_and_nobody_claims_to_know(self, path):
        async def then(engine):
            await engine.apply("order-1", Complete())
            await engine.delete("order-1")
            await at_its_gate(engine)

        with pytest.raises(NoOwnerError, match="whether it was done, nobody can tell"):
            await self.decided(path, then)
        async with worker(path) as engine:
            assert decisions(await engine.history("order-1")) == []

    async def test_nobody_claims_to_know_when_the_instance_is_gone(self, path):
        async def then(engine):
            await engine.apply("order-1", Complete())
            await engine.delete("order-1")

        with pytest.raises(NoOwnerError, match=r"no instance has the id 'order-1'; whether it was done, "):
            await self.decided(path, then)

    async def test_that_came_too_late_in_its_run_is_told_so_in_the_next(self, path):
        lossy = Lossy("/approvals/")
        async with Owner(path, lossy) as owner, worker(path) as standby:
            await at_its_gate(owner.engine)
            await owner.engine.reject("order-1", KEY, by="bob")

            async def then():
                await owner.engine.apply("order-1", ContinueAsNew())
                await owner.engine.apply("order-1", GATE)

            lossy.then = then
            with pytest.raises(
                ApprovalConflictError, match="the run in which 'approval:ship' was to be decided is over"
            ):
                await standby.approve("order-1", KEY, by="ann")
            assert decisions(await standby.history("order-1")) == [(False, "bob")]

    async def test_about_a_later_run_is_about_that_one(self, path):
        async with Owner(path) as owner, worker(path) as standby:
            await at_its_gate(owner.engine)
            await standby.approve("order-1", KEY, by="ann")
            await owner.engine.apply("order-1", ContinueAsNew())
            await owner.engine.apply("order-1", GATE)
            assert not (await standby.approve("order-1", KEY, by="bob")).is_duplicate
            assert decisions(await standby.history("order-1")) == [(True, "ann"), (True, "bob")]


class TestAResume:
    @staticmethod
    async def resumed(path, then):
        lossy = Lossy("/resume")
        async with Owner(path, lossy) as owner, worker(path) as standby:
            await owner.engine.start_or_find("order", id="order-1")
            await owner.engine.apply("order-1", BLOCK)
            lossy.then = lambda: then(owner.engine)
            status = await standby.resume("order-1")
            assert lossy.count == 2
            return status, sum(isinstance(each, InstanceResumed) for each in await standby.history("order-1"))

    async def test_does_not_resume_what_was_blocked_anew(self, path):
        assert await self.resumed(path, lambda engine: engine.apply("order-1", BLOCK)) == (Status.BLOCKED, 1)

    async def test_that_finds_its_work_done_has_done_it(self, path):
        assert await self.resumed(path, lambda engine: engine.apply("order-1", Complete())) == (Status.COMPLETED, 1)

    async def test_of_a_later_block_is_another_one(self, path):
        async with Owner(path) as owner, worker(path) as standby:
            await owner.engine.start_or_find("order", id="order-1")
            for _ in range(2):
                await owner.engine.apply("order-1", BLOCK)
                await owner.engine.send_event("order-1", "paid")
                assert await standby.resume("order-1") is Status.RUNNING


@pytest.mark.slow
async def test_beside_an_owner_of_an_older_release_a_decision_is_forwarded_once(path):
    """Of what that owner has, the standby can read nothing."""
    lossy = Lossy("/approvals/")
    async with Owner(path, lossy) as owner:
        await at_its_gate(owner.engine)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {len(migrations.migrations()) - 1}")
        async with worker(path, forward_timeout_s=2) as standby:
            with pytest.raises(NoOwnerError, match="whether it was done"):
                await standby.approve("order-1", KEY, by="ann")
            assert (await standby.approve("order-1", KEY, by="ann")).is_duplicate
        assert decisions(await owner.engine.history("order-1")) == [(True, "ann")]


class TestARefusalOfTheSecondTryThatSaysNothingOfTheFirst:
    """Nobody claims to know."""

    async def test_of_a_start_whose_workflow_the_next_owner_does_not_know(self, path):
        mute = Mute("/start")
        owner = Owner(path, mute)
        async with owner, worker(path) as standby:
            owner.engine._definitions.register(WorkflowDefinition("mail"))
            starting = asyncio.create_task(standby.start("mail", id="mail-1"))
            await asyncio.wait_for(mute.has_done.wait(), 10)
            await owner.die()
            with pytest.raises(
                NoOwnerError, match=r"no workflow is named 'mail'.*; whether it was done, the instance "
            ):
                await starting
            assert (await standby.get("mail-1")).id == "mail-1"

    async def test_of_an_event_whose_instance_was_deleted_since(self, path):
        lossy = Lossy("/event")
        async with Owner(path, lossy) as owner, worker(path) as standby:
            await owner.engine.start_or_find("order", id="order-1")

            async def then():
                await owner.engine.cancel("order-1")
                await owner.engine.delete("order-1")

            lossy.then = then
            with pytest.raises(NoOwnerError, match=r"no instance has the id 'order-1'; whether it was done, "):
                await standby.send_event("order-1", "paid")

    async def test_of_a_cancel_on_a_disk_that_has_filled_up(self, path, monkeypatch):
        lossy = Lossy("/cancel")
        async with Owner(path, lossy) as owner, worker(path) as standby:
            await owner.engine.start_or_find("order", id="order-1")

            async def fill():
                async def cancel(_):
                    raise StorageFullError("the disk is full")

                monkeypatch.setattr(owner.engine, "cancel", cancel)

            lossy.then = fill
            with pytest.raises(NoOwnerError, match="the disk is full; whether it was done, the instance shows"):
                await standby.cancel("order-1")
            assert (await standby.get("order-1")).status is Status.CANCELLED

    async def test_while_what_the_second_try_finds_does_count(self, path):
        lossy = Lossy("/event")
        async with Owner(path, lossy) as owner, worker(path) as standby:
            await owner.engine.start_or_find("order", id="order-1")
            await owner.engine.apply("order-1", Complete())
            with pytest.raises(InstanceFinishedError):
                await standby.send_event("order-1", "paid")
            assert lossy.count == 2


@pytest.mark.parametrize(("verb", "status"), [("cancel", Status.CANCELLED), ("resume", Status.RUNNING)])
class TestAChangeOfMany:
    @staticmethod
    async def five(engine):
        for number in range(5):
            await engine.start_or_find("order", id=f"o{number}")
            await engine.apply(f"o{number}", BLOCK)

    async def test_does_not_take_the_next_page_too_and_nobody_claims_to_know(self, path, verb, status):
        lossy = Lossy(f"/{verb}")
        async with Owner(path, lossy) as owner, worker(path) as standby:
            await self.five(owner.engine)
            with pytest.raises(NoOwnerError, match="whether it was done"):
                await getattr(standby, f"{verb}_many")(name="order", limit=2)
            assert lossy.count == 1
            assert len(await standby.list(statuses=[status])) == 2

    async def test_is_counted_again(self, path, verb, status):
        lossy = Lossy(f"/{verb}")
        async with Owner(path, lossy) as owner, worker(path) as standby:
            await self.five(owner.engine)
            assert (await getattr(standby, f"{verb}_many")(name="order", dry_run=True)).count == 5
            assert lossy.count == 2
            assert await standby.list(statuses=[status]) == []
