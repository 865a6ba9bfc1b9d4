"""Any sender who signs with an HMAC: which algorithm, in which header, written how, over what."""

import base64
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Literal

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks.signatures.checks import (
    TOLERANCE_S,
    check_signed,
    check_time,
    checked_tolerance,
    one,
    seconds,
)
from pylon_workflows.hooks.signatures.keys import Secrets, keys_of
from pylon_workflows.hooks.signatures.verifier import Habits, RawHeaders

Algorithm = Literal["sha1", "sha256", "sha384", "sha512"]
Encoding = Literal["hex", "base64"]

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_GAP = re.compile(r"\{([^{}]*)\}")
_OF_HEADER = "header:"


def _in_hex(digest: bytes) -> Sequence[bytes]:
    text = digest.hex()
    return text.encode(), text.upper().encode()


def _in_base64(digest: bytes) -> Sequence[bytes]:
    return (base64.b64encode(digest),)


_WRITTEN: dict[str, Callable[[bytes], Sequence[bytes]]] = {"hex": _in_hex, "base64": _in_base64}


class HmacSignature:
    """Verifies a header that holds an HMAC.

    The header's value is `prefix` and the digest, as `encoding` says: hex, all in lower or all in upper case, or
    base64. `signed` says what was signed: a text with the gaps `{body}`, `{timestamp}` and `{header:NAME}`. With a
    `timestamp_header`, of unix seconds, `signed` must have `{timestamp}`, and the time must be within `tolerance_s`.

    Raises:
        InvalidInputError: a secret, a name or a combination that makes no sense.
    """

    habits = Habits()

    def __init__(
        self,
        secrets: Secrets,
        *,
        header: str,
        algorithm: Algorithm = "sha256",
        prefix: str = "",
        encoding: Encoding = "hex",
        timestamp_header: str | None = None,
        signed: str | None = None,
        tolerance_s: float = TOLERANCE_S,
    ) -> None:
        self.keys = keys_of(secrets)
        if algorithm not in ("sha1", "sha256", "sha384", "sha512"):
            raise InvalidInputError(f"algorithm: must be sha1, sha256, sha384 or sha512, not {algorithm!r:.40}")
        if encoding not in _WRITTEN:
            raise InvalidInputError(f"encoding: must be hex or base64, not {encoding!r:.40}")
        self._algorithm = algorithm
        self._written = _WRITTEN[encoding]
        self._header = _header_name(header, "header")
        if not isinstance(prefix, str):
            raise InvalidInputError("prefix: must be a text")
        self._prefix = prefix.encode()
        self._time = None if timestamp_header is None else _header_name(timestamp_header, "timestamp_header")
        self._tolerance_s = checked_tolerance(tolerance_s)
        if signed is None:
            signed = "{body}" if timestamp_header is None else "{timestamp}.{body}"
        self._signed = _pieces(signed, has_time=timestamp_header is not None)

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> None:
        """See `Verifier.verify`."""
        time = None if self._time is None else one(headers, self._time)
        signed_at = None if time is None else seconds(time)
        gaps = {"body": body, "timestamp": time or b"", "": b""}
        signed = b"".join(
            text + (one(headers, gap) if isinstance(gap, bytes) else gaps[gap]) for text, gap in self._signed
        )
        given = one(headers, self._header)
        digests = [hmac.digest(key, signed, self._algorithm) for key in self.keys]
        check_signed([given], [self._prefix + text for digest in digests for text in self._written(digest)])
        if signed_at is not None:
            check_time(signed_at, now, self._tolerance_s)


def _header_name(name: str, field: str) -> bytes:
    if not isinstance(name, str) or not _HEADER.fullmatch(name):
        raise InvalidInputError(f"{field}: {name!r:.120} is no name of a header")
    return name.lower().encode()


def _pieces(signed: str, *, has_time: bool) -> list[tuple[bytes, str | bytes]]:
    """What is signed, as texts, each with the gap that follows it: `body`, `timestamp`, nothing, or a header's name."""
    if not isinstance(signed, str):
        raise InvalidInputError("signed: must be a text")
    words = _GAP.split(signed)
    texts, gaps = words[::2], words[1::2]
    if any("{" in text or "}" in text for text in texts):
        raise InvalidInputError(f"signed: {signed!r:.120} has a brace without its other")
    for gap in gaps:
        if gap not in ("body", "timestamp") and not gap.startswith(_OF_HEADER):
            raise InvalidInputError(f"signed: {{{gap:.60}}} must be {{body}}, {{timestamp}} or {{header:NAME}}")
    if "body" not in gaps:
        raise InvalidInputError("signed: must have {body}, or anybody could change it")
    if has_time != ("timestamp" in gaps):
        raise InvalidInputError("signed: {timestamp} and timestamp_header go together, or neither is there")
    read: list[str | bytes] = [
        _header_name(gap.removeprefix(_OF_HEADER), "signed") if gap.startswith(_OF_HEADER) else gap for gap in gaps
    ]
    return list(zip((text.encode() for text in texts), [*read, ""], strict=True))
