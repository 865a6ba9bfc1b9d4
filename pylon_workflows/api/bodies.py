"""Reading what a request says, in its body, query and headers; what is refused is named (PROMISES.md P31).

A body is read once: parsed, checked, and its values written as the bytes that are stored, all off the event loop when
it is large.
"""

import asyncio
import re
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from pylon_workflows.api.refusals import MalformedJsonError, UnsupportedEncodingError
from pylon_workflows.errors import (
    CommentTooLongError,
    CorrelationTooLongError,
    DescriptionTooLongError,
    DurationTooLongError,
    InvalidInputError,
    NameTooLongError,
    TooDeepError,
    TooManyRetriesError,
)
from runner_protocol.fields import MAX_NAME_LENGTH
from runner_protocol.strict_json import MAX_DEPTH, JsonError, check_depth, parse

Model = TypeVar("Model", bound=BaseModel)

_ENVELOPE = 1
_READ_ON_THE_LOOP = 64 * 1024
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


_KINDS: dict[tuple[str, str], type[InvalidInputError]] = {
    ("description", "string_too_long"): DescriptionTooLongError,
    ("comment", "string_too_long"): CommentTooLongError,
    ("correlation", "string_too_long"): CorrelationTooLongError,
    ("max_retries", "less_than_equal"): TooManyRetriesError,
    ("step_timeout_s", "less_than_equal"): DurationTooLongError,
    ("step_timeout_secs", "less_than_equal"): DurationTooLongError,
    ("", "string_too_long"): NameTooLongError,
}
"""What a field that is beyond its limit is told as; any other fault is an InvalidInputError."""


async def read_body(request: Request, model: type[Model], *, envelope: int = _ENVELOPE) -> Model:
    """The body as a request model, whatever content type it is said to have.

    A caller's value stands `envelope` deep in it; one that stands less deep must be checked (`check_value_depth`).

    Raises:
        BodyTooLargeError, BodyTooSlowError: from the limits (`limits.py`).
        UnsupportedEncodingError, MalformedJsonError, InvalidInputError and its kinds.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise UnsupportedEncodingError(
            f"the body: is compressed ({encoding[:40]}); send it as it is", headers={"accept-encoding": "identity"}
        )
    body = await request.body()
    read = partial(_read, body, model, envelope)
    return read() if len(body) <= _READ_ON_THE_LOOP else await asyncio.to_thread(read)


def one_header(request: Request, name: str, *, max_length: int) -> str | None:
    """The only header of that name, or None. Raises InvalidInputError: several, empty, too long, not UTF-8."""
    values = [value for key, value in request.headers.raw if key == name.lower().encode()]
    if not values:
        return None
    if len(values) > 1:
        raise InvalidInputError(f"{name}: the header stands there {len(values)} times")
    try:
        value = values[0].decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{name}: the header is not UTF-8") from None
    if not 1 <= len(value) <= max_length:
        kind = NameTooLongError if value else InvalidInputError
        raise kind(f"{name}: must have 1 to {max_length} characters, not {len(value)}")
    return value


def sent_event_id(request: Request) -> str | None:
    """The event id that the headers say. Raises InvalidInputError, NameTooLongError.

    Stricter than the webhooks (`hooks/sent_headers.py`): there a refusal loses the event of a sender who cannot mend
    it, here the caller is an application, whose mistake is told where it can be seen.
    """
    webhook_id = one_header(request, "webhook-id", max_length=MAX_NAME_LENGTH)
    return webhook_id or one_header(request, "Idempotency-Key", max_length=MAX_NAME_LENGTH)


def one_parameter(request: Request, name: str) -> str | None:
    """The only query parameter of that name, or None. Raises InvalidInputError when it stands there twice."""
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise InvalidInputError(f"{name}: the parameter stands there {len(values)} times")
    return values[0] if values else None


def check_value_depth(value_json: bytes, field: str) -> None:
    """Raises TooDeepError: the value is nested deeper than any may be."""
    try:
        check_depth(value_json, MAX_DEPTH)
    except JsonError:
        raise TooDeepError(f"{field}: nested deeper than {MAX_DEPTH}") from None


def _read(body: bytes, model: type[Model], envelope: int) -> Model:
    value = _parse(body, MAX_DEPTH + envelope)
    if not isinstance(value, dict):
        raise InvalidInputError("the body: should be a JSON object")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        kind = _KINDS.get((str(first["loc"][-1]), first["type"])) or _KINDS.get(("", first["type"]), InvalidInputError)
        raise kind(_sentence(first)) from None


def _parse(body: bytes, max_depth: int) -> Any:
    if not body.strip():
        raise MalformedJsonError("the body: is empty; it should be a JSON object")
    try:
        check_depth(body, max_depth)
    except JsonError:
        raise TooDeepError(f"{_deep_field(body, max_depth)}: nested deeper than {MAX_DEPTH}") from None
    try:
        return parse(body, max_depth=max_depth)
    except JsonError as error:
        raise MalformedJsonError(f"the body: {error}") from None


def _deep_field(body: bytes, max_depth: int) -> str:
    """The name of the body's field that is nested too deep: the last text before the bracket that opens it."""
    depth, field = 0, b""
    for found in _TOKEN.finditer(body):
        token = found.group()
        if token in b"[{":
            depth += 1
            if depth > max_depth:
                break
        elif token in b"]}":
            depth -= 1
        elif depth == 1:
            field = token
    return field[1:-1][:100].decode(errors="replace") or "the body"


def _sentence(first: ErrorDetails) -> str:
    place = ".".join(str(part) for part in first["loc"])
    return f"{place:.200}: {first['msg'].removeprefix('Value error, ').removeprefix('Input ')}"
