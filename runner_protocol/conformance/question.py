"""The engine's side of a turn: completes what a case writes shortly into the request that the engine would send.

The history lies in the past at fixed times, so that a case can name them; only the deadline is taken from the clock.
"""

import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from runner_protocol.conformance.cases import KINDS, Case, ShortRecord, Turn
from runner_protocol.conformance.exchange import Call
from runner_protocol.conformance.signed_call import signed
from runner_protocol.durations import parse_duration
from runner_protocol.fields import format_timestamp
from runner_protocol.messages import PROTOCOL_VERSION
from runner_protocol.strict_json import encode_parsed

STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
ID_HERE = "{workflow_id}"
"""Where a case writes this, in a request or in an answer, the instance's id is put."""

SEED = "5eed0000000000000000000000c0ffee"
_MAX_ATTEMPTS = 4
_STEP_TAKES = timedelta(milliseconds=500)
_STEP_TIMEOUT = timedelta(seconds=30)
_CONTENT_TYPE = "application/json; charset=utf-8"
_ONE, _STREAM = "application/json", "application/x-ndjson, application/json"
_PREFIXED = ("event", "approval", "child")


def new_workflow_id(instance: str) -> str:
    """Make an id that no earlier play has used: runners under test may remember what they ran."""
    return f"conformance-{secrets.token_hex(6)}-{instance}"


def build_call(case: Case, turn: Turn, workflow_id: str, secret: str | None = None) -> Call:
    """Build the HTTP call of a turn, signed where the runner has a secret."""
    call = _unsigned_call(case, turn, workflow_id)
    return call if secret is None or turn.method != "POST" else signed(call, turn.signing, secret)


def _unsigned_call(case: Case, turn: Turn, workflow_id: str) -> Call:
    accept = turn.accept if turn.accept is not None else _ONE if turn.lines is None else _STREAM
    headers = {"accept": accept} if accept else {}
    if turn.method != "POST":
        return Call(turn.method, headers, b"")
    headers["content-type"] = _CONTENT_TYPE
    if turn.body is not None:
        return Call("POST", headers, turn.body.encode())
    request = build_request(case, turn, workflow_id)
    if isinstance(key := request.get("idempotency_key"), str):
        headers["idempotency-key"] = quote(key, safe=":")
    body = encode_parsed(request).replace(ID_HERE.encode(), workflow_id.encode())
    return Call("POST", headers, body, turn.stop_after)


def build_request(case: Case, turn: Turn, workflow_id: str) -> dict[str, Any]:
    """Build the request of a turn, `turn.request` replacing what the engine would send."""
    records = build_records(turn.records)
    taken = [record for record in records if record.get("position") is not None]
    waiting = records[records.index(taken[-1]) + 1 :] if taken else records
    run = turn.request.get("run", 1)
    member = turn.request.get("member") or {}
    request: dict[str, Any] = {
        "workflow_id": workflow_id,
        "workflow_name": case.workflow,
        "input": case.input if "input" not in turn.model_fields_set else turn.input,
        "current_step": len(taken),
        "completed_steps": records,
        "protocol": PROTOCOL_VERSION,
        "mode": "advance",
        "run": run,
        "workflow_version": None,
        "started_at": format_timestamp(STARTED_AT),
        "attempt": {
            "number": len(waiting) + 1,
            "max": _MAX_ATTEMPTS,
            "last_error": waiting[-1].get("error") if waiting else None,
        },
        "idempotency_key": f"{workflow_id}:{run}:{member.get('key', len(taken))}",
        "deadline": format_timestamp(datetime.now(UTC) + _STEP_TIMEOUT),
        "now": taken[-1]["completed_at"] if taken else format_timestamp(STARTED_AT),
        "seed": SEED,
        "history": {"steps": len(records), "bytes": len(encode_parsed(records)) if records else 0},
        "vars": {},
        "noted": 0,
        "parent": None,
    }
    return _replace(request, turn.request)


def build_records(short: Sequence[ShortRecord]) -> list[dict[str, Any]]:
    """Complete the records in their order: keys, positions, times and retry counts as the engine gives them."""
    records: list[dict[str, Any]] = []
    done: set[str] = set()
    failures: Counter[str] = Counter()
    positions = 0
    for entry in short:
        name, base, kind = _names(entry)
        number = 1
        for index in range(entry.repeat):
            while (key := base if number == 1 else f"{base}#{number}") in done:
                number += 1
            record = _record(entry, index, len(records))
            record |= {"name": name, "key": entry.set.get("key", key), "kind": kind}
            if record["status"] == "failed":
                failures[record["key"]] += 1
                record["retry_count"] = failures[record["key"]]
            if entry.failed is None or entry.final:
                record["position"] = positions
                positions += 1
                done.add(record["key"])
            records.append(_replace(record, entry.set))
    return records


def _record(entry: ShortRecord, index: int, place: int) -> dict[str, Any]:
    started_at = STARTED_AT + timedelta(seconds=place)
    lasted = parse_duration(entry.sleep) if entry.sleep is not None else _STEP_TAKES
    is_failed = entry.failed is not None or entry.final
    return {
        "step_id": f"step_{place}",
        "name": None,
        "status": "failed" if is_failed else "completed" if entry.skipped is None else "skipped",
        "output": index if entry.output == "$index" else entry.output,
        "error": entry.error if is_failed else None,
        "started_at": format_timestamp(started_at),
        "completed_at": format_timestamp(started_at + lasted),
        "duration_ms": lasted // timedelta(milliseconds=1),
        "retry_count": 0,
        "key": None,
        "kind": None,
        "position": None,
        "final": entry.final,
        "timed_out": entry.timed_out,
    }


def _names(entry: ShortRecord) -> tuple[str, str, str]:
    """Name, what the key is made of (the first free one of `base`, `base#2`...), and kind."""
    if entry.sleep is not None:
        return f"sleep:{entry.sleep}", "sleep", "sleep"
    kind = next(kind for kind in KINDS if getattr(entry, kind) is not None)
    name: str = getattr(entry, kind)
    if kind in _PREFIXED:
        return f"{kind}:{name}", f"{kind}:{name}", kind
    return name, name, "step" if kind in ("failed", "skipped") else kind


def _replace(fields: dict[str, Any], replacements: dict[str, Any]) -> dict[str, Any]:
    merged = {**fields, **replacements}
    return {key: value for key, value in merged.items() if value != {"$absent": True}}
