"""What every `Store` does (the ports): subclass `StoreContract`, say how one is made in `new_store` and `same_store`.

An instance's states are folded from transitions, as the engine does it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pylon_workflows.core.evolution import begin, evolve
from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import (
    AttemptFailed,
    EventReceived,
    EventTaken,
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceFailed,
    InstanceResumed,
    InstanceStarted,
    RunContinued,
    RunStarted,
    SleepStarted,
    StepFailed,
    StepSucceeded,
    Transition,
    WaitStarted,
    WaitTimedOut,
    WokeUp,
)
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import CorruptDatabaseError, StoreError
from pylon_workflows.filters import InstanceFilter
from pylon_workflows.ports import PARKED, Store

BEGINNING = datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds after the beginning of the test."""
    return BEGINNING + timedelta(seconds=seconds)


def new_instance(id: str = "wf_1", **changes: Any) -> Instance:
    """An instance that has just been started; what is not named does not matter."""
    fields: dict[str, Any] = {
        "at": BEGINNING,
        "id": id,
        "name": "order",
        "version": None,
        "input_json": b'{"total":1}',
        "idempotency_key": None,
        "seed": "0" * 32,
        "policy": RetryPolicy(),
        "step_timeout": timedelta(seconds=30),
    }
    return begin(InstanceStarted(**{**fields, **changes}))


def after(instance: Instance, *transitions: Transition) -> Instance:
    """The state that the transitions lead to."""
    for transition in transitions:
        instance = evolve(instance, transition)
    return instance


RUN_STARTED = RunStarted(at=BEGINNING)


def succeeded(position: int, output: bytes = b"null", name: str = "charge") -> StepSucceeded:
    return StepSucceeded(
        at=at(position + 1),
        key=f"{name}#{position + 1}",
        name=name,
        position=position,
        started_at=at(position),
        completed_at=at(position + 0.5),
        duration_ms=500,
        output_json=output,
    )


def sleeping(until: float, position: int = 0) -> SleepStarted:
    return SleepStarted(at=BEGINNING, key=f"sleep#{position + 1}", name="sleep", position=position, due_at=at(until))


def completed(second: float = 10) -> InstanceCompleted:
    return InstanceCompleted(at=at(second), output_json=b'"done"')


_ATTEMPT = {"key": "pay", "name": "pay", "started_at": BEGINNING, "completed_at": BEGINNING, "duration_ms": 3}

EVERY_KIND: tuple[Transition, ...] = (
    RUN_STARTED,
    succeeded(0, '{"text":"é\\u0000\\n𝄞","big":12345678901234567890}'.encode()),
    AttemptFailed(at=at(2), failures=1, error='"no"\n', retry_at=at(2.000001), detail_json=b'{"a":1.5}', **_ATTEMPT),
    WokeUp(at=at(3)),
    StepFailed(at=at(4), failures=2, error="", position=1, **_ATTEMPT),
    sleeping(60, position=2),
    WokeUp(at=at(61)),
    EventReceived(at=at(62), event="confirmed", event_id="evt_1", data_json=b"[]"),
    WaitStarted(at=at(63), event="confirmed", key="event:confirmed", due_at=None),
    EventTaken(at=at(63), source=9, key="event:confirmed", position=3, started_at=at(63)),
    WaitStarted(at=at(64), event="paid", key="event:paid", due_at=at(65)),
    WaitTimedOut(at=at(65), event="paid", key="event:paid", started_at=at(64), position=4),
    InstanceBlocked(at=at(66), reason="too large"),
    InstanceResumed(at=at(67)),
)
"""A transition of every kind but the first and the ends, such as an instance can have them."""


class StoreContract(ABC):
    """The clauses of `Store`."""

    @abstractmethod
    def new_store(self, folder: Path) -> Store:
        """An empty store, closed."""

    @abstractmethod
    def same_store(self, store: Store) -> Store:
        """What a restarted program would open, once `store` is closed."""

    @pytest_asyncio.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        self._opened_last = self.new_store(tmp_path)
        await self._opened_last.open()
        yield self._opened_last
        await self._opened_last.close()

    async def reopen(self, store: Store) -> Store:
        await store.close()
        self._opened_last = self.same_store(store)
        await self._opened_last.open()
        return self._opened_last

    async def stored(self, store: Store, instance: Instance, *transitions: Transition, **options: bool) -> Instance:
        """An instance in the store, with these transitions."""
        assert await store.create(instance) is None
        if transitions:
            instance = after(instance, *transitions)
            await store.append(instance, transitions, **options)
        return instance

    async def test_a_new_store_is_empty(self, store):
        assert await store.list() == []
        assert await store.runnable("order", limit=10) == []
        assert await store.due(now=at(1e6), limit=10) == []
        assert await store.next_due(after=at(-1e6)) is None
        assert await store.unannounced(limit=10) == []
        assert await store.expired(completed_before=at(1e6), keep=0, limit=10) == []
        assert await store.definitions() == []
        assert await store.summary("wf_1") is None
        assert await store.histories(["wf_1"]) == {}

    async def test_a_created_instance_has_its_origin_as_its_history(self, store):
        instance = await self.stored(store, new_instance(version="7", idempotency_key="k", due_at=at(5)))
        assert await store.histories(["wf_1"]) == {"wf_1": [instance.origin]}

    async def test_a_taken_id_changes_nothing_and_is_returned(self, store):
        await self.stored(store, new_instance(name="first"))
        assert await store.create(new_instance(name="second")) == "wf_1"
        assert [each.name for each in await store.list()] == ["first"]

    async def test_a_taken_idempotency_key_leads_to_the_instance_that_has_it(self, store):
        await self.stored(store, new_instance("wf_1", idempotency_key="signup"))
        assert await store.create(new_instance("wf_2", idempotency_key="signup")) == "wf_1"
        assert await store.summary("wf_2") is None

    async def test_where_id_and_key_are_both_taken_the_id_counts(self, store):
        await self.stored(store, new_instance("wf_1", idempotency_key="signup"))
        await self.stored(store, new_instance("wf_2"))
        assert await store.create(new_instance("wf_2", idempotency_key="signup")) == "wf_2"

    async def test_an_instance_is_created_with_its_whole_history_or_not_at_all(self, store):
        whole = after(new_instance("wf_1", idempotency_key="k", tags_json=b'{"a":"1"}'), *EVERY_KIND)
        assert await store.create(whole, later=EVERY_KIND) is None
        store = await self.reopen(store)
        assert (await store.histories(["wf_1"]))["wf_1"] == [whole.origin, *EVERY_KIND]
        assert (await store.summary("wf_1")).revision == whole.revision
        assert [each.id for each in await store.list(InstanceFilter(tags={"a": "1"}))] == ["wf_1"]
        other = after(new_instance("wf_2", idempotency_key="k"), RUN_STARTED)
        assert await store.create(other, later=[RUN_STARTED]) == "wf_1"
        assert await store.create(after(new_instance("wf_1"), RUN_STARTED), later=[RUN_STARTED]) == "wf_1"
        assert len(await store.list()) == 1
        due = after(new_instance("wf_3"), RUN_STARTED, sleeping(5))
        assert await store.create(due, later=[RUN_STARTED, sleeping(5)]) is None
        assert await store.due(now=at(5), limit=9) == ["wf_3"]

    async def test_instances_without_a_key_do_not_share_one(self, store):
        await self.stored(store, new_instance("wf_1"))
        await self.stored(store, new_instance("wf_2"))
        assert len(await store.list()) == 2

    async def test_of_simultaneous_creates_with_one_key_one_wins(self, store):
        instances = [new_instance(f"wf_{number}", idempotency_key="signup") for number in range(20)]
        owners = await asyncio.gather(*map(store.create, instances))
        (winner,) = await store.list()
        assert owners.count(None) == 1
        assert set(owners) == {None, winner.id}

    async def test_of_simultaneous_creates_with_one_id_one_wins(self, store):
        owners = await asyncio.gather(*(store.create(new_instance(idempotency_key=f"k{n}")) for n in range(20)))
        assert owners.count(None) == 1
        assert set(owners) == {None, "wf_1"}
        assert len(await store.list()) == 1

    async def test_every_kind_of_transition_comes_back_equal(self, store):
        instance = await self.stored(store, new_instance(), *EVERY_KIND)
        store = await self.reopen(store)
        assert await store.histories(["wf_1"]) == {"wf_1": [instance.origin, *EVERY_KIND]}

    @pytest.mark.parametrize(
        ("end", "status"),
        [
            (completed(), Status.COMPLETED),
            (InstanceFailed(at=at(9), error="boom", detail_json=b"{}"), Status.FAILED),
            (InstanceFailed(at=at(9), error="boom"), Status.FAILED),
            (InstanceCancelled(at=at(9)), Status.CANCELLED),
        ],
    )
    async def test_every_end_comes_back_equal(self, store, end, status):
        await self.stored(store, new_instance(), RUN_STARTED, end)
        history = (await store.histories(["wf_1"]))["wf_1"]
        assert history[-1] == end
        assert (await store.summary("wf_1")).status is status

    async def test_times_come_back_to_the_microsecond(self, store):
        origin = {"due_at": datetime.max.replace(tzinfo=UTC), "step_timeout": timedelta(microseconds=1)}
        instance = await self.stored(store, new_instance(at=datetime(1970, 1, 1, tzinfo=UTC), **origin))
        assert await store.histories(["wf_1"]) == {"wf_1": [instance.origin]}
        assert (await store.summary("wf_1")).due_at == origin["due_at"]
        assert await store.next_due(after=BEGINNING) == origin["due_at"]

    async def test_histories_leave_unknown_ids_out_and_keep_instances_apart(self, store):
        first = await self.stored(store, new_instance("wf_1"), RUN_STARTED, succeeded(0))
        second = await self.stored(store, new_instance("wf_2"), RUN_STARTED)
        found = await store.histories(["wf_2", "nobody", "wf_1"])
        assert found == {"wf_1": [first.origin, RUN_STARTED, succeeded(0)], "wf_2": [second.origin, RUN_STARTED]}
        assert await store.histories([]) == {}

    async def test_five_hundred_histories_come_at_once(self, store):
        ids = [f"wf_{number:03}" for number in range(500)]
        await asyncio.gather(*(store.create(new_instance(each)) for each in ids))
        found = await store.histories(ids)
        assert set(found) == set(ids)
        assert all(history[0].id == owner and len(history) == 1 for owner, history in found.items())

    async def test_a_history_comes_in_pages_each_with_the_revision_of_all(self, store):
        instance = await self.stored(store, new_instance(), *EVERY_KIND)
        whole = [instance.origin, *EVERY_KIND]
        for after, limit in ((0, 1000), (0, 1), (3, 4), (len(whole) - 1, 9), (len(whole), 9), (2**63 - 1, 9)):
            page = await store.history_page("wf_1", after=after, limit=limit)
            assert (page.after, page.revision) == (after, len(whole))
            assert list(page.transitions) == whole[after : after + limit]
            assert page.is_last == (after + limit >= len(whole))
        assert await store.history_page("wf_9", after=0, limit=9) is None

    async def test_the_summary_is_the_state_that_was_appended_last(self, store):
        instance = await self.stored(store, new_instance(version="7"), RUN_STARTED, succeeded(0))
        await store.append(
            after(instance, WaitStarted(at=at(3), event="paid", key="event:paid", due_at=at(9))),
            [WaitStarted(at=at(3), event="paid", key="event:paid", due_at=at(9))],
        )
        summary = await store.summary("wf_1")
        assert (summary.id, summary.name, summary.version, summary.run) == ("wf_1", "order", "7", 1)
        assert (summary.revision, summary.status, summary.current_step) == (4, Status.WAITING_FOR_EVENT, 1)
        assert (summary.waiting_for, summary.due_at, summary.max_retries) == ("paid", at(9), 3)
        assert (summary.created_at, summary.started_at, summary.completed_at) == (BEGINNING, BEGINNING, None)
        assert (summary.error, summary.blocked_reason) == (None, None)

    async def test_a_summary_tells_the_error_and_the_reason_of_a_block(self, store):
        await self.stored(store, new_instance("wf_1"), RUN_STARTED, InstanceFailed(at=at(9), error="boom"))
        await self.stored(store, new_instance("wf_2"), InstanceBlocked(at=at(9), reason="too large"))
        assert (await store.summary("wf_1")).error == "boom"
        assert (await store.summary("wf_1")).completed_at == at(9)
        assert (await store.summary("wf_2")).blocked_reason == "too large"

    async def test_appends_that_are_not_awaited_keep_their_order(self, store):
        instance = await self.stored(store, new_instance(), RUN_STARTED)
        writes = []
        for position in range(100):
            instance = after(instance, succeeded(position))
            writes.append(store.append(instance, [succeeded(position)]))
        await writes[-1]
        assert all(write.done() for write in writes)
        history = (await store.histories(["wf_1"]))["wf_1"]
        assert [each.position for each in history[2:]] == list(range(100))
        assert (await store.summary("wf_1")).current_step == 100

    async def test_an_append_needs_no_awaiting_to_be_written(self, store):
        instance = await self.stored(store, new_instance())
        store.append(after(instance, RUN_STARTED), [RUN_STARTED])
        store = await self.reopen(store)
        assert (await store.summary("wf_1")).status is Status.RUNNING

    async def test_cancelling_whoever_awaits_does_not_cancel_the_write(self, store):
        instance = await self.stored(store, new_instance())

        async def write() -> None:
            await store.append(after(instance, RUN_STARTED), [RUN_STARTED])

        task = asyncio.create_task(write())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store = await self.reopen(store)
        assert len((await store.histories(["wf_1"]))["wf_1"]) == 2

    async def test_an_append_to_another_revision_fails_and_changes_nothing(self, store):
        instance = await self.stored(store, new_instance(), RUN_STARTED)
        for wrong in (instance, replace(after(instance, succeeded(0)), revision=9)):
            with pytest.raises(CorruptDatabaseError, match="wf_1"):
                await store.append(wrong, [succeeded(0)])
        assert len((await store.histories(["wf_1"]))["wf_1"]) == 2
        assert (await store.summary("wf_1")).revision == 2

    async def test_an_append_to_an_unknown_instance_fails(self, store):
        with pytest.raises(CorruptDatabaseError, match="wf_9"):
            await store.append(after(new_instance("wf_9"), RUN_STARTED), [RUN_STARTED])
        assert await store.histories(["wf_9"]) == {}

    async def test_a_bad_append_does_not_fail_its_neighbours(self, store):
        instances = [await self.stored(store, new_instance(f"wf_{number}")) for number in range(9)]
        states = [after(instance, RUN_STARTED) for instance in instances]
        states[4] = replace(states[4], revision=7)
        outcomes = await asyncio.gather(
            *(store.append(state, [RUN_STARTED]) for state in states),
            store.create(new_instance("wf_10")),
            return_exceptions=True,
        )
        assert isinstance(outcomes.pop(4), CorruptDatabaseError)
        assert outcomes == [None] * 9
        assert [each.revision for each in await store.list()] == [1, 2, 2, 2, 2, 1, 2, 2, 2, 2]

    async def test_an_append_starts_other_instances_with_it(self, store):
        parent = await self.stored(store, new_instance("parent"))
        children = [new_instance("child-1"), new_instance("child-2", name="mail", due_at=at(5))]
        state = after(parent, RUN_STARTED, succeeded(0))
        assert await store.append(state, [RUN_STARTED, succeeded(0)], starts=children) is None
        assert await store.runnable("order", limit=9) == ["parent", "child-1"]
        assert await store.due(now=at(5), limit=9) == ["child-2"]
        again = after(state, succeeded(1))
        assert await store.append(again, [succeeded(1)]) is None
        assert await store.append(after(children[0], RUN_STARTED), [RUN_STARTED]) is None
        store = await self.reopen(store)
        assert await store.histories(["parent", "child-1", "child-2"]) == {
            "parent": [parent.origin, RUN_STARTED, succeeded(0), succeeded(1)],
            "child-1": [children[0].origin, RUN_STARTED],
            "child-2": [children[1].origin],
        }

    async def test_an_append_that_starts_what_there_is_already_changes_nothing_and_tells_the_id(self, store):
        parent = await self.stored(store, new_instance("parent"))
        taken = await self.stored(store, new_instance("taken", name="mail"))
        state = after(parent, RUN_STARTED)
        starts = [new_instance("free"), new_instance("taken")]
        assert await store.append(state, [RUN_STARTED], starts=starts) == "taken"
        assert await store.histories(["parent", "free", "taken"]) == {
            "parent": [parent.origin],
            "taken": [taken.origin],
        }
        assert await store.append(state, [RUN_STARTED], starts=[new_instance("free")]) is None

    async def test_an_append_does_not_start_two_instances_of_one_id(self, store):
        parent = await self.stored(store, new_instance("parent"))
        twins = [new_instance("twin"), new_instance("twin", name="mail")]
        assert await store.append(after(parent, RUN_STARTED), [RUN_STARTED], starts=twins) == "twin"
        assert await store.histories(["parent", "twin"]) == {"parent": [parent.origin]}

    async def test_of_simultaneous_appends_that_start_one_id_one_wins(self, store):
        parents = [await self.stored(store, new_instance(f"parent-{number}")) for number in range(5)]
        child = new_instance("child")
        writes = [store.append(after(parent, RUN_STARTED), [RUN_STARTED], starts=[child]) for parent in parents]
        writes.append(asyncio.ensure_future(store.create(new_instance("other"))))
        assert await asyncio.gather(*writes) == [None, *["child"] * 4, None]
        histories = await store.histories([parent.id for parent in parents])
        assert [len(histories[parent.id]) for parent in parents] == [2, 1, 1, 1, 1]

    async def test_a_start_at_another_revision_of_its_parent_fails_and_starts_nothing(self, store):
        parent = await self.stored(store, new_instance("parent"))
        neighbour = await self.stored(store, new_instance("neighbour"))
        ahead = after(parent, RUN_STARTED, succeeded(0))
        bad = store.append(ahead, [succeeded(0)], starts=[new_instance("child")])
        good = store.append(after(neighbour, RUN_STARTED), [RUN_STARTED], starts=[new_instance("child-2")])
        with pytest.raises(CorruptDatabaseError):
            await bad
        assert await good is None
        assert set(await store.histories(["child", "child-2"])) == {"child-2"}

    async def test_runnable_are_those_pending_or_running_that_wait_for_no_time_oldest_first(self, store):
        await self.stored(store, new_instance("pending"))
        await self.stored(store, new_instance("delayed", due_at=at(9)))
        await self.stored(store, new_instance("running"), RUN_STARTED, succeeded(0))
        await self.stored(store, new_instance("between_attempts"), RUN_STARTED, EVERY_KIND[2])
        await self.stored(store, new_instance("sleeping"), RUN_STARTED, sleeping(9))
        await self.stored(store, new_instance("waiting"), RUN_STARTED, EVERY_KIND[8])
        await self.stored(store, new_instance("blocked"), InstanceBlocked(at=at(1), reason="why"))
        await self.stored(store, new_instance("finished"), RUN_STARTED, completed())
        await self.stored(store, new_instance("awake"), RUN_STARTED, sleeping(9), WokeUp(at=at(9)))
        assert await store.runnable("order", limit=10) == ["pending", "running", "awake"]

    async def test_runnable_comes_in_pages(self, store):
        ids = ["wf_c", "wf_a", "wf_b"]
        for name in ids:
            await self.stored(store, new_instance(name))
        assert await store.runnable("order", limit=2) == ids[:2]
        assert await store.runnable("order", after="wf_a", limit=2) == ids[2:]
        assert await store.runnable("order", after="wf_b", limit=2) == []

    async def test_runnable_are_asked_for_workflow_by_workflow(self, store):
        assert await store.runnable_names() == []
        for number, name in enumerate(("noisy", "noisy", "quiet", "noisy", "Émile", "a\0b")):
            await self.stored(store, new_instance(f"wf_{number}", name=name))
        await self.stored(store, new_instance("wf_last", name="quiet"), InstanceCancelled(at=at(1)))
        await self.stored(store, new_instance("wf_only", name="done"), InstanceCancelled(at=at(1)))
        assert await store.runnable_names() == ["a\0b", "noisy", "quiet", "Émile"]
        assert await store.runnable("quiet", limit=9) == ["wf_2"]
        assert await store.runnable("noisy", limit=9) == ["wf_0", "wf_1", "wf_3"]
        assert await store.runnable("noisy", after="wf_2", limit=9) == ["wf_3"]
        assert await store.runnable("a\0b", limit=9) == ["wf_5"]
        assert await store.runnable("unknown", limit=9) == []

    async def test_a_page_of_runnable_may_begin_after_one_that_no_longer_is(self, store):
        for name in ("wf_a", "wf_b"):
            await self.stored(store, new_instance(name))
        await self.stored(store, new_instance("wf_c"), InstanceCancelled(at=at(1)))
        await self.stored(store, new_instance("wf_d"))
        assert await store.runnable("order", after="wf_c", limit=9) == ["wf_d"]

    async def test_runnable_after_a_deleted_instance_begins_at_the_front(self, store):
        await self.stored(store, new_instance("wf_a"))
        assert await store.runnable("order", after="deleted", limit=9) == ["wf_a"]

    async def test_due_are_those_whose_time_has_come_the_longest_overdue_first(self, store):
        for name, due in (("wf_late", 3), ("wf_last", 5), ("wf_first", 1), ("wf_tie", 3)):
            await self.stored(store, new_instance(name, due_at=at(due)))
        await self.stored(store, new_instance("wf_sleeping"), RUN_STARTED, sleeping(2))
        await self.stored(store, new_instance("wf_runnable"))
        assert await store.due(now=at(0.999999), limit=9) == []
        assert await store.due(now=at(3), limit=9) == ["wf_first", "wf_sleeping", "wf_late", "wf_tie"]
        assert await store.due(now=at(3), limit=2) == ["wf_first", "wf_sleeping"]

    async def test_next_due_is_the_earliest_time_that_is_later(self, store):
        for due in (3, 1, 5):
            await self.stored(store, new_instance(f"wf_{due}", due_at=at(due)))
        assert await store.next_due(after=at(0)) == at(1)
        assert await store.next_due(after=at(1)) == at(3)
        assert await store.next_due(after=at(4.999999)) == at(5)
        assert await store.next_due(after=at(5)) is None

    async def test_whoever_has_been_woken_is_due_no_more(self, store):
        instance = await self.stored(store, new_instance(), RUN_STARTED, sleeping(9))
        await store.append(after(instance, WokeUp(at=at(9))), [WokeUp(at=at(9))])
        assert await store.due(now=at(100), limit=9) == []
        assert await store.next_due(after=at(0)) is None

    async def test_a_list_is_newest_first_and_comes_in_pages(self, store):
        for name in ("wf_b", "wf_c", "wf_a"):
            await self.stored(store, new_instance(name))
        assert [each.id for each in await store.list()] == ["wf_a", "wf_c", "wf_b"]
        assert [each.id for each in await store.list(limit=2)] == ["wf_a", "wf_c"]
        assert [each.id for each in await store.list(after="wf_c", limit=2)] == ["wf_b"]
        assert await store.list(after="wf_b") == []
        assert await store.list(after="unknown") == []

    async def test_a_list_filters_by_name_and_by_any_of_the_statuses(self, store):
        await self.stored(store, new_instance("wf_1", name="a"), RUN_STARTED)
        await self.stored(store, new_instance("wf_2", name="b"), RUN_STARTED)
        await self.stored(store, new_instance("wf_3", name="a"))
        await self.stored(store, new_instance("wf_4", name="a"), RUN_STARTED, sleeping(5))
        await self.stored(store, new_instance("wf_5", name="b"), RUN_STARTED, completed())

        async def listed(**filters: Any) -> list[str]:
            page = {term: filters.pop(term) for term in ("after", "limit") if term in filters}
            return [each.id for each in await store.list(InstanceFilter(**filters), **page)]

        assert await listed(name="a") == ["wf_4", "wf_3", "wf_1"]
        assert await listed(name="nobody's") == []
        assert await listed(statuses=[Status.RUNNING]) == ["wf_2", "wf_1"]
        assert await listed(statuses=[Status.RUNNING, Status.SLEEPING, Status.COMPLETED]) == [
            "wf_5", "wf_4", "wf_2", "wf_1",
        ]  # fmt: skip
        assert await listed(statuses=list(Status), limit=3, after="wf_5") == ["wf_4", "wf_3", "wf_2"]
        assert await listed(statuses=[Status.RUNNING, Status.RUNNING], name="a") == ["wf_1"]
        assert await listed(statuses=[Status.PENDING, Status.SLEEPING], name="a", after="wf_4") == ["wf_3"]
        assert await listed(statuses=[Status.FAILED]) == []

    async def test_a_list_goes_by_the_time_of_creation_also_when_the_clock_was_set_back(self, store):
        for name, second in (("wf_1", 5), ("wf_2", 3), ("wf_3", 5), ("wf_4", 9), ("wf_5", 3)):
            await self.stored(store, new_instance(name, at=at(second)))

        async def listed(after: str | None = None, limit: int = 9, **filters: Any) -> list[str]:
            return [each.id for each in await store.list(InstanceFilter(**filters), after=after, limit=limit)]

        assert await listed() == ["wf_4", "wf_3", "wf_1", "wf_5", "wf_2"]
        assert await listed(after="wf_1") == await listed(after="wf_1", name="order") == ["wf_5", "wf_2"]
        assert await listed(started_after=at(5)) == ["wf_4", "wf_3", "wf_1"]
        assert await listed(started_before=at(5)) == ["wf_5", "wf_2"]
        assert await listed(started_after=at(5), started_before=at(9), statuses=[Status.PENDING]) == ["wf_3", "wf_1"]
        assert await listed(started_after=at(3), started_before=at(9), limit=2) == ["wf_3", "wf_1"]
        assert await listed(started_after=at(3), started_before=at(9), after="wf_1") == ["wf_5", "wf_2"]
        assert await listed(started_before=at(5), after="wf_4", limit=1) == ["wf_5"]
        assert await listed(started_after=at(9.000001)) == []

    async def test_a_list_filters_by_tags_and_by_the_parent(self, store):
        await self.stored(store, new_instance("wf_1", tags_json=b'{"a":"1","b":"x"}', parent_id="wf_0"))
        await self.stored(store, new_instance("wf_2", tags_json='{"a":"1","b":"é \'"}'.encode()), RUN_STARTED)
        await self.stored(store, new_instance("wf_3", tags_json=b'{"a":"2","b":"x"}', name="other", parent_id="wf_1"))
        await self.stored(store, new_instance("wf_4", tags_json=b'{"A":"1"}', at=at(9), parent_id="wf_0"))
        await self.stored(store, new_instance("wf_5"))
        store = await self.reopen(store)

        async def listed(**where: Any) -> list[str]:
            return [each.id for each in await store.list(InstanceFilter(**where))]

        assert await listed(tags={"a": "1"}) == ["wf_2", "wf_1"]
        assert await listed(tags={"a": "1", "b": "x"}) == await listed(tags={"b": "x", "a": "1"}) == ["wf_1"]
        assert await listed(tags={"b": "é '"}) == ["wf_2"]
        assert await listed(tags={"b": ""}) == await listed(tags={"c": "1"}) == []
        assert await listed(tags={"a": "1"}, statuses=[Status.RUNNING, Status.BLOCKED]) == ["wf_2"]
        assert await listed(tags={"b": "x"}, name="other", parent_id="wf_1") == ["wf_3"]
        assert await listed(parent_id="wf_0") == ["wf_4", "wf_1"]
        assert await listed(parent_id="wf_0", started_before=at(9)) == ["wf_1"]
        assert await listed(parent_id="wf_9") == []
        assert [each.id for each in await store.list(InstanceFilter(parent_id="wf_0"), after="wf_4")] == ["wf_1"]
        assert [each.id for each in await store.list(InstanceFilter(tags={"a": "1"}), after="wf_2")] == ["wf_1"]
        summary = await store.summary("wf_1")
        assert (summary.tags, summary.parent_id) == ({"a": "1", "b": "x"}, "wf_0")
        assert [dict(each.tags) for each in await store.list()] == [
            {"A": "1"}, {}, {"a": "2", "b": "x"}, {"a": "1", "b": "é '"}, {"a": "1", "b": "x"},
        ]  # fmt: skip

    async def test_tags_go_with_their_instance(self, store):
        await self.stored(store, new_instance(tags_json=b'{"a":"1"}'), RUN_STARTED, completed())
        await store.delete(["wf_1"])
        await self.stored(store, new_instance("wf_2"))
        await self.stored(store, new_instance("wf_1", tags_json=b'{"b":"1"}'))
        assert await store.list(InstanceFilter(tags={"a": "1"})) == []
        assert [each.id for each in await store.list(InstanceFilter(tags={"b": "1"}))] == ["wf_1"]

    async def test_a_child_that_starts_with_an_append_is_found_under_its_parent(self, store):
        instance = await self.stored(store, new_instance())
        child = new_instance("wf_2", parent_id="wf_1", tags_json=b'{"a":"1"}')
        assert await store.append(after(instance, RUN_STARTED), [RUN_STARTED], starts=[child]) is None
        assert [each.id for each in await store.list(InstanceFilter(parent_id="wf_1", tags={"a": "1"}))] == ["wf_2"]

    async def test_a_summary_tells_the_terms_of_the_present_run(self, store):
        instance = await self.stored(store, new_instance(version="1"), RUN_STARTED)
        continued = RunContinued(
            at=at(5), input_json=b"2", version="2", policy=RetryPolicy(max_retries=9), step_timeout=timedelta(seconds=1)
        )
        await store.append(after(instance, continued), [continued])
        summary = await store.summary("wf_1")
        assert (summary.run, summary.version, summary.max_retries) == (2, "2", 9)

    async def test_unannounced_are_those_to_announce_until_they_are_marked(self, store):
        for name in ("wf_b", "wf_a"):
            await self.stored(store, new_instance(name), RUN_STARTED, completed(), is_to_announce=True)
        await self.stored(store, new_instance("wf_quiet"), RUN_STARTED, completed())
        store = await self.reopen(store)
        assert await store.unannounced(limit=9) == ["wf_b", "wf_a"]
        assert await store.unannounced(limit=1) == ["wf_b"]
        await store.mark_announced(["wf_b", "unknown"])
        assert await store.unannounced(limit=9) == ["wf_a"]
        await store.mark_announced(["wf_b", "wf_a"])
        await store.mark_announced([])
        assert await store.unannounced(limit=9) == []

    async def test_only_finished_instances_are_deleted_and_each_with_its_history(self, store):
        await self.stored(store, new_instance("wf_done", idempotency_key="k"), RUN_STARTED, completed())
        await self.stored(store, new_instance("wf_failed"), RUN_STARTED, InstanceFailed(at=at(1), error="boom"))
        await self.stored(store, new_instance("wf_running"), RUN_STARTED)
        assert await store.delete(["wf_running", "wf_done", "unknown", "wf_done"]) == 1
        assert await store.delete(["wf_done"]) == 0
        assert await store.delete([]) == 0
        assert sorted(await store.histories(["wf_done", "wf_failed", "wf_running"])) == ["wf_failed", "wf_running"]
        assert [each.id for each in await store.list()] == ["wf_running", "wf_failed"]

    async def test_a_deleted_instance_leaves_its_id_and_key_free(self, store):
        await self.stored(store, new_instance(idempotency_key="k"), RUN_STARTED, completed())
        await store.delete(["wf_1"])
        fresh = await self.stored(store, new_instance(idempotency_key="k"))
        assert await store.histories(["wf_1"]) == {"wf_1": [fresh.origin]}

    async def test_expired_are_those_that_completed_before_oldest_first(self, store):
        for name, second in (("wf_3", 3), ("wf_1", 1), ("wf_2", 2)):
            await self.stored(store, new_instance(name), RUN_STARTED, completed(second))
        await self.stored(store, new_instance("wf_running"), RUN_STARTED)

        async def expired(before: float | None, keep: int | None, limit: int = 9) -> list[str]:
            moment = None if before is None else at(before)
            return list(await store.expired(completed_before=moment, keep=keep, limit=limit))

        assert await expired(3, None) == ["wf_1", "wf_2"]
        assert await expired(3, None, limit=1) == ["wf_1"]
        assert await expired(None, None) == []
        assert await expired(None, 1) == ["wf_1", "wf_2"]
        assert await expired(None, 3) == []
        assert await expired(None, 0) == ["wf_1", "wf_2", "wf_3"]
        assert await expired(2, 2) == ["wf_1"]
        assert await expired(2, 1) == ["wf_1", "wf_2"]
        assert await expired(4, 2) == ["wf_1", "wf_2", "wf_3"]

    async def test_what_is_still_to_be_announced_does_not_expire(self, store):
        await self.stored(store, new_instance("wf_1"), RUN_STARTED, completed(1), is_to_announce=True)
        assert await store.expired(completed_before=at(5), keep=0, limit=9) == []
        await store.mark_announced(["wf_1"])
        assert await store.expired(completed_before=at(5), keep=0, limit=9) == ["wf_1"]

    async def test_a_parked_instance_is_blocked_and_nothing_of_it_is_due_and_its_history_stays(self, store):
        instance = await self.stored(store, new_instance(), RUN_STARTED, sleeping(5))
        await self.stored(store, new_instance("wf_2"), RUN_STARTED)
        for instance_id in ("wf_1", "wf_2", "wf_9"):
            await store.park(instance_id, f"{PARKED}revision 2")
        store = await self.reopen(store)
        parked = await store.summary("wf_1")
        assert (parked.status, parked.blocked_reason) == (Status.BLOCKED, "unreadable: revision 2")
        assert (parked.revision, parked.due_at, parked.current_step) == (3, None, instance.current_step)
        assert [each.id for each in await store.list(InstanceFilter(statuses=[Status.BLOCKED]))] == ["wf_2", "wf_1"]
        assert await store.due(now=at(1e6), limit=9) == []
        assert await store.runnable("order", limit=9) == []
        assert len((await store.histories(["wf_1"]))["wf_1"]) == 3
        assert [each async for each in store.suspects()] == ["wf_1", "wf_2"]

    async def test_what_has_finished_is_not_parked(self, store):
        await self.stored(store, new_instance(), RUN_STARTED, completed())
        await store.park("wf_1", f"{PARKED}revision 2")
        assert (await store.summary("wf_1")).status is Status.COMPLETED
        assert [each async for each in store.suspects()] == []

    async def test_what_is_blocked_for_another_reason_is_neither_suspect_nor_deleted(self, store):
        await self.stored(store, new_instance(), RUN_STARTED, InstanceBlocked(at=BEGINNING, reason="diverged"))
        assert [each async for each in store.suspects()] == []
        assert await store.delete(["wf_1"]) == 0

    async def test_a_restored_instance_is_what_its_history_says(self, store):
        origin = {"tags_json": b'{"a":"1"}', "parent_id": "wf_0", "version": "7"}
        instance = await self.stored(store, new_instance(**origin), RUN_STARTED, sleeping(5))
        before = await store.summary("wf_1")
        await store.park("wf_1", f"{PARKED}revision 2")
        await store.restore(instance)
        store = await self.reopen(store)
        assert await store.summary("wf_1") == before
        assert await store.due(now=at(5), limit=9) == ["wf_1"]
        assert [each.id for each in await store.list(InstanceFilter(tags={"a": "1"}, parent_id="wf_0"))] == ["wf_1"]
        assert [each async for each in store.suspects()] == []
        with pytest.raises(CorruptDatabaseError, match="wf_1"):
            await store.restore(after(instance, WokeUp(at=at(5))))
        assert await store.summary("wf_1") == before

    async def test_a_parked_instance_is_deleted_when_it_is_named(self, store):
        await self.stored(store, new_instance(idempotency_key="k"), RUN_STARTED)
        await store.park("wf_1", f"{PARKED}revision 2")
        assert await store.expired(completed_before=at(1e6), keep=0, limit=9) == []
        assert await store.delete(["wf_1"]) == 1
        assert await store.histories(["wf_1"]) == {}
        assert await store.create(new_instance(idempotency_key="k")) is None

    async def test_a_definition_that_a_runner_tells_replaces_none_that_somebody_has_saved(self, store):
        def a_definition(source, version):
            return WorkflowDefinition("order", version=version, input_schema={"type": version}, source=source)

        kept = []
        for source, version in (("runner", "1"), ("runner", "2"), ("saved", "3"), ("runner", "4"), ("saved", "5")):
            await store.save_definition(a_definition(source, version))
            (found,) = await store.definitions()
            kept.append((found.source, found.version, found.input_schema))
        assert kept == [
            ("runner", "1", {"type": "1"}),
            ("runner", "2", {"type": "2"}),
            ("saved", "3", {"type": "3"}),
            ("saved", "3", {"type": "3"}),
            ("saved", "5", {"type": "5"}),
        ]
        store = await self.reopen(store)
        (found,) = await store.definitions()
        assert (found, found.source) == (a_definition("saved", "5"), "saved")

    async def test_definitions_are_kept_by_name_and_replaced(self, store):
        first = WorkflowDefinition("b", version="1", description="é", step_timeout=timedelta(microseconds=1))
        other = WorkflowDefinition(
            "a", max_retries=0, max_in_flight=5, initial_backoff=timedelta(0), maximum_backoff=timedelta(days=9)
        )
        for definition in (WorkflowDefinition("b"), other, first):
            await store.save_definition(definition)
        store = await self.reopen(store)
        assert sorted(await store.definitions(), key=lambda each: each.name) == [other, first]

    async def test_a_closed_store_refuses_and_can_be_opened_again(self, store):
        instance = await self.stored(store, new_instance())
        await store.close()
        with pytest.raises(StoreError):
            await store.create(new_instance("wf_2"))
        with pytest.raises(StoreError):
            await store.append(after(instance, RUN_STARTED), [RUN_STARTED])
        with pytest.raises(StoreError):
            await store.summary("wf_1")
        with pytest.raises(StoreError):
            await store.histories(["wf_1"])
        await store.open()
        assert (await store.summary("wf_1")).id == "wf_1"

    async def test_closing_again_is_no_error(self, store):
        await store.close()
        await store.close()
