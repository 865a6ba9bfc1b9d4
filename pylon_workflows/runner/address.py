"""How a runner is addressed: its URL, checked once, and the idempotency key in a header."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pyreqwest.http import Url

from pylon_workflows.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class RunnerAddress:
    """A runner's URL, what to call it in messages, and the `authorization` header, if it needs one.

    Neither the URL nor the name has credentials in it, so that no message shows them.
    """

    url: Url
    name: str
    authorization: str | None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL such as `http://127.0.0.1:9876/run`; `user:password@` before the host becomes basic auth.

        Raises:
            InvalidInputError: not http or https, no host, or a bad port.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidInputError(f"runner URL: {error}") from None
        if parts.scheme not in ("http", "https"):
            raise InvalidInputError(f"runner URL: should begin with http:// or https://, not {parts.scheme[:20]!r}")
        if not host:
            raise InvalidInputError("runner URL: the host is missing")
        place = parts.netloc.rpartition("@")[2]
        try:
            parsed = Url(urlunsplit((parts.scheme, place, parts.path, parts.query, "")))
        except ValueError as error:
            raise InvalidInputError(f"runner URL: {error}") from None
        authorization = None
        if parts.username is not None or parts.password is not None:
            pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            authorization = "Basic " + b64encode(pair.encode()).decode()
        name = f"[{host}]" if ":" in host else host
        return cls(parsed, name if port is None else f"{name}:{port}", authorization)


def encode_key(idempotency_key: str) -> str:
    """Percent-encode a key for the header, as JavaScript's `encodeURI` does: what ASCII can show stays readable."""
    return quote(idempotency_key, safe=":/?#[]@!$&'()*+,;=")
