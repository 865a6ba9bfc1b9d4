"""Errors as answers: `application/problem+json` (RFC 9457), and the middleware that makes one of whatever is raised."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner_protocol.strict_json import encode_parsed

TYPE_PREFIX = "urn:pylon-workflows:problem:"
_IN_CAPITALS = frozenset({"json", "url"})

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a caller is told of an error. `code` names the kind for programs, `detail` says it for people."""

    status: int
    code: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The problem as an answer."""
        members = {
            "type": TYPE_PREFIX + self.code,
            "title": _title(self.code),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        text = encode_parsed(_without_surrogates(members))
        return Response(text, self.status, {"cache-control": "no-store", **self.headers}, "application/problem+json")


UNEXPECTED = Problem(status=500, code="internal-error", detail="something went wrong here; the server's log says what")


class AnswerErrors:
    """Turns every exception of the application inside into a problem, as `explain` says.

    `explain` answers None for an exception that it does not know: that one is logged and told without internals. With
    `logs_refusals` an answer above 500 is logged too. `shown` is the path as the log may have it.
    """

    def __init__(
        self,
        app: ASGIApp,
        explain: Callable[[Exception], Problem | None],
        *,
        logs_refusals: bool = True,
        shown: Callable[[str], str] = str,
    ) -> None:
        self._app = app
        self._shown = shown
        self._explain = explain
        self._logs_refusals = logs_refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; answer for it when it raises before its answer has begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watch(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            problem = self._explain(error)
            if problem is None or problem.status == UNEXPECTED.status:
                _logger.exception("%s %r failed", scope["method"], self._shown(scope["path"]))
            elif problem.status > UNEXPECTED.status and self._logs_refusals:
                _logger.warning("%s %r: %s", scope["method"], self._shown(scope["path"]), error)
            if has_begun:
                raise
            response = (problem or UNEXPECTED).response()
            if scope["method"] == "HEAD":
                response.body = b""
            await response(scope, receive, send)


def _title(code: str) -> str:
    title = " ".join(word.upper() if word in _IN_CAPITALS else word for word in code.split("-"))
    return title[:1].upper() + title[1:]


def _without_surrogates(members: Mapping[str, object]) -> dict[str, object]:
    """A detail may quote a header or a query that is no text; the answer must be one."""
    return {
        key: value.encode(errors="replace").decode() if isinstance(value, str) else value
        for key, value in members.items()
    }
