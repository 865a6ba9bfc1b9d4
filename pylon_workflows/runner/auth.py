"""How the engine shows a runner who asks, and how it knows the runner (PROTOCOL.md section 7)."""

import asyncio
import itertools
import os
import re
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.ports import Clock
from runner_protocol.signing import HEADERS, SigningKeys, keys_from_environment

SIGNED_ON_THE_LOOP = 256 * 1024
"""Signatures of larger requests are computed beside the event loop."""

_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerAuth:
    """What goes with each request to a runner behind HTTP, and which certificates of it are trusted.

    `secrets` sign the request with Standard Webhooks headers, all of them, so that the runner may have the old one or
    the new; each is `whsec_` and base64 of 24 to 64 bytes. None means those of PYLON_WORKFLOW_RUNNER_SECRETS (with
    commas between), which a kit reads too. `token` goes as `Authorization: Bearer`. `client_certificate` are the files,
    PEM, of a certificate and its key that the runner's server wants to see. `ca` is the file, PEM, of the authorities
    whose certificates are trusted, in place of the system's. There is no way to trust any certificate.

    Raises InvalidInputError: a secret or a token that is none; the message shows nothing of it.
    """

    secrets: Sequence[str] | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    client_certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None
    ca: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.secrets is not None:
            signing_keys(self.secrets)
        if self.token is not None and not (isinstance(self.token, str) and _TOKEN.fullmatch(self.token)):
            raise InvalidInputError("runner auth: token: must be one or more visible ASCII characters without spaces")


def signing_keys(secrets: Sequence[str] | None) -> SigningKeys | None:
    """The keys of these secrets, or of the environment's. Raises InvalidInputError."""
    try:
        return keys_from_environment() if secrets is None else SigningKeys(secrets)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"runner auth: {error}") from None


def tls_context(auth: RunnerAuth) -> ssl.SSLContext:
    """What HTTPS goes by; certificates and names are always checked. Raises InvalidInputError, which names the file."""
    try:
        context = ssl.create_default_context(cafile=auth.ca)
    except OSError as error:  # ssl.SSLError is one too
        raise InvalidInputError(f"runner auth: ca: {os.fspath(auth.ca or '')}: {_reason(error)}") from None
    context.set_alpn_protocols(["http/1.1"])
    if auth.client_certificate is not None:
        certificate, key = auth.client_certificate
        try:
            context.load_cert_chain(certificate, key, password=b"")  # without one OpenSSL would ask on the terminal
        except OSError as error:
            files = f"{os.fspath(certificate)} and {os.fspath(key)}"
            raise InvalidInputError(f"runner auth: client_certificate: {files}: {_reason(error)}") from None
    return context


class RequestSigner:
    """Signs requests, each under an id of its own: one that is asked again is a new message."""

    def __init__(self, keys: SigningKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)

    async def headers(self, body: bytes) -> Sequence[tuple[bytes, bytes]]:
        """The headers that go with a body."""
        values = self.sign(body) if len(body) <= SIGNED_ON_THE_LOOP else await asyncio.to_thread(self.sign, body)
        return tuple(zip(HEADERS, values, strict=True))

    def sign(self, body: bytes) -> tuple[bytes, bytes, bytes]:
        """The values of the headers that go with a body."""
        message_id = b"%b-%d" % (self._prefix, next(self._numbers))
        timestamp = b"%d" % int(self._clock.now().timestamp())
        return message_id, timestamp, self._keys.signed(message_id, timestamp, body)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no such certificate in PEM, or a key that is not its own ({error.reason or error})"
    return error.strerror or str(error)
