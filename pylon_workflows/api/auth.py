"""Who may call: whoever has the token, or, without one, programs on this machine that call directly."""

import hmac
import ipaddress
import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from pylon_workflows.api.refusals import MissingTokenError, NotLocalError
from pylon_workflows.errors import InvalidInputError

_TOKEN = re.compile(r"[!-~]+")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@]+)(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://(?P<authority>[^/?#]+)")


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


class Authorize:
    """Lets through what may call; `/healthz` needs no token, because probes have none and it tells nothing.

    Without a token a request is answered only when nothing speaks against its coming straight from a program on this
    machine: peer and Host are loopback, no proxy has added its header (a reverse proxy makes everybody loopback), and
    no page of another site has sent it (a browser on this machine is loopback too).

    Raises:
        InvalidInputError: a token that cannot stand in a header.
        MissingTokenError, NotLocalError: on a call.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        if token is not None and not _TOKEN.fullmatch(token):
            raise InvalidInputError("token: must be one or more visible ASCII characters without spaces")
        self._app = app
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check an HTTP request, then run the application."""
        if scope["type"] == "http":
            if self._token is None:
                _check_is_local(scope)
            elif not _is_probe(scope):
                _check_token(scope, self._token)
        await self._app(scope, receive, send)


def _is_probe(scope: Scope) -> bool:
    route = str(scope["path"]).removeprefix(scope.get("root_path", ""))
    return route == "/healthz" and scope["method"] in ("GET", "HEAD")


def _check_token(scope: Scope, token: bytes) -> None:
    given = _values(scope["headers"], b"authorization")
    if not given:
        raise MissingTokenError(
            "this API wants its token, as the header Authorization: Bearer ...",
            headers={"www-authenticate": 'Bearer realm="pylon-workflows"'},
        )
    scheme, _, credentials = given[0].partition(b" ")
    is_right = hmac.compare_digest(credentials.strip(b" "), token)
    if len(given) > 1 or scheme.lower() != b"bearer" or not is_right:
        raise MissingTokenError(
            "the Authorization header does not carry this API's token",
            headers={"www-authenticate": 'Bearer realm="pylon-workflows", error="invalid_token"'},
        )


def _check_is_local(scope: Scope) -> None:
    reason = _foreign_trait(scope)
    if reason is not None:
        raise NotLocalError(f"without a token this API answers only programs on its own machine: {reason}")


def _foreign_trait(scope: Scope) -> str | None:
    peer = scope.get("client")
    if peer is None or not is_loopback(peer[0]):
        return f"the request came from {peer[0] if peer else 'an unknown address'}"
    headers = scope["headers"]
    for name, _ in headers:
        if name in (b"forwarded", b"via", b"x-real-ip") or name.startswith(b"x-forwarded-"):
            return f"a proxy sent it (the header {name.decode('latin-1')})"
    hosts = _values(headers, b"host")
    if len(hosts) != 1 or not _is_local_authority(hosts[0]):
        return f"its Host is {b', '.join(hosts).decode('latin-1')[:100] or 'missing'}"
    for origin in _values(headers, b"origin"):
        found = _ORIGIN.fullmatch(origin.decode("latin-1"))
        if found is None or not _is_local_authority(found["authority"].encode("latin-1")):
            return f"a page of {origin.decode('latin-1')[:100]} sent it"
    return None


def _is_local_authority(authority: bytes) -> bool:
    found = _HOST.fullmatch(authority.decode("latin-1"))
    return found is not None and is_loopback(found["host"])


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]
