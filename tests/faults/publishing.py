"""An engine on whose file orders come in, until it is killed: `python -m tests.faults.publishing DATABASE NAME`.

Each order is an instance that waits with the order's key and completes with what is published under it. A third are
started first, a third after the event, a third by an event of their own. A line of stdout names each order for which
everything has been acknowledged; the first one says that it begins. Between the commit of an event and the look for
whoever waits for it some time passes. With `--torn` a claim is two transactions: what the harness must see.
"""

import asyncio
import itertools
import random
import sys
from collections.abc import Sequence
from typing import Any

from pylon_workflows import EngineSettings, PublishedStart, WorkflowDefinition, WorkflowEngine
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import Transition
from pylon_workflows.matcher import Matcher
from pylon_workflows.ports import Apply, Store, Turn, Write
from runner_protocol.messages import Action, Complete, WaitEvent, parse_request

AT_A_TIME = 16


class Orders:
    """The runner: an order waits for its event and is done."""

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        request = parse_request(turn.body)
        outputs = [record.output for record in request.completed_steps]
        action: Action = WaitEvent(event="paid", correlation=f"order:{request.workflow_id}")
        if outputs:
            action = Complete(output=outputs[0])
        await apply([action])


class TornClaims:
    """The published events of a store, of which a claim is two transactions."""

    def __init__(self, store: Store) -> None:
        self._append = store.append
        self._published = store.published

    def __getattr__(self, name: str) -> Any:
        return getattr(self._published, name)

    def claim(self, key: int, instance: Instance, transitions: Sequence[Transition]) -> Write[bool]:
        done: Write[bool] = Write()
        self.claiming = asyncio.create_task(self._claim(done, key, instance, transitions))
        return done

    async def _claim(self, done: Write[bool], key: int, instance: Instance, transitions: Sequence[Transition]) -> None:
        is_claimed = await self._published.claim(key, instance, [])
        await asyncio.sleep(0.05)
        if is_claimed:
            await self._append(instance, transitions)
        done.set_result(is_claimed)


def orders_engine(database: str) -> WorkflowEngine:
    settings = EngineSettings(shutdown_grace_s=0, has_discovery=False)
    engine = WorkflowEngine(runner=Orders(), database=database, settings=settings)
    engine.register(WorkflowDefinition("order"))
    return engine


async def order(engine: WorkflowEngine, id: str, kind: int) -> None:
    key = f"order:{id}"

    async def start() -> None:
        await engine.start("order", id=id)

    async def pay() -> None:
        await engine.publish("paid", id, correlation=key, event_id=id, source="shop")

    match kind:
        case 0:
            await start()
            await pay()
        case 1:
            await pay()
            await start()
        case _:
            await engine.publish("created", correlation=key, start=PublishedStart("order", id=id), event_id=id)
            await pay()


async def main(database: str, name: str, *options: str) -> None:
    match_at_once = Matcher._match

    async def match_later(matcher: Matcher, *look: Any) -> None:
        await asyncio.sleep(random.uniform(0, 0.02))
        await match_at_once(matcher, *look)

    Matcher._match = match_later  # type: ignore[method-assign]
    engine = orders_engine(database)
    if "--torn" in options:
        store: Any = engine._engine._store
        store.published = TornClaims(store)
    numbers = itertools.count()
    async with engine:
        tell("begun")

        async def orders() -> None:
            while True:
                number = next(numbers)
                await order(engine, f"{name}-{number}", number % 3)
                tell(f"{name}-{number}")

        await asyncio.gather(*(orders() for _ in range(AT_A_TIME)))


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
