"""A delivery given to the engine: stored and acknowledged, whoever it is for."""

from pylon_workflows.errors import CallerError, InboxFullError, UnknownWorkflowError
from pylon_workflows.hooks.delivery_ids import event_id_of
from pylon_workflows.hooks.interpretation import Delivery, NotApplicableError
from pylon_workflows.ids import check_possible_id
from pylon_workflows.ports import Engine
from pylon_workflows.published import PublishedStart

_MAY_COME_AGAIN = (InboxFullError, UnknownWorkflowError)
"""Refusals that pass: the inbox is read, the workflow is deployed."""


async def deliver(engine: Engine, source: str, delivery: Delivery) -> bool:
    """Store the event; whether it had been before.

    Raises:
        NotApplicableError: it can be stored for nobody, however often it comes.
        InboxFullError, UnknownWorkflowError, EngineError, StoreError: not now.
    """
    try:
        return await _deliver(engine, source, delivery)
    except _MAY_COME_AGAIN:
        raise
    except CallerError as error:
        raise NotApplicableError(error.code, str(error)) from None


async def _deliver(engine: Engine, source: str, delivery: Delivery) -> bool:
    if delivery.instance_id is not None:
        receipt = await engine.send_event(
            check_possible_id(delivery.instance_id),
            delivery.event,
            delivery.data,
            event_id=event_id_of(source, delivery.id),
        )
        return receipt.is_duplicate
    start: PublishedStart | None = None
    if delivery.start is not None:
        wanted = delivery.start
        start = PublishedStart(wanted.workflow, delivery.data, id=wanted.id, tags=wanted.tags)
    published = await engine.publish(
        delivery.event,
        delivery.data,
        correlation=delivery.correlation or "",
        event_id=event_id_of("", delivery.id),
        source=source,
        start=start,
    )
    return published.is_duplicate
