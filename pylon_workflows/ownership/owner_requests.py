"""The changes that a standby asks of the owner: each as a request of the owner's HTTP API, and its answer read.

What the caller can be told without the owner is told here, in the owner's words: it checks with the same functions.
A start and an event get an id before they are first sent, so that the same request may be sent again after an answer
that never came.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Generic, NoReturn, Protocol, TypeVar
from urllib.parse import quote

from pylon_workflows.canonical_json import CanonicalJson, checked_json, checked_text
from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.revisions import last_revision
from pylon_workflows.core.transitions import Transition
from pylon_workflows.declared_types import check_type
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.engine import LocalEngine
from pylon_workflows.errors import (
    CorruptDatabaseError,
    EventTooLargeError,
    InputTooLargeError,
    InstanceNotBlockedError,
    InvalidInputError,
    UnknownInstanceError,
    WorkflowError,
)
from pylon_workflows.ids import check_possible_id, new_instance_id
from pylon_workflows.ports import EventReceipt, Started
from pylon_workflows.schedule import Schedule
from pylon_workflows.settings import EngineSettings
from pylon_workflows.start_options import StartOptions, checked_start
from runner_protocol.messages import Action
from runner_protocol.strict_json import MAX_DEPTH, JsonError, encode, encode_parsed

T = TypeVar("T")

_MICROSECOND = timedelta(microseconds=1)


async def as_told(error: WorkflowError, _reading: "Reading") -> NoReturn:
    """An error counts, though an earlier try may have done the work."""
    raise error


class Reading(Protocol):
    """Where a change looks when its answer was lost, or says too little."""

    async def get(self, instance_id: str) -> Instance:
        """The instance as it is now."""
        ...

    async def get_schedule(self, schedule_id: str) -> Schedule:
        """The schedule as it is now."""
        ...

    async def history(self, instance_id: str) -> Sequence[Transition]:
        """All transitions of the instance, in order."""
        ...

    async def at_revision(self, instance_id: str, revision: int) -> Instance:
        """The instance as it was then."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRequest(Generic[T]):
    """A change, as a request to the owner and as a call on the engine of this process, should it become the owner.

    `read` makes the result from the answer's JSON. `read_repeated` makes it from an error, when an earlier try may have
    done the work, or raises it. One that is not `is_repeatable` is not tried again after its answer was
    lost. `look` makes the request to send, about what is there before the first try and about nothing that comes after.
    """

    method: str
    target: str
    body: bytes
    call: Callable[[LocalEngine], Awaitable[T]]
    read: Callable[[int, Any, Reading], Awaitable[T]]
    read_repeated: Callable[[WorkflowError, Reading], Awaitable[T]] = as_told
    is_repeatable: bool = True
    look: Callable[[Reading], Awaitable["OwnerRequest[T]"]] | None = None


def start(
    settings: EngineSettings, name: str, input: Any, options: StartOptions, *, now: datetime
) -> OwnerRequest[Started]:
    """Start an instance. Without an id or key it gets an id here, and then it is new however often it is sent.

    A delay begins `now`.
    """
    check_type(name, str, "name")
    input_json = CanonicalJson(checked_json(input, "input", settings.max_input_bytes, InputTooLargeError))
    try:
        members = {"name": encode(name), "input": input_json}
    except JsonError as error:
        raise InvalidInputError(f"name: {error}") from None
    sent = checked_start(options, now)
    is_ours = sent.id is None and sent.idempotency_key is None
    if is_ours:
        sent = sent._replace(id=new_instance_id(now))
    for option, value in sent.options().items():
        members[option] = encode_parsed(value.isoformat() if isinstance(value, datetime) else value)

    async def call(engine: LocalEngine) -> Started:
        started = await engine.start_or_find(name, input_json, **sent.options())
        return Started(id=started.id, is_new=started.is_new or is_ours)

    async def read(status: int, answer: Any, _reading: Reading) -> Started:
        return Started(id=answer["id"], is_new=status == 201 or is_ours)

    return OwnerRequest(method="POST", target="/start", body=object_of(members), call=call, read=read)


def event(
    settings: EngineSettings, instance_id: str, event: str, data: Any, event_id: str | None
) -> OwnerRequest[EventReceipt]:
    """Send an event. Without an id of its sender's it gets one here, and is nobody's duplicate."""
    members = {"event": encode_parsed(checked_text(event, "event"))}
    is_ours = event_id is None
    sent_id = secrets.token_hex(16) if event_id is None else checked_text(event_id, "event_id")
    data_json = CanonicalJson(checked_json(data, "data", settings.max_event_bytes, EventTooLargeError))
    members["data"] = data_json
    members["event_id"] = encode_parsed(sent_id)

    async def call(engine: LocalEngine) -> EventReceipt:
        receipt = await engine.send_event(instance_id, event, data_json, event_id=sent_id)
        return EventReceipt(is_duplicate=receipt.is_duplicate and not is_ours)

    async def read(_status: int, answer: Any, _reading: Reading) -> EventReceipt:
        return EventReceipt(is_duplicate=answer["duplicate"] and not is_ours)

    return OwnerRequest(
        method="POST", target=path_of(instance_id, "event"), body=object_of(members), call=call, read=read
    )


def cancel(instance_id: str) -> OwnerRequest[None]:
    """Cancel an instance; again is the same."""
    target = path_of(instance_id, "cancel")
    return OwnerRequest(
        method="POST", target=target, body=b"", call=lambda engine: engine.cancel(instance_id), read=_nothing
    )


def resume(instance_id: str) -> OwnerRequest[Status]:
    """Let a blocked instance go on, once: one that is blocked anew when this is tried again is left so."""

    async def read_repeated(error: WorkflowError, reading: Reading) -> Status:
        if isinstance(error, InstanceNotBlockedError):
            return (await reading.get(instance_id)).status
        raise error

    async def look(reading: Reading) -> OwnerRequest[Status]:
        try:
            revision = last_revision(await reading.history(instance_id))
        except CorruptDatabaseError:
            return request  # it is read again, and then there is nothing to resume
        target = f"{request.target}?after={revision}"
        return replace(request, target=target, call=lambda engine: engine.resume(instance_id, after=revision))

    request = OwnerRequest(
        method="POST",
        target=path_of(instance_id, "resume"),
        body=b"",
        call=lambda engine: engine.resume(instance_id),
        read=_status,
        read_repeated=read_repeated,
        look=look,
    )
    return request


def advance(instance_id: str) -> OwnerRequest[Status]:
    """Do what is due; again does nothing more."""
    target = path_of(instance_id, "advance")
    return OwnerRequest(
        method="POST", target=target, body=b"", call=lambda engine: engine.advance(instance_id), read=_status
    )


def delete(instance_id: str) -> OwnerRequest[None]:
    """Delete a finished instance. One that is unknown when this is tried again has been deleted by it."""

    async def read_repeated(error: WorkflowError, _reading: Reading) -> None:
        if not isinstance(error, UnknownInstanceError):
            raise error

    return OwnerRequest(
        method="DELETE",
        target=path_of(instance_id),
        body=b"",
        call=lambda engine: engine.delete(instance_id),
        read=_nothing,
        read_repeated=read_repeated,
    )


def apply(instance_id: str, action: Action) -> OwnerRequest[Instance]:
    """Apply a canned answer. A second one would answer the next question, so this is not sent twice."""
    try:
        body = encode(action.model_dump(), max_depth=MAX_DEPTH + 1)
    except ValueError as error:
        raise InvalidInputError(f"action: {error}") from None

    async def read(_status: int, answer: Any, reading: Reading) -> Instance:
        return await reading.at_revision(instance_id, answer["revision"])

    return OwnerRequest(
        method="POST",
        target=path_of(instance_id, "apply"),
        body=body,
        call=lambda engine: engine.apply(instance_id, action),
        read=read,
        is_repeatable=False,
    )


def save_definition(definition: WorkflowDefinition) -> OwnerRequest[None]:
    """Keep a definition, whole: the public route takes less of it."""
    check_type(definition, WorkflowDefinition, "definition")
    members = {}
    for term in fields(definition):
        value = getattr(definition, term.name)
        is_duration = isinstance(value, timedelta)
        members[f"{term.name}_us" if is_duration else term.name] = value // _MICROSECOND if is_duration else value
    try:
        body = encode(members, max_depth=MAX_DEPTH + 1)
    except JsonError as error:
        raise InvalidInputError(f"definition: {error}") from None
    return OwnerRequest(
        method="PUT",
        target="/definitions",
        body=body,
        call=lambda engine: engine.save_definition(definition),
        read=_nothing,
    )


async def _nothing(_status: int, _answer: Any, _reading: Reading) -> None:
    return None


async def _status(_http_status: int, answer: Any, _reading: Reading) -> Status:
    return Status(answer["status"])


def path_of(instance_id: str, verb: str = "") -> str:
    """An instance's path. An id that none can have is unknown, as the owner would say, and would be another path."""
    return f"/{quote(check_possible_id(instance_id), safe='')}" + (f"/{verb}" if verb else "")


def object_of(members: Mapping[str, bytes]) -> bytes:
    """The JSON object of members that are JSON already."""
    return b"{" + b",".join(b'"' + name.encode() + b'":' + value for name, value in members.items()) + b"}"
