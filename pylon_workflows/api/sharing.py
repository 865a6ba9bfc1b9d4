"""One answer for all who ask for the same thing at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from pylon_workflows.logs import without_request

K = TypeVar("K")
T = TypeVar("T")


class _Asked(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.count = 0


class Sharing(Generic[K, T]):
    """Questions by their keys, while somebody waits for their answers."""

    def __init__(self) -> None:
        self._asked: dict[K, _Asked[T]] = {}

    async def ask(self, key: K, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `ask` comes to, which is called when nobody waits for the same. Raises what that raises."""
        asked = self._asked.get(key)
        if asked is None or asked.task.done():
            asked = self._asked[key] = _Asked(asyncio.create_task(ask(), context=without_request()))
        asked.count += 1
        try:
            return await asyncio.shield(asked.task)
        finally:
            asked.count -= 1
            if not asked.count:
                asked.task.cancel()
                if self._asked.get(key) is asked:
                    del self._asked[key]
