"""What users call on an engine to see what its instances do now, and what they do next."""

from pylon_workflows.declared_types import check_type
from pylon_workflows.engine import LocalEngine
from pylon_workflows.errors import NoOwnerError
from pylon_workflows.explain.shapes import Explanation
from pylon_workflows.ownership import live_requests
from pylon_workflows.ownership.access import Access
from pylon_workflows.ports import ChangePage, Clock
from pylon_workflows.summaries import HistoryPage


class LiveCalls:
    """The calls of a `WorkflowEngine` about what goes on; see `EngineCalls`."""

    _engine: LocalEngine
    _access: Access

    @property
    def clock(self) -> Clock:
        """What tells this engine the time, and the API over it: tokens expire by it."""
        return self._engine.clock

    async def explain(self, instance_id: str) -> Explanation:
        """Why an instance is where it is: what it waits for and since when, and what would let it go on.

        `str` of it is plain words. A standby asks the owner; where that does not answer, it tells what the file tells.

        Raises:
            UnknownInstanceError
        """
        try:
            return await self._access.change(
                lambda: self._engine.explain(instance_id), lambda: live_requests.explain(instance_id)
            )
        except NoOwnerError:
            return await self._access.read(lambda source: source.explain(instance_id))

    async def next_history(self, instance_id: str, *, after: int, timeout_s: float) -> HistoryPage:
        """What has happened to an instance since the revision `after`, as soon as anything has; see `history_page`.

        The page is empty when nothing has within `timeout_s` seconds, or when the instance has not come so far.

        Raises:
            UnknownInstanceError, InvalidInputError
        """
        check_type(timeout_s, float, "timeout_s")
        return await self._access.read(
            lambda source: source.next_history(instance_id, after=after, timeout_s=timeout_s)
        )

    async def next_changes(self, *, after: int | None, timeout_s: float) -> ChangePage:
        """Instances that have changed since the number `after`, as soon as any has; ask again with the page's `after`.

        Such numbers last as long as the file. Without one it tells at once which is the newest. One that changes many
        times may be told of once, as it is then.
        """
        check_type(after, int | None, "after")
        check_type(timeout_s, float, "timeout_s")
        return await self._access.read(lambda source: source.next_changes(after=after, timeout_s=timeout_s))

    @property
    def unexplained_instances(self) -> int | None:
        """How many instances nothing would ever let go on, which is a fault and should be 0; see the log.

        Only the owner knows (`role`), within some minutes: elsewhere it is None.
        """
        return self._engine.unexplained_instances if self._access.role == "owner" else None

    @property
    def given_up_webhooks(self) -> int | None:
        """How many outbound webhooks (`webhooks=`) were given up, after three days, since this process owns the file.

        The log tells which. Only the owner knows (`role`): elsewhere it is None.
        """
        return self._engine.given_up_webhooks if self._access.role == "owner" else None
