"""The option `--codec`: with what the values of a database file are encrypted."""

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from pylon_workflows.ports import PayloadCodec


def _codec(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
    return None if not value else load_codec(value)


codec_option = click.option(
    "--codec", metavar="MODULE:NAME", envvar="PYLON_WORKFLOW_CODEC", callback=_codec,
    help="What the file's values are encrypted with: an object in a Python module, or a function that makes one.",
)  # fmt: skip
"""Gives a command the parameter `codec`: a PayloadCodec or None."""


def load_codec(name: str) -> PayloadCodec:
    """The codec of that name; modules are looked for in the present folder too. Raises click.BadParameter."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise click.BadParameter(f"{name!r} should be like package.module:name")
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        codec = found if _is_codec(found) else found()
    except Exception as error:
        raise click.BadParameter(f"{name!r} cannot be had: {type(error).__name__}: {error}") from error
    if not _is_codec(codec):
        raise click.BadParameter(f"{name!r} is no codec: it has no encode and decode")
    made: PayloadCodec = codec
    return made


def _is_codec(value: object) -> bool:
    return (
        not isinstance(value, type)
        and callable(getattr(value, "encode", None))
        and callable(getattr(value, "decode", None))
    )
