"""The real engine over a store in memory, without a runner: a test gives the answers, with `apply`, and moves time."""

from datetime import UTC, datetime
from typing import Any

from pylon_workflows.core.instance import Instance
from pylon_workflows.ports import EMPTY, EventReceipt, Started
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import FakeClock
from pylon_workflows.workflow_engine import WorkflowEngine
from runner_protocol.messages import Action, Diverged


class StillEngine(WorkflowEngine):
    """Time stands at 09:00:00, and moves on a second before each change."""

    def __init__(self) -> None:
        clock = FakeClock(datetime(2026, 11, 21, 9, 0, tzinfo=UTC))
        super().__init__(runner=None, store=MemoryStore(), clock=clock, jitter=lambda: 1.0)

    async def start_or_find(self, name: str, input: Any = EMPTY, **options: Any) -> Started:
        self.clock.advance(1)
        return await super().start_or_find(name, input, **options)

    async def send_event(
        self, instance_id: str, event: str, data: Any = EMPTY, *, event_id: str | None = None
    ) -> EventReceipt:
        self.clock.advance(1)
        return await super().send_event(instance_id, event, data, event_id=event_id)

    async def apply(self, instance_id: str, action: Action) -> Instance:
        self.clock.advance(1)
        return await super().apply(instance_id, action)

    async def block(self, instance_id: str) -> None:
        await self.apply(instance_id, Diverged(position=0, expected="charge", got="mail"))


class TroubledEngine:
    """Whatever is asked of it, it raises `trouble`."""

    is_running = True

    def __init__(self, trouble: Exception) -> None:
        self.trouble = trouble

    async def _raise(self, *_arguments: Any, **_options: Any) -> Any:
        raise self.trouble

    start_or_find = get = list = send_event = cancel = resume = advance = delete = _raise
    history_page = definitions = save_definition = _raise

    async def has_tokens(self) -> bool:
        return False
