"""A worker that does not own the file explains and follows instances as the owner does."""

import asyncio

import pytest
from owner import Mute, Owner, worker

from pylon_workflows import UnknownInstanceError
from pylon_workflows.explain.shapes import Reason
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Complete, StepComplete, WaitEvent


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


async def test_a_standby_asks_the_owner_why(path):
    async with Owner(path) as owner, worker(path) as standby:
        await standby.start("order", id="a")
        assert (await standby.explain("a")).reason is Reason.NO_RUNNER
        await owner.engine.apply("a", WaitEvent(event="paid", match={"n": 1}, correlation="k"))
        await standby.send_event("a", "payed", {"n": 1}, event_id="e")
        await standby.publish("paid", {"n": 1}, correlation="K")
        here, there = await owner.engine.explain("a"), await standby.explain("a")
        assert str(there) == str(here)
        assert (there.reason, there.status, there.near_misses[0].event) == (here.reason, here.status, "payed")
        assert there.other_keys.newest[0].correlation == here.other_keys.newest[0].correlation == "K"
        assert abs(there.since - here.since).total_seconds() < 0.001
        assert standby.unexplained_instances is None
        for nobody in ("nobody", "a/b?c"):
            with pytest.raises(UnknownInstanceError):
                await standby.explain(nobody)


async def test_an_owner_that_does_not_answer_is_told_as_that_and_the_file_as_far_as_it_goes(path):
    async with Owner(path, Mute("/explain")) as owner, worker(path, forward_timeout_s=0.2) as standby:
        await owner.engine.start_or_find("order", id="a")
        found = await standby.explain("a")
        assert (found.reason, found.summary) == (
            Reason.ELSEWHERE, "is driven by the process that owns the file, which does not answer",
        )  # fmt: skip
        await owner.engine.apply("a", WaitEvent(event="paid", correlation="k"))
        await owner.engine.publish("payed", correlation="k")
        found = await standby.explain("a")
        assert (found.reason, found.near_misses[0].event) == (Reason.EVENT, "payed")
        await owner.engine.publish("paid", correlation="K")
        found = await standby.explain("a")
        assert (found.other_keys.count, found.other_keys.newest[0].correlation) == (1, "K")


async def test_what_happens_at_the_owner_is_followed_in_the_file(path):
    async with Owner(path) as owner, worker(path) as standby:
        await standby.start("order", id="a")
        following = asyncio.create_task(standby.next_history("a", after=1, timeout_s=10))
        changing = asyncio.create_task(standby.next_changes(after=1, timeout_s=10))
        await asyncio.sleep(0)
        await owner.engine.apply("a", StepComplete(step_name="charge"))
        page = await asyncio.wait_for(following, 5)
        assert [type(each).__name__ for each in page.transitions] == ["RunStarted", "StepSucceeded"]
        changes = await asyncio.wait_for(changing, 5)
        assert [(each.id, each.revision) for each in changes.instances] == [("a", 3)]
        none = await standby.next_history("a", after=3, timeout_s=0.01)
        assert (none.transitions, none.revision) == ([], 3)
        now = await standby.next_changes(after=None, timeout_s=10)
        assert (now.after, await standby.next_changes(after=now.after, timeout_s=0.01)) == (3, now)


async def test_following_goes_on_when_the_owner_goes_and_the_standby_takes_its_place(path):
    async with Owner(path) as owner, worker(path) as standby:
        await standby.start("order", id="a")
        following = asyncio.create_task(standby.next_history("a", after=1, timeout_s=20))
        changing = asyncio.create_task(standby.next_changes(after=1, timeout_s=20))
        await asyncio.sleep(0)
        await owner.die()
        await wait_until(lambda: standby.role == "owner")
        await standby.apply("a", Complete(output=1))
        assert (await asyncio.wait_for(following, 5)).revision == 3
        assert [each.id for each in (await asyncio.wait_for(changing, 5)).instances] == ["a"]
        assert standby.unexplained_instances == 0


async def test_only_who_is_watched_is_looked_for(path):
    async with Owner(path) as owner, worker(path) as standby:
        await standby.start("order", id="a")
        await standby.start("order", id="b")
        behind = standby._access._access._standby
        reads = behind._reads
        pages, read = [], reads.history_page

        async def counted(instance_id, **options):
            pages.append(instance_id)
            return await read(instance_id, **options)

        reads.history_page = counted
        following = asyncio.create_task(standby.next_history("a", after=1, timeout_s=10))
        await wait_until(lambda: behind._revisions == {"a": 1})
        changes = await standby.next_changes(after=None, timeout_s=10)
        for number in range(5):
            await owner.engine.apply("b", StepComplete(step_name=f"s{number}"))
            changes = await standby.next_changes(after=changes.after, timeout_s=10)
            assert [each.id for each in changes.instances] == ["b"]
        assert len(pages) <= 2, "once by itself, and once when the watch begins"
        await owner.engine.apply("a", StepComplete(step_name="one"))
        await asyncio.wait_for(following, 5)
    await wait_until(lambda: behind._watching is None)
