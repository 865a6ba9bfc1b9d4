"""What users call on an engine to publish events: done in this process, or by whichever process owns the file."""

from typing import Any

from pylon_workflows.engine import LocalEngine
from pylon_workflows.ownership import publish_requests
from pylon_workflows.ownership.access import Access
from pylon_workflows.ports import EMPTY, PublishReceipt
from pylon_workflows.published import PublishedStart
from pylon_workflows.settings import EngineSettings


class PublishCalls:
    """The call of a `WorkflowEngine` that publishes an event; see `EngineCalls`."""

    _engine: LocalEngine
    _access: Access
    _settings: EngineSettings

    async def publish(
        self,
        event: str,
        data: Any = EMPTY,
        *,
        correlation: str,
        event_id: str | None = None,
        source: str = "",
        start: PublishedStart | None = None,
    ) -> PublishReceipt:
        """Deliver an event to the instance that waits for it with this correlation key, whichever that is.

        The event is stored when the call returns. Of several instances that wait the one gets it that has waited
        longest and whose `match` it fits. Nobody waiting, it starts what `start` says; without that it is kept until
        such a wait begins, for `keep_published_for` (7 days) at most. The key has 1 to 512 characters.

        A repeat of an `event_id` from the same `source` (at most 64 of A-Z a-z 0-9 _ . -) is a duplicate and changes
        nothing; an id is known for 7 days, and for as long as its event is kept.

        Raises:
            InvalidInputError and its kinds, EventTooLargeError, InputTooLargeError; UnknownWorkflowError: of `start`;
            KeptEventsFullError: 2,000 events of that name and key are kept already.
        """
        return await self._access.change(
            lambda: self._engine.publish(
                event, data, correlation=correlation, event_id=event_id, source=source, start=start
            ),
            lambda: publish_requests.publish(
                self._settings, event, data, correlation=correlation, event_id=event_id, source=source, start=start
            ),
        )
