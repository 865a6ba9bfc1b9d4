"""What answers about histories look like (see `schemas`)."""

from typing import Literal

from pydantic import ConfigDict

from pylon_workflows.api.schemas import Shape
from runner_protocol.fields import Timestamp


class TransitionAnswer(Shape):
    """A fact of an instance's history, with fields of its own beside these."""

    model_config = ConfigDict(extra="allow")

    revision: int
    type: str
    at: Timestamp


class ExportAnswer(Shape):
    """An exported instance: all transitions of its history, which docs/export.md describes."""

    format: Literal["pylon-workflows instance"]
    format_version: int
    exported_at: Timestamp
    exported_by: str
    history: list[TransitionAnswer]
