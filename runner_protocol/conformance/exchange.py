"""One HTTP call and its reply: the seam between the checker and a runner.

The checker calls an `Exchange`; `HttpExchange` is the one over a socket, and tests have runners that need none.
"""

import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


class ExchangeError(Exception):
    """No reply came back; the message says what happened instead."""


class UnreachableError(ExchangeError):
    """Nothing listens at the address at all."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent to the runner; who sends it hangs up after `stop_after` lines that are not blank."""

    method: str
    headers: Mapping[str, str]
    body: bytes
    stop_after: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Exchange = Callable[[Call], Reply]
"""Sends a call and returns its reply; raises ExchangeError. It may be called from several threads at once."""


class HttpExchange:
    """Calls a runner at its URL, each call on a connection of its own: nothing lingers from one case to the next.

    Raises ValueError for a URL that is not http or https.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https URL")
        self._make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._timeout_s = parts.hostname, parts.port, timeout_s
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def __call__(self, call: Call) -> Reply:
        """Send a call. Raises ExchangeError, and UnreachableError when no connection could be made."""
        connection = self._make(self._host, self._port, timeout=self._timeout_s)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise UnreachableError(f"cannot connect to {self._host}:{connection.port}: {error}") from None
            connection.request(call.method, self._target, body=call.body or None, headers=dict(call.headers))
            response = connection.getresponse()
            body = response.read() if call.stop_after is None else _first_lines(response, call.stop_after)
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, body)
        except TimeoutError:
            raise ExchangeError(f"no reply within {self._timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise ExchangeError(f"the connection broke: {type(error).__name__}: {error}") from None
        finally:
            connection.close()


def _first_lines(response: http.client.HTTPResponse, count: int) -> bytes:
    lines = []
    while count and (line := response.readline()):
        lines.append(line)
        count -= bool(line.strip())
    return b"".join(lines)
