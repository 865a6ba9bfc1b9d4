"""What every `RunStore` does: `StoreContract`'s implementations subclass this one too."""

from collections.abc import Sequence
from dataclasses import replace

from pylon_workflows.core.deleted_runs import deletion_before
from pylon_workflows.core.evolution import replay
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import EventReceived, RunContinued, Transition
from pylon_workflows.ports import PARKED, Store
from runner_protocol.strict_json import encode
from tests.contracts.store_contract import RUN_STARTED, after, at, completed, new_instance, succeeded

NOTES = encode(
    {
        "vars": {"cursor": 1.5, "ü": [None]},
        "usage": {"cost_usd": "0.1"},
        "progress": {"percent": 5.0, "message": None},
    }
)


def continued(second: float) -> RunContinued:
    return RunContinued(
        at=at(second),
        input_json=b'{"n":%d}' % second,
        version="2",
        policy=RetryPolicy(max_retries=7),
        step_timeout=at(9) - at(0),
    )


ENDS = (4, 7, 10)
"""The revisions at which a later run begins; those runs before ended after 10, 20 and 30 seconds."""

LATER: Sequence[Transition] = (
    RUN_STARTED,
    replace(succeeded(0), notes_json=NOTES),
    continued(10),
    succeeded(0, name="b"),
    EventReceived(at=at(15), event="paid", event_id="evt_1", data_json=b'{"eur":1.0}'),
    continued(20),
    succeeded(0, name="c"),
    succeeded(1, name="d"),
    continued(30),
    succeeded(0, name="e"),
)


async def deleted(store: Store, ended_by: float, *, limit: int = 100, id: str = "wf_1") -> bool:
    past = await store.runs.past(id, ended_by=at(ended_by), limit=limit)
    return await store.runs.delete_past(id, deletion_before(replay(past)))


async def history_of(store: Store, id: str = "wf_1") -> list[Transition]:
    found = (await store.histories([id]))[id]
    assert isinstance(found, Sequence)
    return list(found)


class RunStoreContract:
    """Uses the fixture `store` and the methods `stored` and `reopen` of `StoreContract`."""

    async def _stored(self, store: Store, id: str = "wf_1", *more: Transition) -> Instance:
        instance: Instance = await self.stored(store, new_instance(id), *LATER, *more)  # type: ignore[attr-defined]
        return instance

    async def test_overdue_is_what_has_a_run_that_ended_by_then(self, store: Store) -> None:
        for each in ("wf_1", "wf_2", "wf_3"):
            await self._stored(store, each)
        await self.stored(store, new_instance("wf_4"), RUN_STARTED, succeeded(0))  # type: ignore[attr-defined]
        assert await store.runs.overdue(ended_by=at(9), limit=9) == []
        assert await store.runs.overdue(ended_by=at(10), limit=2) == ["wf_1", "wf_2"]
        await deleted(store, 10, id="wf_1")
        assert await store.runs.overdue(ended_by=at(19), limit=9) == ["wf_2", "wf_3"]
        assert await store.runs.overdue(ended_by=at(20), limit=9) == ["wf_1", "wf_2", "wf_3"]
        await store.park("wf_3", f"{PARKED}no")
        assert await store.runs.overdue(ended_by=at(20), limit=9) == ["wf_1", "wf_2"]

    async def test_the_past_ends_where_a_later_run_begins(self, store: Store) -> None:
        instance = await self._stored(store)
        whole = [instance.origin, *LATER]
        for ended_by, limit, expected in ((9, 99, 0), (10, 99, 4), (25, 99, 7), (99, 99, 10), (99, 9, 7), (99, 2, 4)):
            past = await store.runs.past("wf_1", ended_by=at(ended_by), limit=limit)
            assert list(past) == whole[:expected]
        assert list(await store.runs.past("wf_9", ended_by=at(99), limit=9)) == []

    async def test_what_is_left_adds_up_to_the_same(self, store: Store) -> None:
        instance = await self._stored(store)
        before = await store.summary("wf_1")
        for ended_by, revision in zip((10, 20, 30), ENDS, strict=True):
            assert await deleted(store, ended_by)
            history = await history_of(store)
            assert replay(history) == instance
            assert history[2:] == [*LATER[revision - 1 :]]
            assert await store.summary("wf_1") == before
        assert len(history) == 3
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert await history_of(store) == history

    async def test_what_was_deleted_is_not_deleted_again(self, store: Store) -> None:
        await self._stored(store)
        past = await store.runs.past("wf_1", ended_by=at(20), limit=99)
        deletion = deletion_before(replay(past))
        assert await store.runs.delete_past("wf_1", deletion)
        assert not await store.runs.delete_past("wf_1", deletion)
        assert not await store.runs.delete_past("wf_9", deletion)
        assert not await store.runs.delete_past("wf_1", replace(deletion, replaces=8)), "no run begins there"
        assert len(await history_of(store)) == 6

    async def test_it_goes_on_from_there(self, store: Store) -> None:
        instance = await self._stored(store)
        await deleted(store, 30)
        last = completed(40)
        ended = after(instance, last)
        await store.append(ended, [last])
        assert replay(await history_of(store)) == ended
        assert await store.runs.overdue(ended_by=at(99), limit=9) == []
        assert await store.delete(["wf_1"]) == 1
        assert await store.histories(["wf_1"]) == {}

    async def test_pages_leave_out_what_is_gone(self, store: Store) -> None:
        await self._stored(store)
        await deleted(store, 20)
        history = await history_of(store)
        for beginning, limit, expected, last in (
            (0, 9, history, 11),
            (0, 2, history[:2], 7),
            (1, 1, history[1:2], 7),
            (3, 2, history[1:3], 8),
            (7, 9, history[2:], 11),
            (11, 9, [], 11),
        ):
            page = await store.history_page("wf_1", after=beginning, limit=limit)
            assert page is not None
            assert (list(page.transitions), page.last, page.revision) == (expected, last, 11)
            assert page.is_last == (last == 11)

    async def test_a_whole_history_with_a_gap_can_be_created(self, store: Store) -> None:
        instance = await self._stored(store)
        await deleted(store, 20)
        history = await history_of(store)
        ended = after(instance, completed(40))
        await store.append(ended, [completed(40)])
        await store.delete(["wf_1"])
        assert await store.create(instance, later=history[1:]) is None
        assert await history_of(store) == history
        assert replay(await history_of(store)) == instance
        await store.append(ended, [completed(40)])
