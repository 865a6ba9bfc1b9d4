"""Waits for conditions instead of times."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.workflow_engine import WorkflowEngine

_POLL_S = 0.001


async def wait_until(condition: Callable[[], Any], *, timeout_s: float = 10.0) -> None:
    """Let the event loop run until the condition, plain or async, holds. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not (await found if inspect.isawaitable(found := condition()) else found):  # noqa: ASYNC110 -- any condition
            await asyncio.sleep(_POLL_S)


async def wait_for_status(
    engine: WorkflowEngine, instance_id: str, status: Status | str, *, timeout_s: float = 10.0
) -> Instance:
    """Let the event loop run until the instance has this status; returns it. Raises TimeoutError, ValueError."""
    if status not in tuple(Status):
        raise ValueError(f"status: {status!r} is none of {', '.join(Status)}")

    async def has_status() -> bool:
        return (await engine.get(instance_id)).status == status

    try:
        await wait_until(has_status, timeout_s=timeout_s)
    except TimeoutError:
        instance = await engine.get(instance_id)
        due = instance.retry_at or instance.wake_at
        hint = f", due at {due}: a FakeClock moves only when the test advances it" if due else ""
        raise TimeoutError(f"{instance_id} is {instance.status} after {timeout_s} s, not {status}{hint}") from None
    return await engine.get(instance_id)
