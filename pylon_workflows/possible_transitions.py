"""What no engine writes into a history: for those that come from elsewhere.

Whether a history is true nobody can know. But what stands in it is sent to runners and driven, so it must be what one
of the engine's doors would have let in.
"""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pylon_workflows.canonical_json import checked_text
from pylon_workflows.core.transitions import (
    AttemptFailed,
    ChildFinished,
    ChildStarted,
    EarlierRunsDeleted,
    GroupStarted,
    InstanceStarted,
    RunContinued,
    StepFailed,
    StepSucceeded,
    Transition,
)
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.ids import check_instance_id
from pylon_workflows.tags import checked_tags
from runner_protocol.bounds import ListOf
from runner_protocol.messages import Action, MalformedMessageError, UsageTotal, read_action

_Number = Annotated[int, Field(ge=1)]
_SEED = re.compile(r"[0-9a-f]{32}")
_NOTES = frozenset({"vars", "unset", "usage", "progress", "logs", "noted"})


def check_transition(transition: Transition) -> None:
    """Look at what the fields hold. Raises InvalidInputError, whose message begins with the field."""
    match transition:
        case InstanceStarted():
            _check_start(transition)
        case RunContinued():
            _check_timeout(transition.step_timeout)
        case EarlierRunsDeleted():
            _check_timeout(transition.step_timeout)
            _check_past(transition)
        case GroupStarted():
            _check_group(transition)
        case StepSucceeded():
            _checked_action({"action": "step_complete", "kind": transition.kind})
        case AttemptFailed():
            _checked_action({"action": "fail", "kind": transition.kind})
        case StepFailed() if transition.kind != "child":
            _checked_action({"action": "fail", "kind": transition.kind})
        case ChildStarted():
            check_instance_id(transition.child_id, "child_id")
        case ChildFinished() if transition.usage_json is not None:
            try:
                UsageTotal.model_validate_json(transition.usage_json)
            except ValueError:
                raise InvalidInputError("usage: should be what a child has cost") from None
    if (notes_json := getattr(transition, "notes_json", None)) is not None:
        notes = json.loads(notes_json)
        if not isinstance(notes, dict) or not notes.keys() <= _NOTES:
            raise InvalidInputError(f"notes: should be an object of {', '.join(sorted(_NOTES))}")
        _checked_action({"action": "complete", **notes}, "notes.")


def _check_start(started: InstanceStarted) -> None:
    check_instance_id(started.id)
    checked_text(started.name, "name")
    for field in ("version", "idempotency_key"):
        if (text := getattr(started, field)) is not None:
            checked_text(text, field)
    if started.parent_id is not None:
        check_instance_id(started.parent_id, "parent_id")
    if not _SEED.fullmatch(started.seed):
        raise InvalidInputError("seed: should be 32 hex digits")
    if started.tags_json is not None:
        checked_tags(json.loads(started.tags_json))
    _check_timeout(started.step_timeout)


def _check_timeout(step_timeout: timedelta) -> None:
    if not step_timeout:
        raise InvalidInputError("step_timeout_s: must be more than 0")


class _Past(BaseModel):
    """What earlier runs have led to, as `EarlierRunsDeleted` has it."""

    model_config = ConfigDict(strict=True)
    vars: dict[str, Any]
    usage: UsageTotal
    progress: tuple[float | None, str | None] | None
    children: ListOf[tuple[str, _Number, str, Literal["cancel", "abandon"]]]
    inbox: ListOf[tuple[str, _Number, Any]]
    event_ids: ListOf[str]


def _check_past(deleted: EarlierRunsDeleted) -> None:
    members = {field: getattr(deleted, f"{field}_json") or b"null" for field in _Past.model_fields}
    try:
        past = _Past.model_validate_json(
            b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), value) for name, value in members.items())
        )
    except ValidationError as error:
        place = error.errors(include_url=False)[0]["loc"][0]
        raise InvalidInputError(f"{place}: should be what the earlier runs have led to") from None
    for child_id, *_ in past.children:
        check_instance_id(child_id, "children")
    if deleted.run < 2:
        raise InvalidInputError(f"run: {deleted.run} has none before it")


def _check_group(started: GroupStarted) -> None:
    members = json.loads(started.members_json)
    if started.kind == "map":
        given = {"items": members}
    elif started.kind == "parallel" and isinstance(members, list):
        are_pairs = all(isinstance(member, list) and len(member) == 2 for member in members)
        given = {"members": [{"name": name, "input": value} for name, value in members] if are_pairs else members}
    else:
        raise InvalidInputError(f"kind: {started.kind!r:.60} with these members is no group")
    _checked_action(
        {"action": started.kind, "name": started.name, "max_in_flight": started.max_in_flight, "key": started.key}
        | given
    )


def _checked_action(fields: Mapping[str, Any], place: str = "") -> Action:
    """The action that would have led to the transition."""
    try:
        return read_action(dict(fields))
    except MalformedMessageError as error:
        raise InvalidInputError(f"{place}{error}") from None
