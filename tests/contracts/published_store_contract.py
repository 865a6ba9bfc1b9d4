"""What every `PublishedStore` does: `StoreContract`'s implementations subclass this one too."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import EventReceived, EventTaken, Transition, WaitStarted
from pylon_workflows.errors import CorruptDatabaseError, KeptEventsFullError, StoreError
from pylon_workflows.ports import Acceptance, Store
from pylon_workflows.published import Correlation, KeptUnder, PublishedEvent, StartTerms, WaitPlace
from tests.contracts.store_contract import BEGINNING, RUN_STARTED, after, at, new_instance

ORDER_7 = Correlation("order:7", "paid")
EVENT = PublishedEvent(
    source="shop",
    event_id="evt_1",
    correlation=ORDER_7,
    data_json='{"sum":1.5,"who":"Zoë"}'.encode(),
    start=None,
    received_at=at(1),
)
START = StartTerms(name="order", input_json=b'{"n":1}', id="order-7", tags={"team": "blue"})
FAR = at(10_000)


def event(event_id: str, **changes: Any) -> PublishedEvent:
    return replace(EVENT, event_id=event_id, **changes)


async def accept(store: Store, published: PublishedEvent, **terms: Any) -> Acceptance:
    terms = {"keep_until": FAR, "remember_until": FAR, "most": 100, **terms}
    return await store.published.accept(published, **terms)


async def key_of(store: Store, published: PublishedEvent, **terms: Any) -> int:
    key = (await accept(store, published, **terms)).key
    assert key is not None
    return key


async def waiting(
    store: Store,
    id: str,
    since: float,
    correlation: str | None = "order:7",
    event: str = "paid",
    match_json: bytes | None = None,
) -> Instance:
    """An instance that is stored, and waits since so many seconds."""
    instance = new_instance(id)
    await store.create(instance)
    wait = WaitStarted(
        at=at(since), event=event, key=f"event:{event}", due_at=None, correlation=correlation, match_json=match_json
    )
    instance = after(instance, RUN_STARTED, wait)
    await store.append(instance, [RUN_STARTED, wait])
    return instance


def given(instance: Instance) -> tuple[Instance, list[Transition]]:
    """What the event does to an instance that waits for it."""
    received = EventReceived(at=at(20), event="paid", event_id="x", data_json=b"{}")
    taken = EventTaken(
        at=at(20), source=instance.revision + 1, key="event:paid", position=0, started_at=instance.wait.started_at
    )  # type: ignore[union-attr]
    transitions: list[Transition] = [received, taken]
    return after(instance, *transitions), transitions


class PublishedStoreContract:
    """Uses the fixture `store` and the method `reopen` of `StoreContract`."""

    async def test_an_event_comes_back_as_it_was_accepted_also_after_a_restart(self, store: Store) -> None:
        plain, starting = await key_of(store, EVENT), await key_of(store, event("evt_2", start=START, source=""))
        assert plain < starting
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert await store.published.get(plain) == EVENT
        assert await store.published.get(starting) == event("evt_2", start=START, source="")
        assert await store.published.get(starting + 1) is None

    async def test_a_known_id_is_a_duplicate_also_when_its_event_is_claimed_and_in_another_source_it_is_new(
        self, store: Store
    ) -> None:
        key = await key_of(store, EVENT)
        other = replace(EVENT, data_json=b"2", correlation=Correlation("x", "y"))
        assert await accept(store, EVENT) == Acceptance(key, is_duplicate=True)
        assert await accept(store, other) == Acceptance(key, is_duplicate=True, first=ORDER_7)
        assert await store.published.get(key) == EVENT
        instance = await waiting(store, "wf_1", 5)
        assert await store.published.claim(key, *given(instance))
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert await accept(store, EVENT) == Acceptance(None, is_duplicate=True)
        for correlation in (Correlation("order:7", "sent"), Correlation("order:8", "paid")):
            other = replace(EVENT, correlation=correlation)
            assert await accept(store, other) == Acceptance(None, is_duplicate=True, first=ORDER_7)
        assert (await accept(store, replace(EVENT, source="bank"))).is_duplicate is False

    async def test_of_a_hundred_of_one_id_at_once_one_is_new(self, store: Store) -> None:
        found = await asyncio.gather(*(accept(store, EVENT) for _ in range(100)))
        assert [each.is_duplicate for each in found] == [False] + [True] * 99
        assert len({each.key for each in found}) == 1

    async def test_kept_events_are_found_by_correlation_the_oldest_first(self, store: Store) -> None:
        others = (Correlation("order:7", "sent"), Correlation("order:8", "paid"))
        keys = []
        for number in range(5):
            keys.append(await key_of(store, event(f"e{number}")))
            for each in others:
                await accept(store, event(f"e{number} {each}", correlation=each))
        assert await store.published.kept(ORDER_7, limit=9) == keys
        assert await store.published.kept(ORDER_7, limit=2) == keys[:2]
        assert await store.published.kept(ORDER_7, after=keys[1], limit=2) == keys[2:4]
        assert await store.published.kept(Correlation("order:9", "paid"), limit=9) == []
        sent = await store.published.kept(others[0], limit=9)
        assert await store.published.kept("order:7", limit=99) == sorted([*keys, *sent])
        assert await store.published.kept("order:7", after=keys[0], limit=2) == [sent[0], keys[1]]
        assert await store.published.kept("order:9", limit=9) == []

    async def test_kept_events_of_a_name_are_found_under_other_keys_the_newest_first(self, store: Store) -> None:
        keys = ("Order:7", "order:7", "order:7 ", "order:07", "gone", "order:8")
        for number, key in enumerate(keys):
            published = event(f"e{number}", correlation=Correlation(key, "paid"), received_at=at(number))
            taken = await key_of(store, published, keep_until=at(100 + number // 2))
            if key == "gone":
                await store.published.claim(taken, await waiting(store, "wf_1", 5, correlation="gone"), [])
        await accept(store, event("sent", correlation=Correlation("order:9", "sent")), keep_until=at(1))
        found = [
            KeptUnder("order:8", at(5)), KeptUnder("order:07", at(3)), KeptUnder("order:7 ", at(2)),
            KeptUnder("Order:7", at(0)),
        ]  # fmt: skip
        assert await store.published.kept_under_other_keys(ORDER_7, among=100) == found
        assert await store.published.kept_under_other_keys(ORDER_7, among=3) == found[:3]
        assert await store.published.kept_under_other_keys(Correlation("order:7", "lost"), among=100) == []

    async def test_beyond_the_limit_of_a_correlation_it_is_refused_and_a_known_id_is_not(self, store: Store) -> None:
        await accept(store, EVENT, most=2)
        await accept(store, event("evt_2"), most=2)
        with pytest.raises(KeptEventsFullError, match="2 events 'paid' of this correlation are kept already"):
            await accept(store, event("evt_3"), most=2)
        assert (await accept(store, EVENT, most=2)).is_duplicate
        assert not (
            await accept(store, event("evt_4", correlation=Correlation("order:8", "paid")), most=2)
        ).is_duplicate

    async def test_what_is_wrong_with_one_event_costs_no_other(self, store: Store) -> None:
        found = await asyncio.gather(
            *(accept(store, event(f"e{number}"), most=3) for number in range(6)), return_exceptions=True
        )
        assert [type(each) for each in found] == [Acceptance] * 3 + [KeptEventsFullError] * 3

    async def test_waits_are_found_the_oldest_wait_first_whoever_was_started_first(self, store: Store) -> None:
        await waiting(store, "late", 30)
        await waiting(store, "early", 10)
        await waiting(store, "alike", 10)
        await waiting(store, "other name", 5, event="sent")
        await waiting(store, "other key", 5, correlation="order:8")
        await waiting(store, "no key", 5, correlation=None)
        places = await store.published.waits(ORDER_7, limit=9)
        assert [place.instance_id for place in places] == ["early", "alike", "late"]
        assert places[0] == WaitPlace(at(10), places[0].key, "early")
        assert await store.published.waits(ORDER_7, after=places[0], limit=9) == places[1:]
        assert await store.published.waits(ORDER_7, after=places[0], limit=1) == places[1:2]
        assert await store.published.waits(ORDER_7, after=places[2], limit=9) == []

    async def test_waits_after_another_one_come_with_what_they_match(self, store: Store) -> None:
        for second, match in ((1, None), (2, b'{"n":2}'), (3, None), (4, b'{"n":4}')):
            await waiting(store, f"wf_{second}", second, match_json=match)
        first, *others = await store.published.waits(ORDER_7, limit=9)
        found = await store.published.waits(ORDER_7, after=first, limit=9)
        assert [place[:3] for place in found] == [place[:3] for place in others]
        assert [place.match_json for place in found] == [b'{"n":2}', None, b'{"n":4}']
        assert (await store.published.waits(ORDER_7, after=found[1], limit=9)) == found[2:]

    async def test_a_wait_that_is_over_or_parked_is_not_found(self, store: Store) -> None:
        instance = await waiting(store, "wf_1", 5)
        await waiting(store, "wf_2", 6)
        await store.append(*given(instance))
        await store.park("wf_2", "unreadable: x")
        assert await store.published.waits(ORDER_7, limit=9) == []

    async def test_a_claim_takes_the_event_and_changes_the_instance_together(self, store: Store) -> None:
        key = await key_of(store, EVENT)
        instance = await waiting(store, "wf_1", 5)
        changed, transitions = given(instance)
        assert await store.published.claim(key, changed, transitions) is True
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert await store.published.get(key) is None
        assert await store.published.kept(ORDER_7, limit=9) == []
        assert (await store.histories(["wf_1"]))["wf_1"][3:] == transitions  # type: ignore[index]
        assert (await store.summary("wf_1")).revision == changed.revision  # type: ignore[union-attr]

    async def test_an_event_is_claimed_once(self, store: Store) -> None:
        key = await key_of(store, EVENT)
        instances = [await waiting(store, f"wf_{number}", number) for number in range(20)]
        claims = [store.published.claim(key, *given(instance)) for instance in instances]
        assert await asyncio.gather(*claims) == [True] + [False] * 19
        left = await store.published.waits(ORDER_7, limit=99)
        assert [place.instance_id for place in left] == [f"wf_{number}" for number in range(1, 20)]

    async def test_a_claim_that_does_not_fit_the_instance_leaves_the_event_kept(self, store: Store) -> None:
        key, other = await key_of(store, EVENT), await key_of(store, event("evt_2"))
        instance = await waiting(store, "wf_1", 5)
        sound = await waiting(store, "wf_2", 6)
        changed, transitions = given(instance)
        wrong = store.published.claim(key, replace(changed, revision=changed.revision + 1), transitions)
        right = store.published.claim(other, *given(sound))
        with pytest.raises(CorruptDatabaseError, match="wf_1"):
            await wrong
        assert await right is True
        assert await store.published.get(key) == EVENT
        assert len(await store.published.waits(ORDER_7, limit=9)) == 1

    async def test_a_claim_without_transitions_spends_the_event_alone(self, store: Store) -> None:
        key = await key_of(store, EVENT)
        instance = await waiting(store, "wf_1", 5)
        assert [await store.published.claim(key, instance, []) for _ in range(2)] == [True, False]
        assert (await store.summary("wf_1")).revision == instance.revision  # type: ignore[union-attr]

    async def test_a_start_takes_the_event_and_stores_the_instance_together(self, store: Store) -> None:
        key = await key_of(store, event("evt_1", start=START))
        new = new_instance("order-7")
        assert await store.published.start(key, new) == "started"
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert await store.published.get(key) is None
        assert (await store.histories(["order-7"]))["order-7"] == [new.origin]
        assert await store.runnable("order", limit=9) == ["order-7"]
        assert await store.published.start(key, new_instance("order-8")) == "gone"
        assert await store.summary("order-8") is None

    async def test_an_event_starts_once(self, store: Store) -> None:
        key = await key_of(store, event("evt_1", start=START))
        starts = [store.published.start(key, new_instance(f"wf_{number}")) for number in range(20)]
        assert await asyncio.gather(*starts) == ["started"] + ["gone"] * 19
        assert len(await store.list()) == 1

    async def test_an_event_that_finds_the_id_taken_is_kept_and_starts_nothing_more(self, store: Store) -> None:
        await store.create(new_instance("order-7"))
        key = await key_of(store, event("evt_1", start=START))
        assert await store.published.start(key, new_instance("order-7", input_json=b"2")) == "taken"
        assert await store.published.get(key) == EVENT
        assert (await store.histories(["order-7"]))["order-7"] == [new_instance("order-7").origin]

    async def test_open_keys_are_those_that_something_may_come_of(self, store: Store) -> None:
        await accept(store, EVENT)
        await accept(store, event("evt_2", correlation=Correlation("order:8", "paid")))
        await accept(store, event("evt_3", correlation=Correlation("order:9", "new"), start=START))
        await accept(store, event("evt_4", correlation=Correlation("order:9", "paid")))
        claimed = await key_of(store, event("evt_5", correlation=Correlation("order:10", "paid")))
        await waiting(store, "wf_1", 5)
        await waiting(store, "wf_2", 5, event="sent", correlation="order:8")
        await waiting(store, "wf_3", 5, correlation="order:10")
        await store.published.claim(claimed, *given(await waiting(store, "wf_4", 5, correlation="order:10")))
        assert [key async for key in store.published.open_keys()] == ["order:7", "order:9"]

    async def test_open_keys_are_found_among_thousands(self, store: Store) -> None:
        every = [Correlation(f"order:{number:05d}", "paid") for number in range(1_200)]
        await asyncio.gather(*(accept(store, event(each.key, correlation=each)) for each in every))
        for number in (0, 499, 500, 1_199):
            await waiting(store, f"wf_{number}", 5, correlation=every[number].key)
        found = [key async for key in store.published.open_keys()]
        assert found == [every[number].key for number in (0, 499, 500, 1_199)]

    async def test_awaited_are_the_correlations_of_these_instances_of_which_events_are_kept(self, store: Store) -> None:
        await accept(store, EVENT)
        await accept(store, event("evt_2", correlation=Correlation("order:8", "paid")))
        await waiting(store, "wf_1", 5)
        await waiting(store, "wf_2", 5)
        await waiting(store, "wf_3", 5, correlation="order:8")
        await waiting(store, "wf_4", 5, event="sent")
        await waiting(store, "wf_5", 5, correlation=None)
        assert await store.published.awaited(["wf_1", "wf_2", "wf_4", "wf_5", "nobody"]) == [ORDER_7]
        assert await store.published.awaited([]) == []

    async def test_what_nobody_claims_expires_and_its_id_is_known_still(self, store: Store) -> None:
        first = await key_of(store, EVENT, keep_until=at(10), remember_until=at(30))
        second = await key_of(store, event("evt_2", start=START), keep_until=at(20), remember_until=at(30))
        assert await store.published.expire(now=at(9.9), limit=9) == []
        assert await store.published.expire(now=at(10), limit=9) == ["paid"]
        assert [await store.published.get(key) is None for key in (first, second)] == [True, False]
        assert await accept(store, EVENT) == Acceptance(None, is_duplicate=True)
        assert await store.published.forget(now=at(29.9), limit=9) == 0
        assert await store.published.expire(now=at(40), limit=9) == ["paid"]
        assert await store.published.forget(now=at(30), limit=1) == 1
        assert await store.published.forget(now=at(30), limit=9) == 1
        assert (await accept(store, EVENT)).is_duplicate is False

    async def test_what_is_kept_is_not_forgotten_and_what_is_claimed_does_not_expire(self, store: Store) -> None:
        kept = await key_of(store, EVENT, keep_until=at(50), remember_until=at(1))
        claimed = await key_of(store, event("evt_2"), keep_until=at(10), remember_until=at(50))
        await store.published.claim(claimed, *given(await waiting(store, "wf_1", 5)))
        assert await store.published.forget(now=at(40), limit=9) == 0
        assert await store.published.expire(now=at(40), limit=9) == []
        assert await store.published.get(kept) == EVENT

    async def test_those_that_are_longest_over_go_first(self, store: Store) -> None:
        for name, second in (("c", 3), ("a", 1), ("b", 2)):
            correlation = Correlation("x", name)
            await accept(store, event(name, correlation=correlation), keep_until=at(second), remember_until=at(1))
        assert await store.published.expire(now=at(9), limit=2) == ["a", "b"]
        assert await store.published.expire(now=at(9), limit=2) == ["c"]

    async def test_any_text_is_a_correlation(self, store: Store) -> None:
        for number, text in enumerate(('"\n\u0000é𝄞', "\u0000", "x" * 512, "%", "NULL")):
            correlation = Correlation(text, text)
            key = await key_of(store, event(f"e{number}", correlation=correlation))
            await waiting(store, f"wf_{number}", 5, correlation=text, event=text)
            assert await store.published.kept(correlation, limit=9) == [key]
            assert [each.instance_id for each in await store.published.waits(correlation, limit=9)] == [f"wf_{number}"]
            assert await store.published.awaited([f"wf_{number}"]) == [correlation]
            assert text in [each async for each in store.published.open_keys()]

    async def test_a_closed_store_refuses_published_events(self, store: Store) -> None:
        await store.close()
        for call in (accept(store, EVENT), store.published.get(1), store.published.expire(now=BEGINNING, limit=1)):
            with pytest.raises(StoreError):
                await call
        with pytest.raises(StoreError):
            store.published.claim(1, new_instance(), [])
