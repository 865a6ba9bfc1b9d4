"""Starting an instance, once per id and idempotency key (PROMISES.md P13)."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pylon_workflows.changes import Changes
from pylon_workflows.core.evolution import begin
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import InstanceStarted
from pylon_workflows.definitions import Definitions
from pylon_workflows.errors import StartConflictError, StorageFullError, StoreError, UnknownInstanceError
from pylon_workflows.ids import new_instance_id, new_seed
from pylon_workflows.live_instances import LiveInstances
from pylon_workflows.ports import Clock, Started, Store
from pylon_workflows.start_options import StartOptions, checked_start
from runner_protocol.strict_json import encode_parsed, same_value

T = TypeVar("T")


class Starts:
    """Makes instances of the definitions; `committed` hears of each new one, after it is durable."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        live: LiveInstances,
        definitions: Definitions,
        clock: Clock,
        committed: Callable[[Instance], None],
    ) -> None:
        self._store = store
        self._live = live
        self._changes = changes
        self._definitions = definitions
        self._clock = clock
        self._committed = committed

    def new_instance(self, name: str, input_json: bytes, options: StartOptions) -> Instance:
        """An instance that is not stored yet. Raises UnknownWorkflowError, InvalidInputError."""
        definition = self._definitions.get(name)
        now = self._clock.now()
        start = checked_start(options, now)
        return begin(
            InstanceStarted(
                at=now,
                id=start.id or new_instance_id(now),
                name=definition.name,
                version=definition.version,
                input_json=input_json,
                idempotency_key=start.idempotency_key,
                seed=new_seed(),
                policy=definition.policy,
                step_timeout=definition.step_timeout,
                due_at=start.due_at,
                parent_id=start.parent_id,
                tags_json=encode_parsed(dict(start.tags)) if start.tags else None,
            )
        )

    async def create(self, instance: Instance, *, has_given_id: bool) -> Started:
        """Store it, or find the one that has its id or key. Raises StartConflictError when that one is another."""
        while (existing_id := await self._store_new(instance)) is not None:
            try:
                existing = await self._changes.read(existing_id)
            except UnknownInstanceError:
                continue  # retention has just deleted it
            has_same_id = existing_id == instance.id or not has_given_id
            has_same_input = same_value(existing.origin.input_json, instance.origin.input_json)
            if has_same_id and existing.name == instance.name and has_same_input:
                return Started(id=existing_id, is_new=False)
            which = "id" if existing_id == instance.id else "idempotency key"
            same = {"id": has_same_id, "name": existing.name == instance.name, "input": has_same_input}
            others = " and ".join(term for term, is_same in same.items() if not is_same)
            raise StartConflictError(f"the {which} belongs to {existing_id}, which has another {others}")
        return Started(id=instance.id, is_new=True)

    async def _store_new(self, instance: Instance) -> str | None:
        return await self.stored(instance, lambda: self._store.create(instance), is_new=lambda taken: taken is None)

    async def stored(self, instance: Instance, store: Callable[[], Awaitable[T]], *, is_new: Callable[[T], bool]) -> T:
        """What `store` returns, which stores the instance or finds another, as `is_new` tells of what it returns.

        A new instance is in memory at once, for it is about to be driven.
        """
        with self._live.use(instance.id) as live:
            async with live.lock:
                try:
                    outcome = await store()
                except StoreError as error:
                    if not isinstance(error, StorageFullError):
                        self._changes.doubts.add(instance.id)
                    raise
                if is_new(outcome):
                    live.instance = instance
        if is_new(outcome):
            self._committed(instance)
        return outcome
