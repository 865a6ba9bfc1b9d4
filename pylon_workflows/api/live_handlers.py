"""The operations of the API that show what goes on: why an instance is where it is, and what happens next."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from pylon_workflows.api.bodies import one_header
from pylon_workflows.api.event_stream import HEARTBEAT_S, EventStream, Streams, heartbeat, message
from pylon_workflows.api.explanation_view import explanation_json
from pylon_workflows.api.queries import filter_terms, revision_of
from pylon_workflows.api.responses import json_response
from pylon_workflows.api.shared_changes import SharedChanges
from pylon_workflows.api.sharing import Sharing
from pylon_workflows.core.revisions import numbered
from pylon_workflows.core.transitions import InstanceCancelled, InstanceCompleted, InstanceFailed, Transition
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.filters import InstanceFilter
from pylon_workflows.ids import check_possible_id
from pylon_workflows.ports import Engine, HistoryPage
from pylon_workflows.transition_json import transition_json
from runner_protocol.strict_json import encode_parsed

_QUIET_S = 0.05
"""A reader is told of a busy instance, or of all, no more often than this: what came meanwhile comes at once."""

_SENT_AT_A_TIME = 50
_ENDS = {InstanceCompleted: "completed", InstanceFailed: "failed", InstanceCancelled: "cancelled"}


class LiveHandlers:
    """What can be seen of the instances of one engine as it happens."""

    _engine: Engine
    _streams: Streams
    _changes: SharedChanges
    _histories: Sharing[tuple[str, int], HistoryPage]

    async def explain(self, request: Request) -> Response:
        """Why an instance is where it is."""
        explanation = await self._engine.explain(check_possible_id(request.path_params["id"]))
        return json_response(explanation_json(explanation))

    async def stream(self, request: Request) -> Response:
        """What has happened to an instance since a revision, and what happens next, until it has finished."""
        instance_id = check_possible_id(request.path_params["id"])
        read = partial(self._engine.history_page, instance_id)
        after = _cursor(request) or 0
        page = await read(after=after)
        is_reset = page.revision < after
        if is_reset:
            page = await read()
        elif not page.transitions and _end(await read(after=page.revision - 1)):
            return Response(status_code=204, headers={"cache-control": "no-store"})  # a browser asks no more then
        return EventStream(self._transitions(instance_id, page, is_reset=is_reset), self._streams)

    async def stream_all(self, request: Request) -> Response:
        """Instances as they change, of those that fit a list's filter."""
        where = InstanceFilter(**filter_terms(request))
        after = _cursor(request)
        last = (await self._engine.next_changes(after=None, timeout_s=0)).after
        is_reset = after is not None and after > last
        begin = last if after is None or is_reset else after
        return EventStream(_changes(self._changes, where, begin, is_reset=is_reset), self._streams)

    async def _transitions(self, instance_id: str, page: HistoryPage, *, is_reset: bool) -> AsyncIterator[bytes]:
        while True:
            if is_reset:
                yield message(b"{}", event="reset", id=0)
            pending = iter(numbered(page.transitions, after=page.after))
            while some := list(islice(pending, _SENT_AT_A_TIME)):
                yield b"".join(message(transition_json(*each), id=each[0]) for each in some)
            if status := _end(page):
                yield message(encode_parsed({"status": status}), event="end")
                return
            after = page.last
            await asyncio.sleep(_QUIET_S)
            follow = partial(self._engine.next_history, instance_id, after=after, timeout_s=HEARTBEAT_S)
            page = await self._histories.ask((instance_id, after), follow)
            is_reset = page.revision < after
            if is_reset:
                page = await self._engine.history_page(instance_id)
            elif not page.transitions:
                yield heartbeat()


def _cursor(request: Request) -> int | None:
    """Where to go on: the header that a browser sends when it connects anew, or the parameter `after`."""
    header = one_header(request, "Last-Event-ID", max_length=18)
    if header is None:
        return revision_of(request, "after")
    if not (header.isascii() and header.isdigit()):
        raise InvalidInputError(f"Last-Event-ID: {header!r} is no id of a message of this stream")
    return int(header)


def _end(page: HistoryPage) -> str | None:
    """How the instance has ended, where the page has its end."""
    transitions: Sequence[Transition] = page.transitions
    return _ENDS.get(type(transitions[-1])) if transitions else None


async def _changes(
    changes: SharedChanges, where: InstanceFilter, begin: int, *, is_reset: bool
) -> AsyncIterator[bytes]:
    yield message(b"{}", event="reset" if is_reset else "ready", id=begin)
    loop, after = asyncio.get_running_loop(), begin
    sent_at = loop.time()
    while True:
        told = await changes.next(after=after, timeout_s=HEARTBEAT_S)
        is_quiet, after = told.page.is_complete, told.page.after
        if messages := told.messages(where):
            yield messages
            sent_at = loop.time()
        elif loop.time() - sent_at >= HEARTBEAT_S:
            yield heartbeat(after)
            sent_at = loop.time()
        if is_quiet and not changes.has(after):
            await asyncio.sleep(_QUIET_S)
