"""What answers about histories look like (see `schemas`): a model for each kind of transition, made of its class."""

from dataclasses import MISSING, fields
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import BaseModel, Field, RootModel, create_model

from pylon_workflows.api.schemas import Shape
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.core.transitions import Transition
from pylon_workflows.transition_json import TYPES
from runner_protocol.fields import Timestamp


def _model(kind: type[Any], **more: Any) -> type[BaseModel]:
    members: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for field in fields(kind):
        types = get_args(hints[field.name]) or (hints[field.name],)
        (held,) = (each for each in types if each is not type(None))
        name = f"{field.name}_s" if held is timedelta else field.name.removesuffix("_json")
        shape: Any = _SHAPES.get(held, held)
        is_optional = type(None) in types
        if held is bytes:
            members[name] = (Any, Field(None, description="left out where there is none") if is_optional else ...)
        else:
            members[name] = (shape | None if is_optional else shape, _default(field.default))
    return create_model(kind.__name__, __base__=Shape, __doc__=kind.__doc__, **more, **members)


def _default(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return ... if value is MISSING else value


_SHAPES: dict[Any, Any] = {datetime: Timestamp, timedelta: float}
_SHAPES[RetryPolicy] = _model(RetryPolicy)
_MODELS = [_model(kind, revision=(int, ...), type=(Literal[TYPES[kind]], ...)) for kind in get_args(Transition)]


class TransitionAnswer(RootModel[Any]):
    """A fact of an instance's history: the revision that it led to, its type, its time, and the fields of its type."""

    root: Annotated[reduce(or_, _MODELS), Field(discriminator="type")]  # type: ignore[valid-type]


class ExportAnswer(Shape):
    """An exported instance: all transitions of its history, which docs/export.md describes."""

    format: Literal["pylon-workflows instance"]
    format_version: int
    exported_at: Timestamp
    exported_by: str
    history: list[TransitionAnswer]
