"""Instances, lists, histories and definitions as JSON. What is stored as JSON goes out as the bytes it is (P31)."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from pylon_workflows.core.children import Child
from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import ApprovalWait, Instance, Status
from pylon_workflows.core.notes import Progress
from pylon_workflows.core.revisions import numbered
from pylon_workflows.core.transitions import InstanceStarted, Transition
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.ports import InstanceSummary, RunnerWait
from pylon_workflows.schedule import Schedule
from pylon_workflows.summaries import BulkReceipt
from pylon_workflows.transition_json import transition_json
from pylon_workflows.turn_request import record_json
from runner_protocol.fields import format_timestamp
from runner_protocol.strict_json import encode_parsed

INSTANCE_MEMBERS = (
    "id",
    "name",
    "version",
    "run",
    "revision",
    "input",
    "status",
    "output",
    "error",
    "error_detail",
    "current_step",
    "steps",
    "waiting_for",
    "approval",
    "group",
    "wake_at",
    "retry_at",
    "waiting_for_runner",
    "blocked_reason",
    "max_retries",
    "vars",
    "usage",
    "progress",
    "tags",
    "parent_id",
    "parent",
    "children",
    "created_at",
    "started_at",
    "completed_at",
)
"""An instance's members in the order in which they are written."""


def instance_json(instance: Instance, *, wait: RunnerWait | None = None) -> bytes:
    """The instance with its input, output and the records of its present run, and what keeps it from the runner."""
    members = _common(instance)
    members["input"] = instance.terms.input_json
    members["output"] = instance.output_json or b"null"
    members["error_detail"] = instance.error_detail_json or b"null"
    members["approval"] = _gate(instance)
    members["group"] = b"null" if instance.group is None else _group(instance.group)
    members["vars"] = instance.vars.json
    members["usage"] = instance.usage.json
    members["progress"] = _progress(instance.progress)
    members["parent"] = _parent(instance.origin)
    members["children"] = _array(_child(child) for child in instance.children.values())
    members["waiting_for_runner"] = b"null" if wait is None else _runner_wait(wait)
    members["steps"] = _array(record_json(record, index) for index, record in enumerate(instance.records))
    return _object({name: members[name] for name in INSTANCE_MEMBERS})


def summaries_json(summaries: Sequence[InstanceSummary]) -> bytes:
    """A list's items: instances without input, output and records."""
    return _array(map(summary_json, summaries))


def summary_json(summary: InstanceSummary) -> bytes:
    """One of a list's items."""
    return _object(_common(summary))


def bulk_json(receipt: BulkReceipt) -> bytes:
    """What came of a page of a change of many."""
    return encode_parsed(asdict(receipt))


def history_json(history: Sequence[Transition], *, after: int = 0) -> bytes:
    """Transitions, those that follow a revision, as `transition_json` writes them."""
    return _array(transition_json(revision, transition) for revision, transition in numbered(history, after=after))


def definitions_json(definitions: Iterable[WorkflowDefinition]) -> bytes:
    """The definitions as an array."""
    return _array(definition_json(definition) for definition in definitions)


def definition_json(definition: WorkflowDefinition) -> bytes:
    """A definition, its timeout in seconds."""
    return encode_parsed(
        {
            "name": definition.name,
            "version": definition.version,
            "description": definition.description,
            "max_retries": definition.max_retries,
            "step_timeout_s": _seconds(definition.step_timeout),
            "max_in_flight": definition.max_in_flight,
            "input_schema": definition.input_schema,
            "source": definition.source,
        }
    )


def schedules_json(schedules: Iterable[Schedule]) -> bytes:
    """The schedules as an array."""
    return _array(schedule_json(schedule) for schedule in schedules)


def schedule_json(schedule: Schedule) -> bytes:
    """A schedule."""
    return _object(
        {
            "id": encode_parsed(schedule.id),
            "cron": encode_parsed(schedule.cron),
            "timezone": encode_parsed(schedule.timezone),
            "name": encode_parsed(schedule.name),
            "input": schedule.input_json,
            "missed": encode_parsed(schedule.missed),
            "tags": encode_parsed(dict(schedule.tags)),
            "paused": encode_parsed(schedule.is_paused),
            "next_at": _time(schedule.next_at),
            "last_at": _time(schedule.last_at),
            "last_instance_id": encode_parsed(schedule.last_instance_id),
            "created_at": _time(schedule.created_at),
        }
    )


def _runner_wait(wait: RunnerWait) -> bytes:
    return _object(
        {"reason": encode_parsed(wait.reason), "since": _time(wait.since), "next_try_at": _time(wait.next_try_at)}
    )


def _gate(instance: Instance) -> bytes:
    gate = instance.wait
    if not isinstance(gate, ApprovalWait):
        return b"null"
    return _object(
        {
            "key": encode_parsed(gate.key),
            "name": encode_parsed(gate.name),
            "message": encode_parsed(gate.message),
            "data": gate.data_json,
            "requested_at": _time(gate.started_at),
            "expires_at": _time(instance.due_at),
        }
    )


def _group(group: Group) -> bytes:
    return encode_parsed(
        {
            "key": group.key,
            "kind": group.kind,
            "name": group.name,
            "total": group.total,
            "succeeded": group.succeeded_count,
            "failed": group.failed_count,
        }
    )


def _progress(progress: Progress | None) -> bytes:
    return encode_parsed(None if progress is None else {"percent": progress.percent, "message": progress.message})


def _parent(origin: InstanceStarted) -> bytes:
    parent = {"workflow_id": origin.parent_id, "key": origin.parent_key, "run": origin.parent_run}
    return encode_parsed(None if origin.parent_id is None else parent)


def _child(child: Child) -> bytes:
    return encode_parsed(
        {"workflow_id": child.id, "key": child.key, "run": child.run, "on_parent_close": child.on_parent_close}
    )


def _common(instance: Instance | InstanceSummary) -> dict[str, bytes]:
    is_running = instance.status is Status.RUNNING
    return {
        "id": encode_parsed(instance.id),
        "name": encode_parsed(instance.name),
        "version": encode_parsed(instance.version),
        "run": encode_parsed(instance.run),
        "revision": encode_parsed(instance.revision),
        "status": encode_parsed(instance.status.value),
        "error": encode_parsed(instance.error),
        "current_step": encode_parsed(instance.current_step),
        "waiting_for": encode_parsed(instance.waiting_for),
        "wake_at": _unix(None if is_running else instance.due_at),
        "retry_at": _unix(instance.due_at if is_running else None),
        "blocked_reason": encode_parsed(instance.blocked_reason),
        "max_retries": encode_parsed(instance.max_retries),
        "created_at": _time(instance.created_at),
        "started_at": _time(instance.started_at),
        "completed_at": _time(instance.completed_at),
        "parent_id": encode_parsed(instance.parent_id),
        "tags": encode_parsed(dict(instance.tags)),
    }


def _object(members: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(b'"' + name.encode() + b'":' + value for name, value in members.items()) + b"}"


def _array(items: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def _time(value: datetime | None) -> bytes:
    return b"null" if value is None else b'"' + format_timestamp(value).encode() + b'"'


def _unix(value: datetime | None) -> bytes:
    return encode_parsed(None if value is None else round(value.timestamp(), 3))


def _seconds(value: timedelta) -> int | float:
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds
