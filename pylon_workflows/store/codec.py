"""A transition as the columns of its history row, and back.

`type` is the class's name and `at` a column of its own. `body` is a JSON object of all other fields but one: the first
field named `*_json`, where a class has one, is the `payload`, stored as the bytes it is; further ones stand in the body
as texts. Times are integers, microseconds since 1970 in UTC; durations are integers, microseconds.

A field that has a default is left out of the body when it holds it, and may be missing from one that is read: so rows
stay small, and histories that were written before a field was there fold as they did.

Reading is strict: whatever was not written by `encode` raises UnreadableInstanceError with the instance and revision.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, get_args, get_type_hints

from pydantic_core import from_json

from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.revisions import last_revision
from pylon_workflows.core.transitions import EarlierRunsDeleted, Transition
from pylon_workflows.errors import InvalidInputError, UnreadableInstanceError
from pylon_workflows.store.bodies import BodyField, body_writer, quoted
from runner_protocol.durations import MAX_DURATION

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_REASON = 300
_AFTER_A_GAP = EarlierRunsDeleted.__name__


class Encoded(NamedTuple):
    """The columns of a transition; `at` in microseconds."""

    type: str
    at: int
    body: str
    payload: bytes | None


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970; raises TypeError for a time without a zone."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The time in UTC; raises OverflowError beyond the years 1 to 9999."""
    return _EPOCH + timedelta(0, 0, microseconds)


def duration_to_microseconds(duration: timedelta) -> int:
    """Microseconds, exactly."""
    return duration // _MICROSECOND


def _duration(microseconds: int) -> timedelta:
    duration = timedelta(0, 0, microseconds)
    if not timedelta(0) <= duration <= MAX_DURATION:
        raise ValueError("a duration is negative, or longer than any may be")
    return duration


def _count(value: int) -> int:
    if not 0 <= value < 2**63:
        raise ValueError("a number is negative, or larger than any may be")
    return value


def _policy_to_json(policy: RetryPolicy) -> str:
    return (
        f'{{"max_retries":{policy.max_retries},'
        f'"initial_backoff":{duration_to_microseconds(policy.initial_backoff)},'
        f'"maximum_backoff":{duration_to_microseconds(policy.maximum_backoff)}}}'
    )


def _policy_from_json(values: dict[str, Any]) -> RetryPolicy:
    if values.keys() != {"max_retries", "initial_backoff", "maximum_backoff"}:
        raise ValueError("policy has other fields than it should")
    if any(type(value) is not int for value in values.values()):
        raise ValueError("policy holds something else than whole numbers")
    return RetryPolicy(
        max_retries=_count(values["max_retries"]),
        initial_backoff=_duration(values["initial_backoff"]),
        maximum_backoff=_duration(values["maximum_backoff"]),
    )


def _json_from_text(text: str) -> bytes:
    value = text.encode()
    from_json(value, allow_inf_nan=False)
    return value


def _text_from_json(value: bytes) -> str:
    return quoted(value.decode())


def _boolean_to_json(value: bool) -> str:
    return "true" if value else "false"


class _Kind(NamedTuple):
    """How a field's type stands in the body: as `stored`, written by `write`, read by `read` (None: as it is)."""

    stored: type
    write: Callable[[Any], Any] | None = None
    read: Callable[[Any], Any] | None = None


_KINDS: dict[type, _Kind] = {
    str: _Kind(str, quoted),
    bool: _Kind(bool, _boolean_to_json),
    int: _Kind(int, None, _count),
    bytes: _Kind(str, _text_from_json, _json_from_text),
    datetime: _Kind(int, to_microseconds, from_microseconds),
    timedelta: _Kind(int, duration_to_microseconds, _duration),
    RetryPolicy: _Kind(dict, _policy_to_json, _policy_from_json),
}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a transition's class looks like, taken from its annotations once.

    `required` are the fields of the body that have to be there.
    """

    transition: type[Any]
    payload: str | None
    takes_no_payload: bool
    required: tuple[str, ...]
    write_body: Callable[[Any], str]
    allowed: dict[str, frozenset[type]]
    readers: tuple[tuple[str, Callable[[Any], Any]], ...]


def _shape(transition: type[Any]) -> _Shape:
    hints = get_type_hints(transition)
    payload = next((field.name for field in fields(transition) if field.name.endswith("_json")), None)
    in_body = [field for field in fields(transition) if field.name not in ("at", payload)]
    kinds = {}
    allowed = {}
    for field in in_body:
        types = get_args(hints[field.name]) or (hints[field.name],)
        kind = kinds[field.name] = next(_KINDS[each] for each in types if each is not type(None))
        allowed[field.name] = frozenset({kind.stored, *(each for each in types if each is type(None))})
    return _Shape(
        transition=transition,
        payload=payload,
        takes_no_payload=payload is None or type(None) in get_args(hints[payload]),
        required=tuple(field.name for field in in_body if field.default is MISSING),
        write_body=body_writer(
            [BodyField(field, kinds[field.name].write, type(None) in allowed[field.name]) for field in in_body]
        ),
        allowed=allowed,
        readers=tuple((name, kind.read) for name, kind in kinds.items() if kind.read is not None),
    )


_SHAPES: dict[type[Any], _Shape] = {transition: _shape(transition) for transition in get_args(Transition)}
_SHAPES_BY_NAME = {transition.__name__: shape for transition, shape in _SHAPES.items()}


def encode(transition: Transition) -> Encoded:
    """The columns of a transition. Raises InvalidInputError for text that is no Unicode (a lone surrogate)."""
    kind = type(transition)
    shape = _SHAPES[kind]
    body = shape.write_body(transition)
    if not body.isascii():
        try:
            body.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"{kind.__name__}: holds text that is no Unicode: {error}") from error
    payload = None if shape.payload is None else getattr(transition, shape.payload)
    return Encoded(kind.__name__, to_microseconds(transition.at), body, payload)


def decode_history(
    instance_id: str, rows: Iterable[tuple[int, str, int, str, bytes | None]], *, revision: int
) -> list[Transition]:
    """The transitions of an instance at `revision`, from its rows of (revision, type, at, body, payload) in order.

    Raises:
        UnreadableInstanceError: a row that cannot be read, is missing, or is one too many.
    """
    history = list(decode_rows(instance_id, rows))
    check_revision(instance_id, history, revision)
    return history


def decode_rows(
    instance_id: str, rows: Iterable[tuple[int, str, int, str, bytes | None]], *, first: int = 1
) -> Iterator[Transition]:
    """Like `decode_history`, one by one, to let other work go on in between; `check_revision` is to follow.

    `first` is the revision with which the rows begin. Where earlier runs were deleted, revisions are left out.
    """
    expected = first
    for number, name, at, body, payload in rows:
        if number != expected and (name != _AFTER_A_GAP or number < expected):
            raise UnreadableInstanceError(f"instance {instance_id}: its history has no revision {expected}")
        try:
            transition = _decode(name, at, body, payload)
        except (ValueError, TypeError, OverflowError) as error:
            reason = str(error)[:_LONGEST_REASON]
            raise UnreadableInstanceError(f"instance {instance_id}, revision {number}: unreadable: {reason}") from error
        if isinstance(transition, EarlierRunsDeleted) and transition.replaces != number:
            raise UnreadableInstanceError(f"instance {instance_id}, revision {number}: it says {transition.replaces}")
        expected = number + 1
        yield transition


def check_revision(instance_id: str, history: Sequence[Transition], revision: object) -> None:
    """Whether the transitions lead to the revision that the instance's row says. Raises UnreadableInstanceError."""
    if last_revision(history) != revision:
        raise UnreadableInstanceError(
            f"instance {instance_id}: {len(history)} transitions, but revision {revision!r:.40}"
        )


def _opened(body: object) -> str:
    if type(body) is not str:
        raise ValueError("it is encrypted with a codec, or a key, that this program has not")
    return body


def _decode(name: str, at: int, body: str, payload: bytes | None) -> Transition:
    shape = _SHAPES_BY_NAME.get(name)
    if shape is None:
        raise ValueError(f"{name!r} is no transition")
    if type(at) is not int:
        raise ValueError("at is no whole number")
    values = from_json(_opened(body))
    if type(values) is not dict:
        raise ValueError(f"not the fields of {name}")
    for key in shape.required:
        if key not in values:
            raise ValueError(f"{key} is missing")
    for key, value in values.items():
        if type(value) not in shape.allowed.get(key, ()):
            raise ValueError(f"{key} is of another type, or no field of {name}")
    for key, read in shape.readers:
        value = values.get(key)
        if value is not None:
            values[key] = read(value)
    if shape.payload is not None:
        values[shape.payload] = payload
    if not (shape.takes_no_payload if payload is None else shape.payload is not None and type(payload) is bytes):
        raise ValueError("the payload is not what its type has")
    if payload is not None:
        from_json(payload, allow_inf_nan=False)  # it is sent as it is: what is no JSON would pass for a runner's fault
    transition: Transition = shape.transition(at=from_microseconds(at), **values)
    return transition
