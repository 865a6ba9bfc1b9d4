"""Values that callers hand in, as the bytes that are stored and sent on: made once, at the door (PROMISES.md P31)."""

from typing import Any

from pylon_workflows.errors import CommentTooLongError, InvalidInputError, NameTooLongError, TooDeepError, TooLargeError
from runner_protocol.fields import MAX_NAME_LENGTH
from runner_protocol.strict_json import MAX_DEPTH, JsonError, TooDeepJsonError, check_depth, encode

MAX_COMMENT_LENGTH = 10_000


class CanonicalJson(bytes):
    """A value that a door of ours has read and written already; an engine takes it for the value and checks its size.

    Internal: nothing stops a caller from putting into it what is no JSON.
    """


def checked_json(
    value: Any,
    field: str,
    limit: int,
    refusal: type[TooLargeError] = TooLargeError,
    *,
    max_depth: int = MAX_DEPTH,
) -> bytes:
    """The value as canonical JSON of at most `limit` bytes; less deep than others where a record wraps it.

    Raises:
        InvalidInputError, TooDeepError: JSON would change it. `refusal`: it is too large.
    """
    try:
        encoded = value if isinstance(value, CanonicalJson) else encode(value)
        if max_depth < MAX_DEPTH:
            check_depth(encoded, max_depth)
    except TooDeepJsonError as error:
        raise TooDeepError(f"{field}: {error}") from None
    except JsonError as error:
        raise InvalidInputError(f"{field}: {error}") from None
    if len(encoded) > limit:
        raise refusal(f"{field}: has {len(encoded)} bytes, the limit is {limit}")
    return encoded


def checked_text(
    value: str, field: str, longest: int = MAX_NAME_LENGTH, refusal: type[InvalidInputError] = NameTooLongError
) -> str:
    """The text, when it has 1 to `longest` characters. Raises InvalidInputError; `refusal`: it is longer."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{field}: must be a text of 1 to {longest} characters")
    if not 1 <= len(value) <= longest:
        kind = refusal if value else InvalidInputError
        raise kind(f"{field}: must have 1 to {longest} characters, not {len(value)}")
    if not value.isascii():
        checked_json(value, field, limit=longest * 8)
    return value


def checked_comment(value: str, field: str) -> str:
    """The text, when it has at most 10,000 characters. Raises InvalidInputError, CommentTooLongError."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{field}: must be a text")
    if len(value) > MAX_COMMENT_LENGTH:
        raise CommentTooLongError(f"{field}: must have at most {MAX_COMMENT_LENGTH:,} characters, not {len(value)}")
    checked_json(value, field, limit=MAX_COMMENT_LENGTH * 8)
    return value
