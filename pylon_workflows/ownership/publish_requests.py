"""What a standby asks of the owner about published events (see `owner_requests`)."""

import secrets
from dataclasses import replace
from typing import Any

from pylon_workflows.canonical_json import CanonicalJson, checked_text
from pylon_workflows.engine import LocalEngine
from pylon_workflows.ownership.owner_requests import OwnerRequest, Reading
from pylon_workflows.ports import PublishReceipt
from pylon_workflows.published import (
    PublishedStart,
    checked_correlation,
    checked_event_data,
    checked_published_start,
    checked_source,
)
from pylon_workflows.settings import EngineSettings
from runner_protocol.strict_json import encode_parsed


def publish(
    settings: EngineSettings,
    event: str,
    data: Any,
    *,
    correlation: str,
    event_id: str | None,
    source: str,
    start: PublishedStart | None,
) -> OwnerRequest[PublishReceipt]:
    """Publish an event. Without an id of its sender's it gets one here, and is nobody's duplicate."""
    checked_correlation(event, correlation)
    is_ours = event_id is None
    sent_id = secrets.token_hex(16) if event_id is None else checked_text(event_id, "event_id")
    checked_source(source)
    data_json = CanonicalJson(checked_event_data(data, settings.max_event_bytes))
    terms = checked_published_start(start, settings.max_input_bytes)
    members = {"event": event, "correlation": correlation, "event_id": sent_id, "source": source}
    body = encode_parsed(members)[:-1] + b',"data":' + data_json
    if start is not None and terms is not None:
        start = replace(start, input=CanonicalJson(terms.input_json))
        sent_start = encode_parsed({"name": terms.name, "id": terms.id, "tags": dict(terms.tags)})
        body += b',"start":' + sent_start[:-1] + b',"input":' + terms.input_json + b"}"

    async def call(engine: LocalEngine) -> PublishReceipt:
        receipt = await engine.publish(
            event, data_json, correlation=correlation, event_id=sent_id, source=source, start=start
        )
        return PublishReceipt(is_duplicate=receipt.is_duplicate and not is_ours)

    async def read(_status: int, answer: Any, _reading: Reading) -> PublishReceipt:
        return PublishReceipt(is_duplicate=answer["duplicate"] and not is_ours)

    return OwnerRequest(method="POST", target="/events", body=body + b"}", call=call, read=read)
