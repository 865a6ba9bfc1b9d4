"""The body of a history's row, written by a function that is made for each class of transitions from its fields.

Every step writes one: a dict that a serializer is given took three times as long. The text is the same: compact JSON,
the fields in their order.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field
from json.encoder import encode_basestring
from typing import Any, NamedTuple

Write = Callable[[Any], Any]


class BodyField(NamedTuple):
    """A field of a body: `write` makes its value a whole number, or the text of JSON; without it, it is one."""

    field: "Field[Any]"
    write: Write | None
    is_nullable: bool


def quoted(text: str) -> str:
    """A text as JSON; a lone surrogate stays one."""
    return encode_basestring(text)


def body_writer(fields: Sequence[BodyField]) -> Callable[[Any], str]:
    """What writes these fields of a transition as a JSON object, without those that hold their default."""
    scope: dict[str, Any] = {}
    always = ",".join(_member(number, each, scope) for number, each in enumerate(fields) if _is_required(each))
    lines = ["def write(transition):", f"body = f'{always}'"]
    for number, each in enumerate(fields):
        if not _is_required(each):
            scope[f"default{number}"] = each.field.default
            lines.append(f"if transition.{each.field.name} != default{number}:")
            lines.append(f"    body += f',{_member(number, each, scope)}'")
    lines.append("return '{' + body + '}'" if always else "return '{' + body[1:] + '}'")
    exec("\n    ".join(lines), scope)  # noqa: S102  as dataclasses do; nothing but names of fields is in it
    writer: Callable[[Any], str] = scope["write"]
    return writer


def _member(number: int, each: BodyField, scope: dict[str, Any]) -> str:
    value = f"transition.{each.field.name}"
    written = value if each.write is None else f"write{number}({value})"
    scope[f"write{number}"] = each.write
    if each.is_nullable:
        written = f'"null" if {value} is None else {written}'
    return f'"{each.field.name}":{{{written}}}'


def _is_required(each: BodyField) -> bool:
    return each.field.default is MISSING
