"""What can be seen of the instances of the process that owns the store, as it happens."""

from pylon_workflows.core.instance import Instance
from pylon_workflows.engine_parts import EngineParts
from pylon_workflows.explain.finding import explanation_of
from pylon_workflows.explain.shapes import Driving, Explanation
from pylon_workflows.ports import ChangePage, Clock
from pylon_workflows.summaries import HistoryPage, RunnerWait


class LiveEngine(EngineParts):
    """The calls of a `LocalEngine` about what goes on."""

    @property
    def clock(self) -> Clock:
        """See `ports.Engine.clock`."""
        return self._clock

    async def explain(self, instance_id: str) -> Explanation:
        """See `ports.Engine.explain`."""
        self._check_running()
        instance = await self._changes.show(instance_id)
        return await explanation_of(self._store, instance, self._clock.now(), self._driving(instance))

    def _driving(self, instance: Instance) -> Driving:
        dispatcher = self._dispatcher
        if dispatcher is None or not instance.is_runnable:
            return Driving(place="no_runner")
        return Driving(
            place=dispatcher.place_of(instance.id, instance.name),
            asked_at=self._live.asked_at(instance.id),
            turns_in_flight=dispatcher.turns_in_flight,
            wait=dispatcher.runner_wait(instance.id, instance.name),
        )

    async def next_history(self, instance_id: str, *, after: int, timeout_s: float) -> HistoryPage:
        """See `ports.Engine.next_history`."""
        self._check_running()
        return await self._following.next_history(instance_id, after=after, timeout_s=timeout_s)

    async def next_changes(self, *, after: int | None, timeout_s: float) -> ChangePage:
        """See `ports.Engine.next_changes`."""
        self._check_running()
        return await self._following.next_changes(after=after, timeout_s=timeout_s)

    @property
    def unexplained_instances(self) -> int | None:
        """See `ports.Engine.unexplained_instances`."""
        return len(self._watchdog.unexplained)

    @property
    def given_up_webhooks(self) -> int | None:
        """See `ports.Engine.given_up_webhooks`."""
        return self._sending.given_up

    def waiting_for_runner(self, instance: Instance) -> RunnerWait | None:
        """See `ports.Engine.waiting_for_runner`."""
        if self._dispatcher is None or not instance.is_runnable:
            return None
        return self._dispatcher.runner_wait(instance.id, instance.name)
