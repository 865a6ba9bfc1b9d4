"""Where a request comes from, as far as its head tells: the host that it names, the page that sent it, this machine."""

import ipaddress
import re
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from pylon_workflows.api.refusals import ForeignOriginError, NotLocalError, UnknownHostError
from pylon_workflows.api.scopes import is_open
from pylon_workflows.errors import InvalidInputError

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@]+)(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#@\s]+)")
_HOST_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_READING = ("GET", "HEAD", "OPTIONS")


class AllowHosts:
    """Refuses requests for other hosts than these: a page that has its own name point here is one of another host.

    `*.example.com` are all names below it. `/healthz` is answered whatever the host: probes ask by address.

    Raises:
        InvalidInputError: a name that is none.
        UnknownHostError: on a call.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = checked_hosts(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check an HTTP request, then run the application."""
        if scope["type"] == "http" and not is_open(scope):
            given = values_of(scope, b"host")
            found = _HOST.fullmatch(given[0].decode("latin-1")) if len(given) == 1 else None
            if found is None or not self._has(found["host"].lower()):
                named = b", ".join(given).decode("latin-1")[:100] or "missing"
                raise UnknownHostError(f"this API is not at the host that the request names ({named})")
        await self._app(scope, receive, send)

    def _has(self, host: str) -> bool:
        _, _, parent = host.partition(".")
        parents = []
        while parent:
            parents.append(f"*.{parent}")
            _, _, parent = parent.partition(".")
        return host in self._hosts or any(each in self._hosts for each in parents)


def checked_hosts(hosts: Collection[str]) -> frozenset[str]:
    """Host names in small letters. Raises InvalidInputError."""
    if isinstance(hosts, str):
        raise InvalidInputError("allowed_hosts: must be several names, such as ['api.example.com'], not a text")
    for host in hosts:
        if not isinstance(host, str) or not _HOST_NAME.fullmatch(host.lower()):
            raise InvalidInputError(
                f"allowed_hosts: {host!r:.100} is no host, such as api.example.com or *.example.com, without a port"
            )
    return frozenset(host.lower() for host in hosts)


def checked_origins(origins: Collection[str]) -> frozenset[str]:
    """Origins of pages, as browsers write them. Raises InvalidInputError."""
    if isinstance(origins, str):
        raise InvalidInputError("cors_origins: must be several, such as ['https://app.example.com'], not a text")
    for origin in origins:
        if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin.lower()) or "*" in origin:
            raise InvalidInputError(
                f"cors_origins: {origin!r:.100} is no origin, such as https://app.example.com, without a path"
            )
    return frozenset(origin.lower() for origin in origins)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def check_is_local(scope: Scope) -> None:
    """Look whether anything speaks against the request's coming straight from a program on this machine.

    Peer and Host are loopback, no proxy has added its header (a reverse proxy makes everybody loopback), and no page of
    another site has sent it (a browser on this machine is loopback too). Raises NotLocalError.
    """
    reason = _foreign_trait(scope)
    if reason is not None:
        raise NotLocalError(f"without a token this API answers only programs on its own machine: {reason}")


def check_origin(scope: Scope, known: Collection[str]) -> None:
    """Look whether a page of another site wants to change something here. Raises ForeignOriginError."""
    if scope["method"] in _READING:
        return
    hosts = [host.decode("latin-1").lower() for host in values_of(scope, b"host")]
    for origin in values_of(scope, b"origin"):
        shown = origin.decode("latin-1").lower()
        found = _ORIGIN.fullmatch(shown)
        if shown not in known and (found is None or found["authority"] not in hosts):
            raise ForeignOriginError(f"a page of {shown[:100]} sent this, which is none of this API's cors_origins")


def values_of(scope: Scope, wanted: bytes) -> list[bytes]:
    """The values of all headers of that name, which is in small letters."""
    return [value for name, value in scope["headers"] if name == wanted]


def _foreign_trait(scope: Scope) -> str | None:
    peer = scope.get("client")
    if peer is None or not is_loopback(peer[0]):
        return f"the request came from {peer[0] if peer else 'an unknown address'}"
    for name, _ in scope["headers"]:
        if name in (b"forwarded", b"via", b"x-real-ip") or name.startswith(b"x-forwarded-"):
            return f"a proxy sent it (the header {name.decode('latin-1')})"
    hosts = values_of(scope, b"host")
    if len(hosts) != 1 or not _is_local_authority(hosts[0].decode("latin-1")):
        return f"its Host is {b', '.join(hosts).decode('latin-1')[:100] or 'missing'}"
    for origin in values_of(scope, b"origin"):
        found = _ORIGIN.fullmatch(origin.decode("latin-1"))
        if found is None or not _is_local_authority(found["authority"]):
            return f"a page of {origin.decode('latin-1')[:100]} sent it"
    return None


def _is_local_authority(authority: str) -> bool:
    found = _HOST.fullmatch(authority)
    return found is not None and is_loopback(found["host"])
