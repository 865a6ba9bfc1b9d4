"""What the runs before the present one have come to, once their transitions are deleted: as a transition, and back.

At the beginning of a run an instance has no records, waits for nothing and does nothing: what it has is little, and all
of it is here (docs/decisions/0027-earlier-runs.md).
"""

import json
from typing import Any

from pylon_workflows.core.children import Child, Children
from pylon_workflows.core.event_ids import EventIds
from pylon_workflows.core.instance import InboxEvent, Instance, Status, Terms
from pylon_workflows.core.notes import Progress
from pylon_workflows.core.transitions import EarlierRunsDeleted
from pylon_workflows.core.usage import Usage
from pylon_workflows.core.variables import Variables
from runner_protocol.strict_json import encode_parsed


def deletion_before(instance: Instance) -> EarlierRunsDeleted:
    """What may stand for all that came before, of an instance that has just begun another run.

    Raises:
        ValueError: no run but the first has just begun.
    """
    started_at, run_started_at = instance.started_at, instance.run_started_at
    has_just_begun = instance.status is Status.RUNNING and not instance.records and instance.group is None
    if instance.run == 1 or not has_just_begun or started_at is None or run_started_at is None:
        raise ValueError(f"no later run has just begun at revision {instance.revision}")
    terms, progress = instance.terms, instance.progress
    return EarlierRunsDeleted(
        at=run_started_at,
        replaces=instance.revision,
        run=instance.run,
        input_json=terms.input_json,
        version=terms.version,
        policy=terms.policy,
        step_timeout=terms.step_timeout,
        started_at=started_at,
        vars_json=instance.vars.json,
        usage_json=instance.usage.json,
        progress_json=None if progress is None else encode_parsed([progress.percent, progress.message]),
        children_json=encode_parsed([_written(child) for child in instance.children.values()]),
        inbox_json=b"[%b]" % b",".join(map(_unread, instance.inbox)),
        event_ids_json=encode_parsed(list(instance.event_ids)),
    )


def begun_after(instance: Instance, deletion: EarlierRunsDeleted) -> Instance:
    """The state that the deleted runs led to. Raises ValueError, TypeError, ArithmeticError: it holds no such state."""
    variables = Variables().changed(json.loads(deletion.vars_json))
    progress: Any = None if deletion.progress_json is None else json.loads(deletion.progress_json)
    children, event_ids = Children(), EventIds()
    for child_id, run, key, on_parent_close in json.loads(deletion.children_json):
        children = children.add(Child(id=child_id, run=run, key=key, on_parent_close=on_parent_close))
    for event_id in json.loads(deletion.event_ids_json):
        event_ids = event_ids.add(event_id)
    return Instance(
        origin=instance.origin,
        terms=Terms(
            input_json=deletion.input_json,
            version=deletion.version,
            policy=deletion.policy,
            step_timeout=deletion.step_timeout,
        ),
        run=deletion.run,
        revision=deletion.replaces,
        status=Status.RUNNING,
        started_at=deletion.started_at,
        run_started_at=deletion.at,
        vars=variables,
        run_vars=variables,
        usage=Usage.from_json(deletion.usage_json),
        progress=None if progress is None else Progress(percent=progress[0], message=progress[1]),
        children=children,
        inbox=tuple(
            InboxEvent(event=event, revision=revision, data_json=encode_parsed(data))
            for event, revision, data in json.loads(deletion.inbox_json)
        ),
        event_ids=event_ids,
    )


def _written(child: Child) -> list[Any]:
    return [child.id, child.run, child.key, child.on_parent_close]


def _unread(event: InboxEvent) -> bytes:
    return b"[%b,%d,%b]" % (encode_parsed(event.event), event.revision, event.data_json)
