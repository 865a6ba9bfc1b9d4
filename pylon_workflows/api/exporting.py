"""An instance as one document, sent a page of its history at a time."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from starlette.responses import StreamingResponse

from pylon_workflows.core.revisions import until
from pylon_workflows.exports import EXPORT_END, export_head, export_lines
from pylon_workflows.ports import Engine, HistoryPage


async def export_response(engine: Engine, instance_id: str, *, is_wanted: bool) -> StreamingResponse:
    """The document of an instance as it is now, or without `is_wanted` its headers alone.

    Raises:
        UnknownInstanceError, UnreadableInstanceError: before the answer begins.
    """
    first = await engine.history_page(instance_id)
    parts = _parts(engine, instance_id, first) if is_wanted else _nothing()
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="{instance_id}.json"'}
    return StreamingResponse(parts, headers=headers, media_type="application/json")


async def _parts(engine: Engine, instance_id: str, page: HistoryPage) -> AsyncIterator[bytes]:
    revision = page.revision  # what follows in the meantime is no part of it
    yield export_head(engine.clock.now())
    while True:
        yield await asyncio.to_thread(partial(_lines, page, revision))
        if page.last >= revision:
            break
        page = await engine.history_page(instance_id, after=page.last)
    yield EXPORT_END


def _lines(page: HistoryPage, revision: int) -> bytes:
    return b"".join(export_lines(until(page.transitions, revision, after=page.after), after=page.after))


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
