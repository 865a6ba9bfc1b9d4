"""Signed requests: the headers of Standard Webhooks, made and checked (PROTOCOL.md section 7).

What is signed is `<webhook-id>.<webhook-timestamp>.<body>`, with HMAC-SHA256; the header holds one signature, `v1,` and
base64, for each secret, so that either side may have the new secret first.
"""

import binascii
import hmac
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable

SECRETS_VARIABLE = "PYLON_WORKFLOW_RUNNER_SECRETS"
"""The environment's secrets, with commas between: of whoever calls runners, and of runners."""

TOLERANCE_S = 300
"""How far the time at which a message was signed may be from the present, either way."""

HEADERS = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")

VERSION = b"v1,"
"""What each signature begins with."""

_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64
_is_timestamp = re.compile(rb"[0-9]{1,15}").fullmatch


class SignatureError(ValueError):
    """The message is not signed by who should have signed it, or not now; the text says which, and no secrets."""


class SigningKeys:
    """The secrets that are valid at a time: whoever signs signs with all of them, one is enough for whoever checks.

    A secret is `whsec_` and base64 of 24 to 64 bytes; the prefix may be missing. Nothing shows them.
    Raises ValueError: none, or one that is no secret; the text tells which of them, and nothing of it.
    """

    __slots__ = ("_keys",)

    def __init__(self, secrets: Iterable[str]) -> None:
        if isinstance(secrets, (str, bytes)):
            raise ValueError("secrets: should be a list of texts, not one text")  # noqa: TRY004 -- see the docstring
        self._keys = tuple(_read(secret, number) for number, secret in enumerate(secrets, 1))
        if not self._keys:
            raise ValueError("secrets: there is none in the list")

    def __repr__(self) -> str:
        return f"SigningKeys({len(self._keys)})"

    def sign(self, message_id: str, timestamp_s: int, body: bytes) -> str:
        """The value of `webhook-signature`."""
        return self.signed(message_id.encode(), b"%d" % timestamp_s, body).decode()

    def signed(self, message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
        """The value of `webhook-signature`, of the other two headers' values as they are sent."""
        return b" ".join(signatures(self._keys, message_id, timestamp, body))

    def check(self, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, now_s: float) -> None:
        """Check a message by its headers, whose names are in lower case; each of the three is there once.

        Raises:
            SignatureError: for whatever else they may hold.
        """
        message, signed_at, given = _values(headers)
        if not message:
            raise SignatureError("the header webhook-id is empty")
        if not _is_timestamp(signed_at):
            raise SignatureError("the header webhook-timestamp is no time in seconds since 1970")
        if abs(now_s - int(signed_at)) > TOLERANCE_S:
            raise SignatureError(
                f"it was signed more than {TOLERANCE_S} s before or after the present time: look at both clocks"
            )
        candidates = [each for each in given.split(b" ") if each.startswith(VERSION)]
        is_right = False
        for expected in signatures(self._keys, message, signed_at, body):
            for candidate in candidates:
                is_right |= hmac.compare_digest(expected, candidate)
        if not is_right:
            raise SignatureError("no signature of it was made with a secret that is known here")


def signatures(keys: Iterable[bytes], message_id: bytes, timestamp: bytes, body: bytes) -> list[bytes]:
    """The signature with each key, as they stand in `webhook-signature`."""
    message = b"%b.%b.%b" % (message_id, timestamp, body)
    return [VERSION + b64encode(hmac.digest(key, message, "sha256")) for key in keys]


def keys_from_environment() -> SigningKeys | None:
    """The keys of SECRETS_VARIABLE, or None where it is not set. Raises ValueError, which names the variable."""
    secrets = [secret.strip() for secret in os.environ.get(SECRETS_VARIABLE, "").split(",")]
    try:
        return SigningKeys(filter(None, secrets)) if any(secrets) else None
    except ValueError as error:
        raise ValueError(f"{SECRETS_VARIABLE}: {error}") from None


def _values(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    found: dict[bytes, list[bytes]] = {name: [] for name in HEADERS}
    for name, value in headers:
        if name in found:
            found[name].append(value)
    for name, values in found.items():
        if len(values) != 1:
            what = "is missing" if not values else f"stands there {len(values)} times"
            raise SignatureError(f"the header {name.decode()} {what}")
    return [values[0] for values in found.values()]


def _read(secret: str, number: int) -> bytes:
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (AttributeError, binascii.Error, ValueError):
        key = b""
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError(
            f"secrets: number {number} is no secret: that is {_PREFIX!r} and base64 of {_LEAST_BYTES} to {_MOST_BYTES} "
            "bytes"
        )
    return key
