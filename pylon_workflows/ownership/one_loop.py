"""The way to an engine from the event loop in which it was started, and from no other.

A call from another loop would leave its tasks, its connections and half of a change there: so it is refused first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from pylon_workflows.core.instance import Instance
from pylon_workflows.errors import OtherLoopError, StoreError, WorkflowError
from pylon_workflows.ownership.access import Access, Source
from pylon_workflows.ownership.owner_requests import OwnerRequest
from pylon_workflows.ports import Role

T = TypeVar("T")


class OneLoopAccess:
    """`Access` by way of `access`, for the loop in which that is started.

    Each call raises OtherLoopError in any other, until it is stopped or its loop has ended.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def refusal(self) -> WorkflowError | None:
        """See `Access`. A thread without a loop is told what a call in the engine's own would be."""
        if (refusal := self._access.refusal) is not None:
            return refusal
        try:
            self._check()
        except OtherLoopError as error:
            return error
        except RuntimeError:
            pass
        return None

    def until_failed(self) -> Coroutine[Any, Any, StoreError]:
        """See `Access`."""
        self._check()
        return self._access.until_failed()

    @property
    def role(self) -> Role:
        """See `Access`."""
        return self._access.role

    async def start(self) -> None:
        """See `Access`."""
        former = self._loop
        if former is None or former.is_closed():
            self._loop = asyncio.get_running_loop()  # before anything is there that another loop could reach
        try:
            await self._access.start()
        except BaseException:
            self._loop = former
            raise

    async def stop(self) -> None:
        """See `Access`."""
        self._check()
        try:
            await self._access.stop()
        finally:
            self._loop = None

    def change(
        self, here: Callable[[], Awaitable[T]], request: Callable[[], OwnerRequest[T]]
    ) -> Coroutine[Any, Any, T]:
        """See `Access`."""
        self._check()
        return self._access.change(here, request)

    def read(self, use: Callable[[Source], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """See `Access`."""
        self._check()
        return self._access.read(use)

    def wait(self, instance_id: str, timeout_s: float | None) -> Coroutine[Any, Any, Instance]:
        """See `Access`."""
        self._check()
        return self._access.wait(instance_id, timeout_s)

    def _check(self) -> None:
        if self._loop is asyncio.get_running_loop() or self._loop is None or self._loop.is_closed():
            return
        raise OtherLoopError(
            "this engine was started in another event loop and can only be called there; nothing was done. Make the "
            "route or the function `async def`, so that it runs there; or call the engine by `anyio.from_thread.run`, "
            "or by `asyncio.run_coroutine_threadsafe` with that loop"
        )
