"""What every `ScheduleStore` does: `StoreContract`'s implementations subclass this one too."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from pylon_workflows.errors import StoreError
from pylon_workflows.ports import Store
from pylon_workflows.schedule import Schedule, Tick
from tests.contracts.store_contract import BEGINNING, at, new_instance

DAILY = Schedule(
    id="daily",
    cron="0 9 * * *",
    timezone="Europe/Berlin",
    name="order",
    input_json=b'{"kind":"s\xc3\xa4les","n":[1,2.5,null]}',
    missed="skip",
    tags={"team": "blue"},
    created_at=BEGINNING,
    next_at=at(100),
)


class ScheduleStoreContract:
    """Uses the fixture `store` and the method `reopen` of `StoreContract`."""

    async def test_a_schedule_comes_back_as_it_was_saved_also_after_a_restart(self, store: Store) -> None:
        paused = replace(DAILY, id="paused", is_paused=True, next_at=None, tags={}, missed="once")
        for schedule in (paused, DAILY):
            await store.schedules.save(schedule)
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert await store.schedules.all() == [DAILY, paused]
        assert [await store.schedules.get(each) for each in ("daily", "paused", "nobody")] == [DAILY, paused, None]

    async def test_saving_again_changes_the_terms_and_keeps_what_happened(self, store: Store) -> None:
        await store.schedules.save(DAILY)
        instance = new_instance()
        await store.schedules.tick(DAILY, Tick(at(100), at(200)), instance)
        changed = replace(
            DAILY, cron="* * * * *", timezone="UTC", name="refund", input_json=b"{}", missed="once", tags={},
            created_at=at(150), next_at=at(160), last_at=at(1), last_instance_id="wf_9",
        )  # fmt: skip
        await store.schedules.save(changed)
        assert await store.schedules.get("daily") == replace(
            changed, created_at=BEGINNING, last_at=at(100), last_instance_id="wf_1"
        )

    async def test_a_tick_moves_the_schedule_on_and_stores_its_instance(self, store: Store) -> None:
        await store.schedules.save(DAILY)
        instance = new_instance(idempotency_key="schedule:daily:1")
        assert await store.schedules.tick(DAILY, Tick(at(100), at(200)), instance) == "wf_1"
        moved = replace(DAILY, next_at=at(200), last_at=at(100), last_instance_id="wf_1")
        assert await store.schedules.get("daily") == moved
        assert (await store.histories(["wf_1"]))["wf_1"] == [instance.origin]
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert await store.schedules.get("daily") == moved
        assert await store.runnable("order", limit=9) == ["wf_1"]

    async def test_a_tick_without_an_instance_only_moves_the_schedule_on(self, store: Store) -> None:
        await store.schedules.save(DAILY)
        assert await store.schedules.tick(DAILY, Tick(None, at(200)), None) is None
        assert await store.schedules.get("daily") == replace(DAILY, next_at=at(200))

    async def test_the_last_tick_of_all_leaves_it_due_never(self, store: Store) -> None:
        await store.schedules.save(DAILY)
        assert await store.schedules.tick(DAILY, Tick(at(100), None), new_instance()) == "wf_1"
        assert (await store.schedules.get("daily")).next_at is None  # type: ignore[union-attr]
        assert await store.schedules.due(now=at(1000), limit=9) == []

    @pytest.mark.parametrize("change", ["moved", "paused", "removed"])
    async def test_a_tick_that_is_not_due_any_more_does_nothing(self, store: Store, change: str) -> None:
        await store.schedules.save(DAILY)
        match change:
            case "moved":
                await store.schedules.tick(DAILY, Tick(None, at(200)), None)
            case "paused":
                await store.schedules.save(replace(DAILY, is_paused=True, next_at=None))
            case _:
                assert await store.schedules.delete("daily")
        before = await store.schedules.all()
        assert await store.schedules.tick(DAILY, Tick(at(100), at(300)), new_instance()) is None
        assert await store.schedules.all() == before
        assert await store.summary("wf_1") is None

    async def test_of_a_hundred_ticks_at_once_that_are_the_same_one_counts(self, store: Store) -> None:
        await store.schedules.save(DAILY)
        instances = [new_instance(f"wf_{n}") for n in range(100)]
        found = await asyncio.gather(*(store.schedules.tick(DAILY, Tick(at(100), at(200)), each) for each in instances))
        assert [each for each in found if each is not None] == ["wf_0"]
        assert len(await store.list()) == 1

    async def test_a_tick_whose_key_is_taken_is_that_of_the_instance_that_has_it(self, store: Store) -> None:
        await store.schedules.save(DAILY)
        await store.create(new_instance("wf_1", idempotency_key="k"))
        other = new_instance("wf_2", idempotency_key="k")
        assert await store.schedules.tick(DAILY, Tick(at(100), at(200)), other) == "wf_1"
        assert await store.schedules.get("daily") == replace(
            DAILY, next_at=at(200), last_at=at(100), last_instance_id="wf_1"
        )
        assert await store.summary("wf_2") is None

    async def test_what_is_due_comes_the_longest_overdue_first_and_what_is_paused_never(self, store: Store) -> None:
        for name, seconds in (("c", 30), ("a", 20), ("b", 10), ("d", 20)):
            await store.schedules.save(replace(DAILY, id=name, next_at=at(seconds)))
        await store.schedules.save(replace(DAILY, id="paused", is_paused=True, next_at=None))
        assert await store.schedules.due(now=at(9.9), limit=9) == []
        assert await store.schedules.due(now=at(20), limit=9) == ["b", "a", "d"]
        assert await store.schedules.due(now=at(1000), limit=2) == ["b", "a"]
        assert [await store.schedules.next_due(after=at(s)) for s in (0, 10, 29.9, 30)] == [
            at(10), at(20), at(30), None,
        ]  # fmt: skip

    async def test_a_removed_one_is_gone_and_what_it_started_is_not(self, store: Store) -> None:
        await store.schedules.save(DAILY)
        await store.schedules.tick(DAILY, Tick(at(100), at(200)), new_instance())
        assert [await store.schedules.delete("daily") for _ in range(2)] == [True, False]
        assert await store.schedules.all() == []
        assert await store.schedules.next_due(after=BEGINNING - timedelta(days=9)) is None
        assert await store.summary("wf_1") is not None

    async def test_a_closed_store_refuses(self, store: Store) -> None:
        await store.close()
        for call in (store.schedules.all(), store.schedules.save(DAILY), store.schedules.due(now=at(1), limit=1)):
            with pytest.raises(StoreError):
                await call
