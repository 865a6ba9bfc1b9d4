"""The request of a turn as bytes (PROTOCOL.md section 1).

Each record is written once, when it is made, and only joined from then on: `tests/unit` holds the result to
`runner_protocol.messages.TurnRequest`.
"""

import asyncio
import json
from datetime import datetime
from functools import lru_cache

from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.records import Record
from runner_protocol.fields import format_timestamp
from runner_protocol.messages import ADVANCE, PROTOCOL_VERSION, RUN_STEP

_string = json.encoder.encode_basestring

_JOINED_AT_A_TIME = 250
"""Records, before the event loop may do something else: about a millisecond."""


def record_json(record: Record, index: int) -> bytes:
    """A record as the wire and the HTTP API show it; `index` is its place in the list.

    What version 1 does not have is left out where it holds its default.
    """
    error = "null" if record.error is None else _string(record.error)
    position = "null" if record.position is None else record.position
    depends_on = record.depends_on
    if not depends_on:
        dependencies = ""
    else:
        keys = _string(depends_on[0]) if len(depends_on) == 1 else ",".join(map(_string, depends_on))
        dependencies = f',"depends_on":[{keys}]'
    return b'{"step_id":"step_%d",%b,"output":%b,%b%b}' % (
        index,
        f'"name":{_string(record.name)},"status":"{record.status}"'.encode(),
        record.output_json,
        (
            f'"error":{error},"started_at":"{format_timestamp(record.started_at)}",'
            f'"completed_at":"{format_timestamp(record.completed_at)}","duration_ms":{record.duration_ms},'
            f'"retry_count":{record.retry_count},"key":{_string(record.key)},"kind":{_string(record.kind)},'
            f'"position":{position},"final":{_boolean(record.final)},"timed_out":{_boolean(record.timed_out)}'
            f"{dependencies}"
        ).encode(),
        _beside(record) if record.input_json or record.notes_json else b"",
    )


def _beside(record: Record) -> bytes:
    input_json = b"" if record.input_json is None else b',"input":%b' % record.input_json
    notes = b"" if record.notes_json is None else b",%b" % record.notes_json[1:-1]
    return input_json + notes


class JoinedRecords:
    """The records of a run as a JSON array that grows; asking again costs only what is new."""

    __slots__ = ("_count", "_joined", "_run")

    def __init__(self) -> None:
        self._joined = bytearray(b"[")
        self._count = 0
        self._run = 1

    @property
    def size(self) -> int:
        """How many bytes have been joined."""
        return len(self._joined)

    async def catch_up(self, instance: Instance) -> None:
        """Join what is new of a long history, letting other work go on; `json` does the rest."""
        self._turn_to_run(instance)
        while len(instance.records) - self._count > _JOINED_AT_A_TIME:
            self._join(instance, self._count + _JOINED_AT_A_TIME)
            await asyncio.sleep(0)

    def json(self, instance: Instance) -> bytes:
        """All records of `instance`, which must be a later state of the one asked about before."""
        self._turn_to_run(instance)
        self._join(instance, len(instance.records))
        return bytes(self._joined) + b"]"

    def _turn_to_run(self, instance: Instance) -> None:
        if instance.run != self._run:
            self._joined = bytearray(b"[")
            self._count = 0
            self._run = instance.run

    def _join(self, instance: Instance, end: int) -> None:
        for index in range(self._count, end):
            if index:
                self._joined += b","
            self._joined += record_json(instance.records[index], index)
        self._count = end


def idempotency_key(instance: Instance) -> str:
    """The key of the position now due; a repeated turn has the same."""
    return f"{instance.id}:{instance.run}:{instance.current_step}"


def request_body(
    instance: Instance, records_json: bytes, *, began_at: datetime, deadline: datetime, hooks: str = ""
) -> bytes:
    """The request of a turn that begins at `began_at` and is given up at `deadline`.

    `hooks` is the member of that name with a comma before it, or nothing (`hook_keys.py`).
    """
    attempt = _attempt(instance, instance.failures_here, instance.last_error)
    head = _head(instance, ADVANCE, attempt, idempotency_key(instance), began_at, deadline, hooks)
    return b'{%b,"input":%b,"completed_steps":%b}' % (head, instance.terms.input_json, records_json)


def member_idempotency_key(instance: Instance, group: Group, index: int) -> str:
    """The key of a member; a repeated call has the same."""
    return f"{instance.id}:{instance.run}:{group.member_key(index)}"


def member_request_body(
    instance: Instance,
    group: Group,
    index: int,
    records_json: bytes,
    *,
    began_at: datetime,
    deadline: datetime,
    hooks: str = "",
) -> bytes:
    """The request of a call of one member (PROTOCOL.md section 5), with the records before its group."""
    attempt = _attempt(instance, group.failures(index), group.last_error(index))
    key = _string(member_idempotency_key(instance, group, index))[1:-1]
    head = _head(instance, RUN_STEP, attempt, key, began_at, deadline, hooks)
    member = (
        f'"group":{_string(group.key)},"name":{_string(group.member_name(index))},'
        f'"key":{_string(group.member_key(index))},"index":{index},"total":{group.total}'
    )
    return b'{%b,"member":{%b,"input":%b},"input":%b,"completed_steps":%b}' % (
        head,
        member.encode(),
        group.input_json(index),
        instance.terms.input_json,
        records_json,
    )


def _head(
    instance: Instance,
    mode: str,
    attempt: str,
    idempotency_key: str,
    began_at: datetime,
    deadline: datetime,
    hooks: str,
) -> bytes:
    origin = instance.origin
    started_at = format_timestamp(instance.run_started_at or began_at)
    now = format_timestamp(instance.last_position_at) if instance.last_position_at else started_at
    head = (
        f'{_unchanging(origin.id, origin.name, instance.version, instance.seed)},"mode":"{mode}",'
        f'"current_step":{instance.current_step},"run":{instance.run},"started_at":"{started_at}","now":"{now}",'
        f'"deadline":"{format_timestamp(deadline)}","attempt":{attempt},"idempotency_key":"{idempotency_key}",'
        f'"history":{{"steps":{len(instance.records)},"bytes":{instance.history_bytes}}}'
    )
    if instance.noted:
        head += f',"noted":{instance.noted}'
    if origin.parent_id is not None:
        key = "null" if origin.parent_key is None else _string(origin.parent_key)
        head += f',"parent":{{"workflow_id":"{origin.parent_id}","key":{key}}}'
    head += hooks
    if not instance.run_vars:
        return head.encode()
    return b'%b,"vars":%b' % (head.encode(), instance.run_vars.json)


def _attempt(instance: Instance, failures: int, last_error: str | None) -> str:
    error = "" if last_error is None else f',"last_error":{_string(last_error)}'
    return f'{{"number":{failures + 1},"max":{instance.terms.policy.max_retries + 1}{error}}}'


@lru_cache(maxsize=4096)
def _unchanging(instance_id: str, name: str, version: str | None, seed: str) -> str:
    return (
        f'"workflow_id":"{instance_id}","workflow_name":{_string(name)},"protocol":{PROTOCOL_VERSION},'
        f'"workflow_version":{"null" if version is None else _string(version)},"seed":"{seed}"'
    )


def _boolean(value: bool) -> str:
    return "true" if value else "false"
