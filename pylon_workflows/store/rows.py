"""An instance and a definition as the columns of their rows, and back."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from pylon_workflows.core.instance import FINISHED, EventWait, Instance, Status
from pylon_workflows.core.revisions import numbered
from pylon_workflows.core.transitions import InstanceStarted, Transition
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.ports import PARKED, InstanceSummary
from pylon_workflows.store.codec import duration_to_microseconds, encode, from_microseconds, to_microseconds
from runner_protocol.strict_json import encode as encode_json
from runner_protocol.strict_json import parse as parse_json

Row = tuple[Any, ...]

TRANSITION = ("type", "at", "body", "payload")
STATE = (
    "run",
    "version",
    "max_retries",
    "status",
    "current_step",
    "waiting_for",
    "correlation",
    "waiting_since",
    "due_at",
    "error",
    "blocked_reason",
    "started_at",
    "completed_at",
    "is_unannounced",
)
ORIGIN = ("name", "created_at", "idempotency_key", "parent_id")
RESTORED = ("id", "revision", "tags", "name", "created_at", "parent_id", *STATE[:-1])
EARLIER = ("id", "revision", *TRANSITION)
APPENDED = (*EARLIER, "former_revision", *STATE)
CREATED = ("id", "revision", *TRANSITION, "tags", *ORIGIN, *STATE)
SUMMARY = tuple(field.name for field in fields(InstanceSummary))
TAGS = """(
    SELECT json_group_object(CAST(tags.name AS TEXT), CAST(tags.value AS TEXT))
    FROM tags WHERE tags.instance = instances.key
)"""
SUMMARY_COLUMNS = ", ".join(TAGS if name == "tags" else f"instances.{name}" for name in SUMMARY)
DEFINITION = (
    "name",
    "version",
    "description",
    "max_retries",
    "step_timeout",
    "initial_backoff",
    "maximum_backoff",
    "max_in_flight",
    "source",
    "input_schema",
)

_STATUS_WORDS = {status: status.value for status in Status}
_STATUSES = {status.value: status for status in Status}


def appended_rows(
    instance: Instance, transitions: Sequence[Transition], *, is_to_announce: bool, is_whole: bool = False
) -> list[Row]:
    """A row of EARLIER for each transition but the last, and of APPENDED for that: with the state they all lead to.

    The payload is a bytearray, for which `sqlite3` looks for no adapter, as it does for bytes.
    Where the history `is_whole` they follow its first transition, and there may be a gap in their revisions.
    """
    instance_id = instance.origin.id
    former = 1 if is_whole else instance.revision - len(transitions)
    last = (former, *_state(instance, is_to_announce=is_to_announce))
    rows: list[Row] = []
    for revision, transition in numbered(transitions, after=former):
        kind, at, body, payload = encode(transition)
        rows.append((instance_id, revision, kind, at, body, None if payload is None else bytearray(payload)))
    rows[-1] += last
    return rows


def created_row(instance: Instance) -> Row:
    """A row of CREATED."""
    origin = instance.origin
    return (
        origin.id,
        instance.revision,
        *encode(origin),
        _tags(origin),
        origin.name,
        to_microseconds(origin.at),
        origin.idempotency_key,
        origin.parent_id,
        *_state(instance, is_to_announce=False),
    )


def restored_row(instance: Instance) -> Row:
    """A row of RESTORED."""
    origin = instance.origin
    return (
        origin.id,
        instance.revision,
        _tags(origin),
        origin.name,
        to_microseconds(origin.at),
        origin.parent_id,
        *_state(instance, is_to_announce=False)[:-1],
    )


def _tags(origin: InstanceStarted) -> str | None:
    return None if origin.tags_json is None else origin.tags_json.decode()


def _state(instance: Instance, *, is_to_announce: bool) -> Row:
    wait, due_at = instance.wait, instance.due_at
    started_at, completed_at = instance.started_at, instance.completed_at
    terms = instance.terms
    correlation, waiting_since = None, None
    if wait is not None and isinstance(wait, EventWait) and wait.correlation is not None:
        correlation, waiting_since = wait.correlation, to_microseconds(wait.started_at)
    return (
        instance.run,
        terms.version,
        terms.policy.max_retries,
        _STATUS_WORDS[instance.status],
        instance.current_step,
        None if wait is None else instance.waiting_for,
        correlation,
        waiting_since,
        None if due_at is None else to_microseconds(due_at),
        instance.error,
        instance.blocked_reason,
        None if started_at is None else to_microseconds(started_at),
        None if completed_at is None else to_microseconds(completed_at),
        1 if is_to_announce else 0,
    )


def summary_from(row: Row) -> InstanceSummary:
    """The summary of a row of SUMMARY: `blocked` with the reason where something of it cannot be read."""
    values: dict[str, Any] = {}
    unreadable = []
    for name, value in zip(SUMMARY, row, strict=True):
        read, instead = _SUMMARY_FIELDS[name]
        try:
            values[name] = read(value)
        except (KeyError, TypeError, ValueError, OverflowError):
            values[name] = instead
            unreadable.append(name)
    if unreadable:
        if values["status"] not in FINISHED:
            values["status"] = Status.BLOCKED
        values["blocked_reason"] = values["blocked_reason"] or f"{PARKED}its row: {', '.join(unreadable)}"
    return InstanceSummary(**values)


def text(value: Any) -> str:
    """A column that is a text. Raises TypeError, UnicodeEncodeError."""
    if type(value) is not str:
        raise TypeError
    if not value.isascii():
        value.encode()
    return value


def number(value: Any) -> int:
    """A column that is a whole number. Raises TypeError."""
    if type(value) is not int:
        raise TypeError
    return value


def texts(value: Any) -> dict[str, str]:
    """A column that is a JSON object of texts. Raises TypeError, ValueError."""
    found = json.loads(text(value))
    return {text(name): text(each) for name, each in found.items()}


def or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Reads a column that may be null."""
    return lambda value: None if value is None else read(value)


def moment(value: Any) -> datetime:
    """A column that is a time. Raises TypeError, ValueError, OverflowError."""
    return from_microseconds(number(value))


_SUMMARY_FIELDS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "id": (text, "?"),
    "name": (text, "?"),
    "version": (or_none(text), None),
    "run": (number, 1),
    "revision": (number, 0),
    "status": (_STATUSES.__getitem__, Status.BLOCKED),
    "current_step": (number, 0),
    "waiting_for": (or_none(text), None),
    "due_at": (or_none(moment), None),
    "error": (or_none(text), None),
    "blocked_reason": (or_none(text), None),
    "max_retries": (number, 0),
    "created_at": (moment, from_microseconds(0)),
    "started_at": (or_none(moment), None),
    "completed_at": (or_none(moment), None),
    "parent_id": (or_none(text), None),
    "tags": (texts, {}),
}
"""How each column is read, and what stands for one that cannot be."""


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
        definition.source,
        None if definition.input_schema is None else encode_json(dict(definition.input_schema)).decode(),
    )


def definitions_from(rows: Iterable[Row]) -> tuple[list[WorkflowDefinition], list[str]]:
    """The definitions of rows of DEFINITION; and of each row that is none, a sentence that names it and says why."""
    definitions, unreadable = [], []
    for row in rows:
        try:
            definitions.append(_definition_from(row))
        except InvalidInputError as error:
            unreadable.append(f"the definition {row[0]!r:.140} cannot be read: {error}")
    return definitions, unreadable


def _definition_from(row: Row) -> WorkflowDefinition:
    terms: dict[str, Any] = {}
    for name, value in zip(DEFINITION, row, strict=True):
        try:
            terms[name] = _DEFINITION_TERMS[name](value)
        except (TypeError, ValueError, OverflowError):
            raise InvalidInputError(f"{name}: {value!r:.60}") from None
    return WorkflowDefinition(terms.pop("name"), **terms)


def _schema(value: Any) -> Any:
    return parse_json(text(value))


def _duration(value: Any) -> timedelta:
    return timedelta(microseconds=number(value))


_DEFINITION_TERMS: dict[str, Callable[[Any], Any]] = {
    "name": text,
    "version": or_none(text),
    "description": or_none(text),
    "max_retries": number,
    "step_timeout": _duration,
    "initial_backoff": _duration,
    "maximum_backoff": _duration,
    "max_in_flight": or_none(number),
    "source": text,
    "input_schema": or_none(_schema),
}
"""How each column is read."""
