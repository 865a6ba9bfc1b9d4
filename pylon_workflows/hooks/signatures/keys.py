"""Secrets, as they are configured and as the bytes that sign."""

import base64
import binascii
from collections.abc import Callable, Sequence

from pylon_workflows.errors import InvalidInputError

Secrets = str | bytes | Sequence[str | bytes]
"""One secret, or several that are valid at a time while a sender changes from one to the next."""

_WHSEC = "whsec_"


def keys_of(secrets: Secrets, read: Callable[[str], bytes] = str.encode) -> tuple[bytes, ...]:
    """The keys that the secrets stand for; a text becomes one by `read`, bytes are one.

    Raises:
        InvalidInputError: no secret, an empty one, or a text with white space around it, which a file or a
            variable has added. The message does not show it.
    """
    given = [secrets] if isinstance(secrets, str | bytes) else list(secrets)
    if not given:
        raise InvalidInputError("secrets: at least one is needed")
    keys = []
    for number, secret in enumerate(given, 1):
        if not isinstance(secret, str | bytes):
            raise InvalidInputError(f"secrets: number {number} must be a text or bytes, not {type(secret).__name__}")
        if not secret:
            raise InvalidInputError(f"secrets: number {number} is empty, so that everybody could sign")
        if isinstance(secret, str) and secret != secret.strip():
            raise InvalidInputError(f"secrets: number {number} has white space around it")
        try:
            key = read(secret) if isinstance(secret, str) else secret
        except ValueError:
            raise InvalidInputError(f"secrets: number {number} cannot be read; is it complete?") from None
        if not key:
            raise InvalidInputError(f"secrets: number {number} is empty, so that everybody could sign")
        keys.append(key)
    return tuple(keys)


def whsec_key(secret: str) -> bytes:
    """The key in a secret of Standard Webhooks: base64, with or without `whsec_` before it. Raises ValueError."""
    try:
        return base64.b64decode(secret.removeprefix(_WHSEC), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
