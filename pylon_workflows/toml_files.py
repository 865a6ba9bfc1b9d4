"""Reads the TOML files that `serve` takes."""

import tomllib
from os import PathLike
from pathlib import Path
from typing import Any

from pylon_workflows.errors import InvalidInputError

_MAX_BYTES = 1024 * 1024


def read_toml(path: str | PathLike[str]) -> dict[str, Any]:
    """What stands in the file. Raises InvalidInputError: it cannot be read, or is no TOML of at most 1 MiB."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot be read: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise InvalidInputError(f"has more than {_MAX_BYTES:,} bytes")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise InvalidInputError("is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInputError(f"not TOML: {error}") from None
