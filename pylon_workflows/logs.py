"""How log records are written: as lines of text or of JSON, with the instance and the request that they are about.

A message about one instance begins with its id and a colon (`"%s: ..."`), and no other does; a test holds all of them
to that. Bodies, tokens, signatures and query strings are in no message. Whoever embeds the engine keeps his own
handlers, and may give them `JsonFormatter`.
"""

import json
import logging
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["text", "json"]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the HTTP request that is being answered, which its answer carries as X-Request-Id."""

_ABOUT_INSTANCE = "%s: "


class JsonFormatter(logging.Formatter):
    """A record as one JSON object a line: `time` (RFC 3339 UTC, milliseconds), `level`, `logger`, `message`.

    `instance_id`, `request_id` and `error` (a traceback) where there are any.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (instance_id := instance_of(record)) is not None:
            line["instance_id"] = instance_id
        if (request := request_id.get()) is not None:
            line["request_id"] = request
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False).encode(errors="replace").decode()


class TextFormatter(logging.Formatter):
    """A record as a line of text, at its end the id of the request in which it was written."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the standard library's name
        """The record without its traceback."""
        request = request_id.get()
        return super().formatMessage(record) + ("" if request is None else f" (request {request})")


def without_request() -> Context:
    """The present context, but for the request's id: for a task that is begun in a request and outlives it."""
    context = copy_context()
    context.run(request_id.set, None)
    return context


def configure_logging(form: LogFormat = "text", level: int = logging.INFO) -> None:
    """Write the records of the whole process to stderr, as `serve` does."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler])


def instance_of(record: logging.LogRecord) -> str | None:
    """The instance that a record of this package is about."""
    arguments = record.args
    is_ours = record.name.startswith("pylon_workflows.") and isinstance(record.msg, str)
    if not is_ours or not record.msg.startswith(_ABOUT_INSTANCE) or not isinstance(arguments, tuple):
        return None
    return str(arguments[0])
