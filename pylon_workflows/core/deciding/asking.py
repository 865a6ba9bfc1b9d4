"""What actions have in common: the key of the record they make, what it comes after, the notes they carry."""

from typing import Any

from pylon_workflows.core.instance import Instance
from pylon_workflows.errors import MalformedAnswerError, VarsTooLargeError
from runner_protocol.fields import format_timestamp
from runner_protocol.messages import (
    Approval,
    Complete,
    ContinueAsNew,
    Fail,
    LogLine,
    Map,
    Parallel,
    Sleep,
    StartChild,
    StepComplete,
    StepSkip,
    WaitEvent,
)
from runner_protocol.strict_json import encode_parsed

MAX_VARS_BYTES = 256 * 1024
"""What the variables of an instance may have together, as JSON."""

MAX_LOG_LENGTH = 2_000
"""How many characters of a log line are kept."""

_NOTES = frozenset({"vars", "unset", "usage", "progress", "logs", "noted"})


Recording = StepComplete | StepSkip | Fail | Sleep | WaitEvent | Approval | Parallel | Map | StartChild
"""The actions that make a record."""

Noting = Recording | Complete | ContinueAsNew
"""The actions whose notes are applied."""


def record_key(instance: Instance, given: str | None, name: str) -> str:
    """The key of the action's record. Raises MalformedAnswerError when it is recorded already."""
    if given is None:
        return instance.records.free_key(name)
    if instance.records.is_taken(given):
        raise MalformedAnswerError(f"key: {given!r} is already recorded in this run")
    return given


def after(instance: Instance, action: Recording) -> int | None:
    """How many positions the code had been handed. Raises MalformedAnswerError when those are more than there are."""
    positions = action.after
    if positions is not None and positions > instance.current_step:
        raise MalformedAnswerError(f"after: {positions} positions, but this run has taken {instance.current_step}")
    return positions


def notes_json(instance: Instance, action: Noting) -> bytes | None:
    """The notes that the action carries, cut to what is kept; null when it has none.

    Raises:
        VarsTooLargeError: all variables together would be. MalformedAnswerError: more notes have been applied already
            than the action counts.
    """
    if action.__pydantic_fields_set__.isdisjoint(_NOTES):  # the property for it costs five times as much
        return None
    notes: dict[str, Any] = {}
    if action.vars:
        notes["vars"] = action.vars
        size = instance.vars.changed(action.vars, action.unset or ()).size
        if size > MAX_VARS_BYTES:
            raise VarsTooLargeError(
                f"vars: the instance's variables would have {size} bytes, the limit is {MAX_VARS_BYTES}"
            )
    if action.unset:
        notes["unset"] = action.unset
    if action.usage is not None:
        notes["usage"] = action.usage.model_dump()
    if action.progress is not None:
        notes["progress"] = action.progress.model_dump()
    if action.logs:
        notes["logs"] = [_kept(line) for line in action.logs]
    if action.noted is not None:
        if action.noted < instance.noted:
            raise MalformedAnswerError(f"noted: {action.noted}, but {instance.noted} notes of this run are applied")
        notes["noted"] = action.noted
    return encode_parsed(notes) if notes else None


def _kept(line: LogLine) -> dict[str, str]:
    return {"at": format_timestamp(line.at), "level": line.level, "message": line.message[:MAX_LOG_LENGTH]}
