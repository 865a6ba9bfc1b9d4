"""An engine in memory that keeps the contract of `ports.Engine` as far as the HTTP API can tell, and drives nothing.

Its rules are the core's. A test gives the answers of the runner with `apply`, as on an engine without a runner.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pylon_workflows import errors
from pylon_workflows.core.commands import ApplyAction, Block, Cancel, Command, DeliverEvent, Resume, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import begin, evolve
from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.transitions import InstanceStarted, Transition
from pylon_workflows.definitions import Definitions, WorkflowDefinition
from pylon_workflows.ids import new_instance_id, new_seed
from pylon_workflows.ports import EMPTY, EventReceipt, InstanceSummary, Started
from runner_protocol.messages import Action
from runner_protocol.strict_json import encode, same_value

MAX_EVENT_BYTES = 256 * 1024


class FakeEngine:
    """Instances of it stand still. Time passes a second with each change; `trouble` is raised by every call."""

    def __init__(self) -> None:
        self.is_running = True
        self.trouble: Exception | None = None
        self.now = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
        self._definitions = Definitions()
        self._histories: dict[str, list[Transition]] = {}
        self._instances: dict[str, Instance] = {}

    def register(self, definition: WorkflowDefinition) -> None:
        self._definitions.register(definition)

    async def apply(self, instance_id: str, action: Action) -> Instance:
        self._change(instance_id, ApplyAction(action=action, turn_started_at=self.now))
        return self._instances[instance_id]

    async def block(self, instance_id: str, reason: str) -> None:
        self._change(instance_id, Block(reason=reason))

    async def start_or_find(
        self, name: str, input: Any = EMPTY, *, id: str | None = None, idempotency_key: str | None = None
    ) -> Started:
        self._check()
        definition, input_json = self._definitions.get(name), encode(input)
        for instance in self._instances.values():
            is_key_taken = idempotency_key is not None and instance.origin.idempotency_key == idempotency_key
            if instance.id == id or is_key_taken:
                if instance.name != name or not same_value(instance.origin.input_json, input_json):
                    raise errors.StartConflictError(f"belongs to {instance.id}, which has another name or input")
                return Started(id=instance.id, is_new=False)
        self.now += timedelta(seconds=1)
        started = InstanceStarted(
            at=self.now,
            id=id or new_instance_id(self.now),
            name=name,
            version=definition.version,
            input_json=input_json,
            idempotency_key=idempotency_key,
            seed=new_seed(),
            policy=definition.policy,
            step_timeout=definition.step_timeout,
        )
        self._histories[started.id], self._instances[started.id] = [started], begin(started)
        return Started(id=started.id, is_new=True)

    async def get(self, instance_id: str) -> Instance:
        self._check()
        if instance_id not in self._instances:
            raise errors.UnknownInstanceError(f"no instance has the id {instance_id!r}")
        return self._instances[instance_id]

    async def list(
        self,
        *,
        statuses: Sequence[Status] = (),
        name: str | None = None,
        after: str | None = None,
        limit: int = 200,
    ) -> Sequence[InstanceSummary]:
        self._check()
        newest_first = list(reversed(self._instances.values()))
        ids = [instance.id for instance in newest_first]
        page = newest_first[ids.index(after) + 1 :] if after in ids else newest_first
        found = [each for each in page if each.status in (statuses or Status) and name in (None, each.name)]
        return [_summary(instance) for instance in found[:limit]]

    async def send_event(
        self, instance_id: str, event: str, data: Any = EMPTY, *, event_id: str | None = None
    ) -> EventReceipt:
        data_json = encode(data)
        if len(data_json) > MAX_EVENT_BYTES:
            raise errors.TooLargeError(f"data: has {len(data_json)} bytes, the limit is {MAX_EVENT_BYTES}")
        await self.get(instance_id)
        transitions = self._change(instance_id, DeliverEvent(event=event, data_json=data_json, event_id=event_id))
        return EventReceipt(is_duplicate=not transitions)

    async def cancel(self, instance_id: str) -> None:
        await self.get(instance_id)
        self._change(instance_id, Cancel())

    async def resume(self, instance_id: str) -> Status:
        await self.get(instance_id)
        self._change(instance_id, Resume())
        return self._instances[instance_id].status

    async def advance(self, instance_id: str) -> Status:
        await self.get(instance_id)
        self._change(instance_id, WakeUp())
        return self._instances[instance_id].status

    async def delete(self, instance_id: str) -> None:
        instance = await self.get(instance_id)
        if not instance.is_finished:
            raise errors.InstanceNotFinishedError(f"{instance_id} is {instance.status}")
        del self._instances[instance_id], self._histories[instance_id]

    async def history(self, instance_id: str) -> Sequence[Transition]:
        await self.get(instance_id)
        return list(self._histories[instance_id])

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        self._check()
        return list(self._definitions)

    async def save_definition(self, definition: WorkflowDefinition) -> None:
        self._check()
        self._definitions.restore([definition])

    def _check(self) -> None:
        if not self.is_running:
            raise errors.EngineNotRunningError("the engine is not running")
        if self.trouble is not None:
            raise self.trouble

    def _change(self, instance_id: str, command: Command) -> Sequence[Transition]:
        self.now += timedelta(seconds=1)
        transitions = decide(self._instances[instance_id], command, self.now)
        for transition in transitions:
            self._histories[instance_id].append(transition)
            self._instances[instance_id] = evolve(self._instances[instance_id], transition)
        return transitions


def _summary(instance: Instance) -> InstanceSummary:
    return InstanceSummary(
        id=instance.id,
        name=instance.name,
        version=instance.version,
        run=instance.run,
        revision=instance.revision,
        status=instance.status,
        current_step=instance.current_step,
        waiting_for=instance.waiting_for,
        due_at=instance.due_at,
        error=instance.error,
        blocked_reason=instance.blocked_reason,
        max_retries=instance.max_retries,
        created_at=instance.created_at,
        started_at=instance.started_at,
        completed_at=instance.completed_at,
    )
