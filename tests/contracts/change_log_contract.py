"""What every `ChangeLog` does: `StoreContract`'s implementations subclass this one too."""

from pylon_workflows.core.commands import Cancel, DeliverEvent
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import evolve
from pylon_workflows.core.instance import Instance
from pylon_workflows.ports import Store
from tests.contracts.store_contract import at, new_instance


async def change(store: Store, instance: Instance, *commands: DeliverEvent | Cancel) -> Instance:
    transitions = []
    for command in commands:
        for transition in decide(instance, command, at(1)):
            transitions.append(transition)
            instance = evolve(instance, transition)
    await store.append(instance, transitions)
    return instance


EVENT = DeliverEvent(event="paid", data_json=b"{}", event_id=None)


class ChangeLogContract:
    """Uses the fixture `store` and the method `reopen` of `StoreContract`."""

    async def test_an_empty_store_has_changed_never(self, store: Store) -> None:
        assert await store.change_log.last() == 0
        page = await store.change_log.since(0)
        assert (page.after, list(page.instances), page.is_complete) == (0, [], True)

    async def test_what_has_changed_is_told_once_a_page_in_the_order_of_the_last_changes(self, store: Store) -> None:
        a, b = new_instance("wf_a"), new_instance("wf_b")
        await store.create(a)
        begin = await store.change_log.last()
        await store.create(b)
        b = await change(store, b, EVENT, EVENT)
        a = await change(store, a, EVENT)
        page = await store.change_log.since(0)
        assert [(each.id, each.revision) for each in page.instances] == [("wf_b", 3), ("wf_a", 2)]
        assert (page.is_complete, page.after) == (True, await store.change_log.last())
        later = await store.change_log.since(begin)
        assert [each.id for each in later.instances] == ["wf_b", "wf_a"]
        await change(store, b, EVENT)
        assert [each.id for each in (await store.change_log.since(page.after)).instances] == ["wf_b"]
        assert list((await store.change_log.since(await store.change_log.last())).instances) == []

    async def test_numbers_grow_also_through_deletions_and_restarts(self, store: Store) -> None:
        numbers = [await store.change_log.last()]
        for name in ("wf_1", "wf_2", "wf_3"):
            instance = new_instance(name)
            await store.create(instance)
            await change(store, instance, Cancel())
            numbers.append(await store.change_log.last())
            await store.delete([name])
            assert await store.change_log.last() == numbers[-1]
            store = await self.reopen(store)  # type: ignore[attr-defined]
        assert numbers == sorted(set(numbers))
        await store.create(new_instance("wf_4"))
        found = await store.change_log.since(numbers[-1])
        assert [each.id for each in found.instances] == ["wf_4"], "no number comes twice: this one would be missed"
        everything = await store.change_log.since(0)
        assert [each.id for each in everything.instances] == ["wf_4"], "the deleted ones are left out"

    async def test_a_number_that_is_yet_to_come_is_after_everything(self, store: Store) -> None:
        await store.create(new_instance("wf_a"))
        page = await store.change_log.since(10**15)
        assert (page.after, list(page.instances), page.is_complete) == (await store.change_log.last(), [], True)

    async def test_many_changes_come_in_pages(self, store: Store) -> None:
        for number in range(1_050):
            await store.create(new_instance(f"wf_{number}"))
        first = await store.change_log.since(0)
        second = await store.change_log.since(first.after)
        assert (first.is_complete, second.is_complete) == (False, True)
        ids = [each.id for each in (*first.instances, *second.instances)]
        assert ids == [f"wf_{number}" for number in range(1_050)]
