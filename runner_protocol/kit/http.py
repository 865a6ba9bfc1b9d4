"""`ctx.http`: an HTTP/1.1 request as a step, over asyncio and h11 (docs/decisions says why no client library).

One connection a request, no redirects, no cookies, no proxies, no compression: what is sent is what the author wrote,
and where. A cancelled request closes its connection at once.
"""

import asyncio
import ssl
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypedDict
from urllib.parse import SplitResult, quote, urlsplit

import h11

from runner_protocol.kit.errors import NonRetryableError, RetryAfter
from runner_protocol.kit.json_values import checked_json
from runner_protocol.kit.step import current_step
from runner_protocol.strict_json import JsonError, parse

MAX_BODY_BYTES = 2 * 1024 * 1024
_SUCCESS = range(200, 300)
_MAY_PASS = frozenset({408, 425, 429})
"""Statuses below 500 at which another attempt may help."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PORTS = {"http": 80, "https": 443}
_SHOWN = 500
_UNQUOTED = "%/:=&?~+!$,;'@()*[]"


class HttpResult(TypedDict):
    """What came back: `body` is parsed when it is JSON, else a text; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: Any


class HttpError(Exception):
    """A request has failed and may be tried again; `code` is the status, or None when there was no answer."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class HttpRequest:
    """A request as an operation: method, URL and body are recorded, headers are not, as they hold secrets."""

    kind = "http"

    def __init__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        body: str | bytes | None = None,
        ok: Collection[int] = _SUCCESS,
    ) -> None:
        if json is not None and body is not None:
            raise TypeError("a request has json or a body, not both")
        self._method = method.upper()
        self._url = _read_url(url)
        self._ok = ok
        self._headers = {name.lower(): value for name, value in (headers or {}).items()}
        if json is not None:
            self._body = checked_json(json, "the json of a request")
            self._headers.setdefault("content-type", "application/json")
        else:
            self._body = body.encode() if isinstance(body, str) else body or b""
        self.input: dict[str, Any] = {"method": self._method, "url": self._url.geturl()}
        if json is not None:
            self.input["json"] = json
        elif isinstance(body, str):
            self.input["body"] = body
        self._request({})  # what h11 would refuse is refused at the call

    async def execute(self) -> HttpResult:
        """Send it and read the answer. Raises HttpError, RetryAfter or NonRetryableError."""
        own = {} if self._method in _SAFE else {"idempotency-key": quote(current_step().idempotency_key, safe="!:")}
        try:
            answer = await self._exchange(self._request(own))
        except (OSError, h11.RemoteProtocolError, EOFError) as error:
            raise HttpError(f"{self._shown}: {error or type(error).__name__}") from error
        result = HttpResult(status=answer.status, headers=answer.headers, body=self._read(answer))
        if answer.status not in self._ok:
            raise self._failure(result)
        return result

    @property
    def _shown(self) -> str:
        return f"{self._method} {self._url.geturl()}"

    def _request(self, own: Mapping[str, str]) -> h11.Request:
        url = self._url
        headers = {
            "host": url.netloc,
            "user-agent": "pylon-workflows",
            "accept": "*/*",
            "accept-encoding": "identity",
            **own,
            **self._headers,
            "connection": "close",
        }
        if self._body or self._method not in _SAFE:
            headers["content-length"] = str(len(self._body))
        target = quote(url.path or "/", safe=_UNQUOTED) + (f"?{quote(url.query, safe=_UNQUOTED)}" if url.query else "")
        try:
            return h11.Request(method=self._method, target=target, headers=list(headers.items()))
        except (h11.LocalProtocolError, UnicodeEncodeError) as error:
            raise ValueError(f"{self._shown[:200]} is no request: {error}") from None

    async def _exchange(self, request: h11.Request) -> "_Answer":
        url, is_tls = self._url, self._url.scheme == "https"
        context = ssl.create_default_context() if is_tls else None
        reader, writer = await asyncio.open_connection(url.hostname, url.port or _PORTS[url.scheme], ssl=context)
        try:
            connection = h11.Connection(h11.CLIENT)
            writer.write(connection.send(request) or b"")
            writer.write(connection.send(h11.Data(data=self._body)) or b"" if self._body else b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            with suppress(ConnectionError):  # a server may answer before it has read everything
                await writer.drain()
            return await _read_answer(connection, reader, self._shown)
        finally:
            writer.close()

    def _read(self, answer: "_Answer") -> Any:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if answer.body and (kind == "application/json" or kind.endswith("+json")):
            with suppress(JsonError):
                return parse(bytes(answer.body))
        try:
            return answer.body.decode()
        except UnicodeDecodeError:
            raise NonRetryableError(f"{self._shown} was answered with bytes that are no UTF-8 text") from None

    def _failure(self, result: HttpResult) -> Exception:
        status, body, headers = result["status"], result["body"], result["headers"]
        said = body if isinstance(body, str) else checked_json(body, "the body").decode()
        message = f"{self._shown} was answered {status}{': ' if said else ''}{said[:_SHOWN]}"
        if status < 500 and status not in _MAY_PASS:
            return NonRetryableError(message)
        wait = headers.get("retry-after", "")
        return RetryAfter(int(wait), message) if wait.isdecimal() and len(wait) < 7 else HttpError(message, status)


@dataclass(slots=True)
class _Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


async def _read_answer(connection: h11.Connection, reader: asyncio.StreamReader, shown: str) -> _Answer:
    answer = _Answer()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(65536)
            if not data and not answer.status:
                raise EOFError("the connection was closed without an answer")
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            answer.status = event.status_code
            for name, value in event.headers:
                text, known = value.decode("latin-1"), answer.headers.get(name.decode())
                answer.headers[name.decode()] = text if known is None else f"{known}, {text}"
        elif isinstance(event, h11.Data):
            answer.body += event.data
            if len(answer.body) > MAX_BODY_BYTES:
                raise NonRetryableError(f"{shown} was answered with more than {MAX_BODY_BYTES:,} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return answer


def _read_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_known = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
        host = "" if parts.hostname is None else parts.hostname.encode("idna").decode()
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(url)[:200]!r} is no http or https URL: {error}") from None
    if not is_known:
        raise ValueError(f"{str(url)[:200]!r} is no http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL holds no user and password: it is recorded; give them in a header")
    shown = f"[{host}]" if ":" in host else host
    netloc = shown if parts.port is None else f"{shown}:{parts.port}"
    return parts._replace(netloc=netloc, fragment="")
