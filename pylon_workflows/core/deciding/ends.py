"""How an instance ends, and what it hears of its end."""

from datetime import datetime

from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import InstanceBlocked
from pylon_workflows.errors import InstanceFinishedError
from runner_protocol.messages import Diverged


def refuse_finished(instance: Instance, what: str) -> None:
    """Raise InstanceFinishedError when the instance has finished, and so `what`."""
    if instance.is_finished:
        raise InstanceFinishedError(f"{instance.id} is {instance.status} and {what}")


def diverged(action: Diverged, now: datetime) -> InstanceBlocked:
    """The code no longer fits the records."""
    reason = (
        f"the workflow's code no longer fits its records: at position {action.position} "
        f"the record is {action.expected!r}, the code asks for {action.got!r}"
    )
    return InstanceBlocked(at=now, reason=reason)
