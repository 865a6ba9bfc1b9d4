"""A verified body, read: JSON, or the fields of a form."""

from typing import Any
from urllib.parse import parse_qsl

from pylon_workflows.hooks.signatures.verifier import BodyFormat
from runner_protocol.strict_json import JsonError, parse

_MAX_FIELDS = 1000
_PAYLOAD = "payload"


class UnreadableBodyError(Exception):
    """The body is not what its sender said it would be; the message says why."""


def read_body(body: bytes, expected: BodyFormat) -> Any:
    """The value of a body. Only its bytes decide how it is read, for its content type is not signed.

    A form is an object of texts, with a list of them where a name stands there repeatedly. One that has only the field
    `payload` is the JSON in it, which is how GitHub and Slack put JSON into a form.

    Raises:
        UnreadableBodyError: it is neither, or JSON that would not come back equal (PROMISES.md P31).
    """
    is_json = expected == "json" or (expected == "json or form" and body.lstrip()[:1] in (b"{", b"["))
    if is_json:
        return _json(body)
    fields = _form(body)
    if list(fields) == [_PAYLOAD] and isinstance(fields[_PAYLOAD], str):
        return _json(fields[_PAYLOAD].encode())
    return fields


def _json(body: bytes) -> Any:
    try:
        return parse(body)
    except JsonError as error:
        raise UnreadableBodyError(f"the body: {error}") from None


def _form(body: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise UnreadableBodyError("the body is no form, or one of more than 1,000 fields") from None
    if not pairs:
        raise UnreadableBodyError("the body is an empty form")
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields
