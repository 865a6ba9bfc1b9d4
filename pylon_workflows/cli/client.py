"""A client of the HTTP API for one command at a time: no proxies, no redirects, no pool."""

import http.client
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import click

DEFAULT_URL = "http://127.0.0.1:8765/api/workflows"
TIMEOUT_S = 30.0

_TOKEN = re.compile(r"[!-~]+")


class RefusedError(click.ClickException):
    """The server said no; the message is its problem's detail."""

    exit_code = 1

    def __init__(self, detail: str, *, status: int, code: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class UnreachableError(click.ClickException):
    """No server of this product answers at the URL."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer: its status, its JSON (None for 204) and the query of the next page, if there is one."""

    status: int
    value: Any
    next_query: str | None


class Client:
    """Calls the API at `url`, with the token if there is one.

    Raises:
        click.BadParameter: a URL that is none of HTTP's, a token that no header can carry.
    """

    def __init__(self, url: str, token: str | None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = {"accept": "application/json", "user-agent": "pylon-workflows"}
        if token:
            if not _TOKEN.fullmatch(token):
                raise click.BadParameter("a token has visible ASCII characters and no spaces", param_hint="--token")
            self._headers["authorization"] = f"Bearer {token}"
        try:
            self._parts = urlsplit(self.url)
            is_usable = self._parts.scheme in ("http", "https") and bool(self._parts.hostname)
            _ = self._parts.port
        except ValueError:
            is_usable = False
        if not is_usable or not url.isascii():
            raise click.BadParameter(f"{url!r} is no URL such as {DEFAULT_URL}", param_hint="--url")

    def call(
        self, method: str, path: str = "", *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request; `path` follows the URL.

        Raises:
            RefusedError, UnreachableError.
        """
        status, answered, text = self._exchange(method, path, body, {**self._headers, **(headers or {})})
        if status == 204:
            return Reply(status, None, None)
        if status < 300 and _kind(answered) == "application/json":
            with suppress(ValueError):
                return Reply(status, json.loads(text), _next_query(answered.get("link", "")))
        raise self._refusal(status, answered, text)

    def _refusal(self, status: int, answered: Mapping[str, str], text: bytes) -> click.ClickException:
        if status >= 400 and _kind(answered) in ("application/json", "application/problem+json"):
            with suppress(ValueError, KeyError, TypeError):
                value = json.loads(text)
                return RefusedError(_advice(status, value["detail"]), status=status, code=value["code"])
        return UnreachableError(f"{self.url} answers ({status}), but is no pylon-workflows API; is the URL right?")

    def download(self, path: str) -> bytes:
        """A JSON answer, as the bytes it is. Raises RefusedError, UnreachableError."""
        status, answered, content = self._exchange("GET", path, None, self._headers)
        if status == 200 and _kind(answered) == "application/json":
            return content
        raise self._refusal(status, answered, content)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        connection = _connection(self._parts, self._timeout_s)
        try:
            connection.request(method, self._parts.path + path, body, dict(headers))
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        except TimeoutError:
            raise UnreachableError(f"{self.url} did not answer within {self._timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(
                f"no server answers at {self.url} ({reason}); start one with `pylon-workflows serve`, or name another "
                "with --url or PYLON_WORKFLOW_URL"
            ) from None
        finally:
            connection.close()


def _connection(parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout_s)


def _kind(answered: Mapping[str, str]) -> str:
    return answered.get("content-type", "").partition(";")[0].strip().lower()


def _next_query(link: str) -> str | None:
    target, _, relation = link.partition(">")
    return target.partition("?")[2] if 'rel="next"' in relation else None


def _advice(status: int, detail: str) -> str:
    return f"{detail} (--token, or PYLON_WORKFLOW_TOKEN)" if status == 401 else detail
