"""What the program `load.py` was told by the engine, and what of it a file must hold.

["start", id]                  the start has been accepted
["event", id, event id]        the event has been accepted
["published", id, event id]    the event that is published under its id has been accepted
["cancel", id]                 the cancel has been accepted
["approved", id]               the decision about its gate has been accepted
["turn", id, n]                the runner was shown n records: so many actions had been applied
["seen", id, revision]         somebody was shown this revision
["finished", id, status]       a waiting caller was told the end;   ["announced", ...] the callback was
["full" | "refused", id, what] a call, or the event of that id, was refused: the disk is full, or fails
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pylon_workflows.core.instance import Instance, Status

Words = tuple[Any, ...]


class Acknowledgement(NamedTuple):
    """One line that says something about an instance."""

    kind: str
    instance_id: str
    detail: Any = None

    def is_kept_by(self, instance: Instance | None) -> bool:
        """Whether an instance, as a file has it, is as the engine said."""
        return instance is not None and _KEPT[self.kind](instance, self.detail)


_KEPT: dict[str, Callable[[Instance, Any], bool]] = {
    "start": lambda instance, _: True,
    "event": lambda instance, event_id: event_id in instance.event_ids,
    "published": lambda instance, event_id: event_id in instance.event_ids,
    "approved": lambda instance, _: any(record.key == "approval:gate" for record in instance.records),
    "cancel": lambda instance, _: instance.status is Status.CANCELLED,
    "turn": lambda instance, records: len(instance.records) >= records,
    "seen": lambda instance, revision: instance.revision >= revision,
    "finished": lambda instance, status: instance.status == status,
    "announced": lambda instance, status: instance.status == status,
}


def heard(lines: Iterable[str | bytes]) -> list[Words]:
    """All whole lines, in order; one that a kill has cut short was not heard."""
    return [tuple(json.loads(line)) for line in lines if line[-1:] in ("\n", b"\n")]


def acknowledgements(words: Iterable[Words]) -> list[Acknowledgement]:
    """Those of the lines that a file must keep."""
    return [Acknowledgement(*line) for line in words if line[0] in _KEPT]


def lost(said: Iterable[Acknowledgement], instances: Mapping[str, Instance]) -> list[Acknowledgement]:
    """What was acknowledged and is not there."""
    return [each for each in said if not each.is_kept_by(instances.get(each.instance_id))]
