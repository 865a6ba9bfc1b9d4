"""An instance and a definition as the columns of their rows, and back."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.transitions import Transition
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.ports import InstanceSummary
from pylon_workflows.store.codec import duration_to_microseconds, encode, from_microseconds, to_microseconds

Row = tuple[Any, ...]

TRANSITION = ("type", "at", "body", "payload")
STATE = (
    "run",
    "status",
    "current_step",
    "waiting_for",
    "due_at",
    "error",
    "blocked_reason",
    "started_at",
    "completed_at",
    "is_unannounced",
)
ORIGIN = ("name", "version", "max_retries", "created_at", "idempotency_key")
APPENDED = ("id", "revision", *TRANSITION, "former_revision", *STATE)
CREATED = ("id", "revision", *TRANSITION, *ORIGIN, *STATE)
SUMMARY = tuple(field.name for field in fields(InstanceSummary))
DEFINITION = (
    "name",
    "version",
    "description",
    "max_retries",
    "step_timeout",
    "initial_backoff",
    "maximum_backoff",
    "max_in_flight",
)

_STATUS_WORDS = {status: status.value for status in Status}
_STATUSES = {status.value: status for status in Status}
_NO_STATE = (None,) * (1 + len(STATE))


def appended_rows(instance: Instance, transitions: Sequence[Transition], *, is_to_announce: bool) -> list[Row]:
    """A row of APPENDED a transition; the last one carries the state that all of them lead to."""
    instance_id = instance.origin.id
    former = instance.revision - len(transitions)
    last = (former, *_state(instance, is_to_announce=is_to_announce))
    if len(transitions) == 1:
        return [(instance_id, instance.revision, *encode(transitions[0]), *last)]
    rows: list[Row] = [
        (instance_id, revision, *encode(transition), *_NO_STATE)
        for revision, transition in enumerate(transitions, former + 1)
    ]
    rows[-1] = (*rows[-1][: -len(last)], *last)
    return rows


def created_row(instance: Instance) -> Row:
    """A row of CREATED."""
    origin = instance.origin
    return (
        origin.id,
        instance.revision,
        *encode(origin),
        origin.name,
        origin.version,
        origin.policy.max_retries,
        to_microseconds(origin.at),
        origin.idempotency_key,
        *_state(instance, is_to_announce=False),
    )


def _state(instance: Instance, *, is_to_announce: bool) -> Row:
    wait, due_at = instance.wait, instance.due_at
    started_at, completed_at = instance.started_at, instance.completed_at
    return (
        instance.run,
        _STATUS_WORDS[instance.status],
        instance.current_step,
        None if wait is None else wait.event,
        None if due_at is None else to_microseconds(due_at),
        instance.error,
        instance.blocked_reason,
        None if started_at is None else to_microseconds(started_at),
        None if completed_at is None else to_microseconds(completed_at),
        1 if is_to_announce else 0,
    )


def summary_from(row: Row) -> InstanceSummary:
    """The summary of a row of SUMMARY; raises CorruptDatabaseError for one that cannot be read."""
    values = dict(zip(SUMMARY, row, strict=True))
    try:
        values["status"] = _STATUSES[values["status"]]
        values["created_at"] = from_microseconds(values["created_at"])
        for name in ("due_at", "started_at", "completed_at"):
            values[name] = _time_or_none(values[name])
        return InstanceSummary(**values)
    except (KeyError, TypeError, OverflowError) as error:
        raise CorruptDatabaseError(f"instance {row[0]}: its row is unreadable: {error!r}") from error


def _time_or_none(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)


def definition_row(definition: WorkflowDefinition) -> Row:
    """A row of DEFINITION."""
    return (
        definition.name,
        definition.version,
        definition.description,
        definition.max_retries,
        duration_to_microseconds(definition.step_timeout),
        duration_to_microseconds(definition.initial_backoff),
        duration_to_microseconds(definition.maximum_backoff),
        definition.max_in_flight,
    )


def definition_from(row: Row) -> WorkflowDefinition:
    """The definition of a row of DEFINITION."""
    name, version, description, max_retries, step_timeout, initial_backoff, maximum_backoff, max_in_flight = row
    return WorkflowDefinition(
        name,
        version=version,
        description=description,
        max_retries=max_retries,
        step_timeout=timedelta(0, 0, step_timeout),
        initial_backoff=timedelta(0, 0, initial_backoff),
        maximum_backoff=timedelta(0, 0, maximum_backoff),
        max_in_flight=max_in_flight,
    )
