"""Values that authors give to helpers, as JSON: taken at the call, so that no later change of them counts."""

from typing import Any

from runner_protocol.kit.errors import OutputError
from runner_protocol.strict_json import JsonError, encode, parse


def checked_json(value: Any, what: str) -> bytes:
    """The value as JSON. Raises OutputError, which names `what`, for a value that JSON would lose or change."""
    try:
        return encode(value)
    except JsonError as error:
        raise OutputError(f"{what} is not lossless JSON: {error}") from None
    except Exception as error:  # of the value's own code, or of a thread that changes it in the meantime
        raise OutputError(f"{what} cannot be read: {type(error).__name__}: {error}") from error


def json_copy(value: Any, what: str) -> Any:
    """The value as it comes back from JSON, shared with nobody. Raises OutputError."""
    return parse(checked_json(value, what))
