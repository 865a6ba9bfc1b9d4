"""What every `OutboxStore` does: `StoreContract`'s implementations subclass this one too."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import (
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceFailed,
    InstanceResumed,
)
from pylon_workflows.errors import CorruptDatabaseError, StoreError
from pylon_workflows.notices import LONGEST_BACKOFF, NOTICED, GivenUp, Notice, Subscription
from pylon_workflows.ports import PARKED, InstanceSummary, Store
from tests.contracts.store_contract import RUN_STARTED, after, at, new_instance, succeeded

ALL = Subscription(key="all", statuses=frozenset(NOTICED))
BLOCKED = Subscription(key="blocked", statuses=frozenset({Status.BLOCKED}), workflows=frozenset({"refund", "a 'b'"}))
COMPLETED = InstanceCompleted(at=at(9), output_json=b'"done"')
FAILED = InstanceFailed(at=at(9), error="boom")
TOO_LARGE = InstanceBlocked(at=at(9), reason="too large")


async def noticing(store: Store, *subscriptions: Subscription, second: float = 10) -> None:
    await store.close()
    store.outbox.write_for(subscriptions, lambda: at(second))
    await store.open()


async def kept(store: Store, receiver: str = "all", *, second: float = 10, limit: int = 100) -> Sequence[Notice]:
    return await store.outbox.due(receiver, now=at(second), limit=limit)


class OutboxStoreContract:
    """Uses the fixture `store` and the methods of `StoreContract`."""

    async def test_without_receivers_nothing_is_written(self, store):
        await self.stored(store, new_instance(), RUN_STARTED, COMPLETED)
        assert await store.outbox.receivers() == []

    @pytest.mark.parametrize(
        ("last", "status"),
        [
            (COMPLETED, Status.COMPLETED),
            (FAILED, Status.FAILED),
            (InstanceCancelled(at=at(9)), Status.CANCELLED),
            (TOO_LARGE, Status.BLOCKED),
        ],
    )
    async def test_a_notice_is_the_instance_as_it_was_and_survives_a_restart(self, store, last, status):
        await noticing(store, ALL)
        origin = new_instance(parent_id="wf_0", tags_json='{"käufer":"a \'b\'"}'.encode(), version="2")
        instance = await self.stored(store, origin, RUN_STARTED, succeeded(1), last)
        (notice,) = await kept(store)
        summary = InstanceSummary.of(instance)
        assert notice == Notice.of(summary, key=notice.key, message_id=notice.message_id, at=at(10))
        assert (notice.status, notice.revision, notice.tags) == (status, 4, {"käufer": "a 'b'"})
        store = await self.reopen(store)
        assert await kept(store) == [notice]

    async def test_each_has_an_id_of_its_own(self, store):
        await noticing(store, ALL, Subscription(key="other", statuses=frozenset(NOTICED)))
        for number in range(20):
            await self.stored(store, new_instance(f"wf_{number}"), FAILED)
        ids = {notice.message_id for key in ("all", "other") for notice in await kept(store, key)}
        assert len(ids) == 40
        assert await store.outbox.receivers() == ["all", "other"]

    async def test_a_receiver_is_told_of_what_it_wants_alone(self, store):
        await noticing(store, BLOCKED)
        for name in ("order", "refund", "a 'b'"):
            await self.stored(store, new_instance(f"{name[0]}-blocked", name=name), RUN_STARTED, TOO_LARGE)
            await self.stored(store, new_instance(f"{name[0]}-failed", name=name), RUN_STARTED, FAILED)
        assert [notice.instance_id for notice in await kept(store, "blocked")] == ["r-blocked", "a-blocked"]
        assert await store.outbox.receivers() == ["blocked"]

    async def test_each_time_that_it_blocks_is_told(self, store):
        await noticing(store, ALL)
        instance = await self.stored(store, new_instance(), RUN_STARTED, TOO_LARGE)
        for transition in (InstanceResumed(at=at(11)), succeeded(1), InstanceBlocked(at=at(12), reason="again")):
            instance = after(instance, transition)
            await store.append(instance, [transition])
        assert [notice.blocked_reason for notice in await kept(store)] == ["too large", "again"]

    async def test_one_that_is_parked_is_told_once(self, store):
        await noticing(store, ALL)
        await self.stored(store, new_instance(), RUN_STARTED)
        for _ in range(2):
            await store.park("wf_1", f"{PARKED}no JSON")
        assert [(notice.status, notice.blocked_reason) for notice in await kept(store)] == [
            (Status.BLOCKED, f"{PARKED}no JSON")
        ]

    async def test_what_is_imported_or_mended_has_happened_before(self, store):
        await noticing(store, ALL)
        whole = after(new_instance(), RUN_STARTED, COMPLETED)
        await store.create(whole, later=[RUN_STARTED, COMPLETED])
        other = await self.stored(store, new_instance("wf_2"), RUN_STARTED)
        await store.park("wf_2", f"{PARKED}no JSON")
        await store.restore(other)
        assert [notice.instance_id for notice in await kept(store)] == ["wf_2"]
        await store.restore(whole)
        assert len(await kept(store)) == 1

    async def test_a_change_that_is_refused_is_not_told(self, store):
        await noticing(store, ALL)
        instance = await self.stored(store, new_instance(), RUN_STARTED)
        stale = after(instance, succeeded(1), FAILED)
        with pytest.raises(CorruptDatabaseError):
            await store.append(stale, [FAILED])
        assert await kept(store) == []

    async def test_deleting_the_instance_leaves_its_notice(self, store):
        await noticing(store, ALL)
        await self.stored(store, new_instance(), RUN_STARTED, COMPLETED)
        assert await store.delete(["wf_1"]) == 1
        assert [notice.instance_id for notice in await kept(store)] == ["wf_1"]

    async def test_what_is_delivered_is_forgotten(self, store):
        await noticing(store, ALL)
        for number in range(3):
            await self.stored(store, new_instance(f"wf_{number}"), FAILED)
        first, second, third = await kept(store)
        await asyncio.gather(store.outbox.delivered(first.key), store.outbox.delivered(third.key))
        assert await kept(store) == [second]
        await store.outbox.delivered(first.key)  # again

    async def test_what_failed_is_due_later_and_keeps_its_id(self, store):
        await noticing(store, ALL)
        await self.stored(store, new_instance(), FAILED)
        (first,) = await kept(store)
        await store.outbox.failed(first.key, next_at=at(15))
        assert await kept(store, second=14) == []
        (again,) = await kept(store, second=15)
        assert (again.message_id, again.attempts) == (first.message_id, 1)
        await store.outbox.delivered(first.key)
        await store.outbox.failed(first.key, next_at=at(15))  # nothing is there any more

    async def test_the_longest_due_come_first(self, store):
        await noticing(store, ALL)
        for number in range(4):
            await self.stored(store, new_instance(f"wf_{number}"), FAILED)
        first, second, *_ = await kept(store)
        await store.outbox.failed(first.key, next_at=at(20))
        await store.outbox.failed(second.key, next_at=at(15))
        found = [notice.instance_id for notice in await kept(store, second=30)]
        assert found == ["wf_2", "wf_3", "wf_1", "wf_0"]
        assert [notice.instance_id for notice in await kept(store, second=30, limit=2)] == ["wf_2", "wf_3"]

    async def test_a_clock_that_was_set_back_puts_nothing_off_for_long(self, store):
        await noticing(store, ALL)
        await self.stored(store, new_instance(), FAILED)
        (notice,) = await kept(store)
        await store.outbox.failed(notice.key, next_at=at(60))
        far = 60 - 3 * LONGEST_BACKOFF / timedelta(seconds=1)
        assert [each.key for each in await kept(store, second=far)] == [notice.key]
        assert await kept(store, second=59) == []

    async def test_what_is_old_is_given_up_and_told(self, store):
        await noticing(store, ALL, Subscription(key="other", statuses=frozenset(NOTICED)), second=10)
        for number in range(3):
            await self.stored(store, new_instance(f"wf_{number}"), FAILED)
        notices = await kept(store)
        expected = [GivenUp(notice.message_id, notice.instance_id) for notice in notices]
        assert await store.outbox.give_up("all", before=at(10), limit=2) == []
        assert await store.outbox.give_up("all", before=at(11), limit=2) == expected[:2]
        assert await store.outbox.give_up("all", before=at(11), limit=2) == expected[2:]
        assert (await kept(store), len(await kept(store, "other"))) == ([], 3)

    async def test_a_closed_store_has_no_outbox(self, store):
        await store.close()
        with pytest.raises(StoreError):
            await store.outbox.due("all", now=at(1), limit=1)
        with pytest.raises(StoreError):
            await store.outbox.delivered(1)
