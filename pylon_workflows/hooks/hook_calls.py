"""Calls of the URLs that instances have given out (PROTOCOL.md section 7): each is the event `hook:<name>`.

The URL's own signature is the only leave that is asked for, and it is checked before anything else of the call is read.
"""

import asyncio
import logging
import re
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pylon_workflows.api.responses import json_response
from pylon_workflows.api.routes import route
from pylon_workflows.canonical_json import CanonicalJson
from pylon_workflows.errors import CallerError, InboxFullError, WrongHookUrlError
from pylon_workflows.hooks.bodies import UnreadableBodyError, read_body
from pylon_workflows.hooks.delivery_ids import event_id_of
from pylon_workflows.hooks.interpretation import AMBIGUOUS
from pylon_workflows.hooks.sent_headers import AmbiguousHeaderError, header_text
from pylon_workflows.hooks.signatures.verifier import RawHeaders
from pylon_workflows.once_a_minute import OnceAMinute
from pylon_workflows.ports import Clock, Engine
from runner_protocol.hook_urls import hook_event
from runner_protocol.strict_json import encode, encode_parsed

HOOK_SEGMENT = "hook"
"""What the paths of hook URLs begin with, under the hooks app; the word is no source's."""

_FORM = "application/x-www-form-urlencoded"
_READ_ON_THE_LOOP = 64 * 1024
_SIGNATURE = re.compile(rf"(/{HOOK_SEGMENT}/[^/]+/[^/]+/).*", re.DOTALL)

_logger = logging.getLogger(__name__)


def hook_call_route(engine: Engine, clock: Clock) -> Route:
    """The route that takes the calls of all instances."""
    return route(f"/{HOOK_SEGMENT}/{{id}}/{{name}}/{{signature}}", POST=HookCalls(engine, clock).receive)


def without_signature(path: str) -> str:
    """The path of a URL as a log may show it: whoever has the whole of it may call it."""
    return _SIGNATURE.sub(r"\1...", path)


class HookCalls:
    """Takes calls, and answers them as callers that try again need it."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._refusals = OnceAMinute(clock.monotonic)

    async def receive(self, request: Request) -> Response:
        """Store the event that a call is.

        Raises:
            WrongHookUrlError: nobody has been given this URL. InboxFullError, EngineError, StoreError: not now.
        """
        instance_id, name, signature = (request.path_params[part] for part in ("id", "name", "signature"))
        try:
            is_present = await self._engine.is_present_hook(instance_id, name, signature)
        except WrongHookUrlError as error:
            others = self._refusals.turn()
            if others is not None:
                _logger.warning("hook URLs: a call was refused: %s%s", error, others)
            raise
        if not is_present:
            return _not_applied(instance_id, "earlier-run", "the URL is of an earlier run of the instance")
        body = await request.body()
        try:
            event_id = _event_id(name, request.headers.raw)
            if len(body) > _READ_ON_THE_LOOP:
                data = await asyncio.to_thread(_data, request, body)
            else:
                data = _data(request, body)
            receipt = await self._engine.send_event(instance_id, hook_event(name), data, event_id=event_id)
        except InboxFullError:
            raise
        except AmbiguousHeaderError as error:
            return _not_applied(instance_id, AMBIGUOUS, str(error))
        except UnreadableBodyError as error:
            return _not_applied(instance_id, "unreadable-body", str(error))
        except CallerError as error:
            return _not_applied(instance_id, error.code, str(error))
        return json_response(encode_parsed({"applied": True, "duplicate": receipt.is_duplicate}))


def _data(request: Request, body: bytes) -> CanonicalJson:
    """What the body holds. Raises UnreadableBodyError."""
    if not body.strip():
        return CanonicalJson(b"{}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnreadableBodyError("the body: is compressed; send it as it is")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    value: Any = read_body(body, "json or form" if kind == _FORM else "json")
    try:
        return CanonicalJson(encode(value))
    except ValueError as error:
        raise UnreadableBodyError(f"the body: {error}") from None


def _event_id(name: str, headers: RawHeaders) -> str | None:
    """The call's own id as the event's. Without one every call is an event. Raises AmbiguousHeaderError."""
    call_id = header_text(headers, "webhook-id") or header_text(headers, "idempotency-key")
    # Quoted, a name has no colon: a caller of one hook can make no id that is another hook's.
    return None if call_id is None else event_id_of(HOOK_SEGMENT, f"{quote(name, safe='')}:{call_id}")


def _not_applied(instance_id: str, reason: str, detail: str) -> Response:
    _logger.info("%s: a call of a hook was acknowledged, not applied: %s", instance_id, reason)
    return json_response(encode_parsed({"applied": False, "duplicate": False, "reason": reason, "detail": detail}))
