"""What every `LiveRows` does: `StoreContract`'s implementations subclass this one too."""

from dataclasses import replace
from datetime import timedelta

from pylon_workflows.core.commands import ApplyAction, Block, Cancel
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import begin, evolve
from pylon_workflows.core.instance import Instance
from pylon_workflows.ports import Store
from runner_protocol.messages import Action, Approval, Sleep, StartChild, StepComplete, WaitEvent
from tests.contracts.store_contract import at, new_instance

HOUR = timedelta(hours=1)


async def change(store: Store, instance_id: str, command: ApplyAction | Block | Cancel) -> Instance:
    instance = new_instance(instance_id)
    await store.create(instance)
    transitions = decide(instance, command, at(1))
    for transition in transitions:
        instance = evolve(instance, transition)
    await store.append(instance, transitions)
    return instance


def answer(action: Action, **more: object) -> ApplyAction:
    return ApplyAction(action=action, turn_started_at=at(1), jitter=1.0, **more)  # type: ignore[arg-type]


async def found(store: Store, limit: int = 3) -> list[str]:
    ids: list[str] = []
    after = 0
    while True:
        piece = await store.live_rows.without_reason(after=after, limit=limit)
        if piece.next is None:
            return ids
        assert piece.next > after
        ids += piece.ids
        after = piece.next


class LiveRowsContract:
    """Uses the fixture `store` of `StoreContract`."""

    async def test_what_lives_has_a_reason_or_is_found(self, store: Store) -> None:
        assert await found(store) == []
        await store.create(new_instance("wf_runnable"))
        await store.create(begin(replace(new_instance("wf_delayed").origin, due_at=at(9))))
        await change(store, "wf_sleeps", answer(Sleep(duration=HOUR)))
        await change(store, "wf_waits", answer(WaitEvent(event="paid")))
        await change(store, "wf_gate", answer(Approval(name="ship")))
        await change(store, "wf_stepped", answer(StepComplete(step_name="a")))
        await change(store, "wf_cancelled", Cancel())
        await change(store, "wf_blocked", Block(reason="history-too-large"))
        assert await found(store) == []

    async def test_one_whose_child_is_over_or_not_there_is_found(self, store: Store) -> None:
        for name, command in (("open", None), ("over", Cancel())):
            child = new_instance(f"wf_{name}").origin
            await change(store, f"wf_of_{name}", answer(StartChild(name="c", workflow="w", id=child.id), child=child))
            if command is None:
                await store.create(new_instance(child.id))
            else:
                await change(store, child.id, command)
        gone = new_instance("wf_gone").origin
        await change(store, "wf_of_gone", answer(StartChild(name="c", workflow="w", id=gone.id), child=gone))
        for limit in (1, 2, 100):
            assert await found(store, limit) == ["wf_of_over", "wf_of_gone"]
