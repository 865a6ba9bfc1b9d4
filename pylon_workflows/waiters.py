"""Callers that wait until an instance has finished."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pylon_workflows.core.instance import Instance
from pylon_workflows.errors import EngineNotRunningError, WorkflowError


class Waiters:
    """Futures by instance id; nothing is kept for an id that nobody waits for."""

    def __init__(self, read: Callable[[str], Awaitable[Instance]]) -> None:
        self._read = read
        self._futures: dict[str, set[asyncio.Future[Instance]]] = {}

    async def wait(self, instance_id: str, timeout_s: float | None) -> Instance:
        """The instance once it has finished. Raises UnknownInstanceError, TimeoutError."""
        future: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        futures = self._futures.setdefault(instance_id, set())
        futures.add(future)
        try:
            instance = await self._read(instance_id)
            return instance if instance.is_finished else await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise TimeoutError(f"{instance_id} has not finished within {timeout_s:g} s") from None
        finally:
            if not future.cancel() and not future.cancelled():
                future.exception()  # heard, although the reading may have told its end first
            futures.discard(future)
            if not futures and self._futures.get(instance_id) is futures:
                del self._futures[instance_id]

    @property
    def ids(self) -> Sequence[str]:
        """The instances that anybody waits for."""
        return list(self._futures)

    def finished(self, instance: Instance) -> None:
        """An instance has finished and that is committed."""
        for future in self._futures.pop(instance.id, ()):
            if not future.done():
                future.set_result(instance)

    def failed(self, instance_id: str, error: WorkflowError) -> None:
        """There is nothing to wait for any more: it has been deleted, or its end cannot be read."""
        for future in self._futures.pop(instance_id, ()):
            if not future.done():
                future.set_exception(type(error)(*error.args))

    def close(self, reason: WorkflowError | None = None) -> None:
        """Nobody will finish any more: tell everyone who waits. `reason` says why the engine has failed, if it has."""
        why = reason or EngineNotRunningError("the engine was closed before the instance finished")
        for future in [future for futures in self._futures.values() for future in futures]:
            if not future.done():
                future.set_exception(type(why)(*why.args))
