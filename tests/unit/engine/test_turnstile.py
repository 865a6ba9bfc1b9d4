"""A crowd with much to do goes through the event loop one at a time."""

import asyncio

from engine_parts import TroubledStore

from pylon_workflows import WorkflowDefinition
from pylon_workflows.testing import ScriptedRunner, engine_in_memory
from pylon_workflows.turnstile import Turnstile
from runner_protocol.messages import Complete, StepComplete


class Rounds:
    """Counts the rounds of the event loop, while it is open."""

    def __enter__(self):
        self.number = 0
        self._handle = asyncio.get_running_loop().call_soon(self._count)
        return self

    def __exit__(self, *_):
        self._handle.cancel()

    def _count(self):
        self.number += 1
        self._handle = asyncio.get_running_loop().call_soon(self._count)


async def test_one_passes_in_each_round_in_the_order_in_which_they_came():
    turnstile, passed = Turnstile(), []

    async def go(name):
        await turnstile.pass_through()
        passed.append((rounds.number, name))

    with Rounds() as rounds:
        await asyncio.gather(*(go(name) for name in range(20)))
    assert [name for _, name in passed] == list(range(20))
    assert len({number for number, _ in passed}) == 20


async def test_who_comes_alone_does_not_wait():
    turnstile = Turnstile()
    with Rounds() as rounds:
        await turnstile.pass_through()
        assert rounds.number == 0


async def test_who_is_cancelled_while_waiting_takes_no_round_and_holds_up_nobody():
    turnstile, passed = Turnstile(), []

    async def go(name):
        await turnstile.pass_through()
        passed.append(name)

    tasks = [asyncio.create_task(go(name)) for name in range(5)]
    await asyncio.sleep(0)
    for cancelled in (tasks[2], tasks[3]):
        cancelled.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert passed == [0, 1, 4]
    await asyncio.wait_for(turnstile.pass_through(), 1)


async def test_what_streams_bring_is_decided_one_batch_a_round():
    """So a turn of another workflow waits for one of them, and not for a hundred (P20)."""

    class Noting(TroubledStore):
        def append(self, *arguments, **options):
            if len(arguments[1]) > 4:
                appended.append(rounds.number)
            return super().append(*arguments, **options)

    appended = []
    answer = [*(StepComplete(step_name="s") for _ in range(20)), Complete()]
    engine = engine_in_memory(ScriptedRunner(lambda _: answer), store=Noting())
    engine.register(WorkflowDefinition("order"))
    with Rounds() as rounds:
        async with engine:
            ids = [await engine.start("order") for _ in range(50)]
            for instance_id in ids:
                await engine.wait(instance_id, 10)
    assert len(appended) == 50
    assert len(set(appended)) == 50
