"""Where requests go: a URL from the configuration, checked once."""

import ipaddress
import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from pylon_workflows.declared_types import check_type
from pylon_workflows.errors import InvalidInputError

_IN_A_HOST = re.compile(r"[A-Za-z0-9_.:%-]+")
_IN_A_TARGET = "%/?:@!$&'()*+,;=~[]"


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """Where a server answers, what to call it in messages, and the `authorization` header, if it needs one.

    `target` and `authority` are what a request says: the path with the query, and the host with the port. The
    credentials are in none of the others, so that no message shows them; a query may hold some too.
    """

    host: str
    port: int
    is_tls: bool
    target: str = field(repr=False)
    authority: str
    name: str
    authorization: str | None = field(repr=False)

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine by its very name or number."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    @classmethod
    def parse(cls, url: str, what: str) -> Self:
        """Read a URL such as `http://127.0.0.1:9876/run`; `user:password@` before the host becomes basic auth.

        `what` is what messages call the URL.

        Raises:
            InvalidInputError: no text, not http or https, no host, or a bad port.
        """
        check_type(url, str, what)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidInputError(f"{what}: {error}") from None
        if parts.scheme not in ("http", "https"):
            begins = parts.scheme or _beginning(url)
            raise InvalidInputError(f"{what}: should begin with http:// or https://, not {begins[:100]!r}")
        if not host:
            raise InvalidInputError(f"{what}: the host is missing")
        host = _ascii(host, what)
        shown = f"[{host}]" if ":" in host else host
        name = shown if port is None else f"{shown}:{port}"
        target = quote(parts.path or "/", safe=_IN_A_TARGET)
        if parts.query:
            target += "?" + quote(parts.query, safe=_IN_A_TARGET)
        authorization = None
        if parts.username is not None or parts.password is not None:
            pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            authorization = "Basic " + b64encode(pair.encode()).decode()
        is_tls = parts.scheme == "https"
        return cls(
            host=host,
            port=port if port is not None else 443 if is_tls else 80,
            is_tls=is_tls,
            target=target,
            authority=name,
            name=name,
            authorization=authorization,
        )


def _beginning(url: str) -> str:
    """The host, of a URL that lacks all before it; nothing that may be a secret."""
    return "" if "@" in url else re.split(r"[/?#]", url.lstrip("/"), maxsplit=1)[0]


def _ascii(host: str, what: str) -> str:
    try:
        encoded = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        encoded = ""
    if not _IN_A_HOST.fullmatch(encoded):
        raise InvalidInputError(f"{what}: {host[:100]!r} is no host")
    return encoded
