"""What a standby asks of the owner about gates (see `owner_requests`).

A key is a gate's in one run; in the next one another gate may have it. So a decision is about the run that is there
before it is first sent, and what was decided in that run is in the history, also when the next one has begun.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from pylon_workflows.canonical_json import CanonicalJson, checked_comment, checked_json, checked_text
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.revisions import numbered
from pylon_workflows.core.transitions import ApprovalDecided, EarlierRunsDeleted, RunContinued, Transition
from pylon_workflows.engine import LocalEngine
from pylon_workflows.errors import (
    ApprovalConflictError,
    ApprovalTooLargeError,
    NoOwnerError,
    WorkflowError,
)
from pylon_workflows.histories import folded
from pylon_workflows.ownership.owner_requests import OwnerRequest, Reading, object_of, path_of
from pylon_workflows.ports import ApprovalReceipt
from pylon_workflows.settings import EngineSettings
from runner_protocol.strict_json import MAX_DEPTH, encode_parsed


def decide(
    settings: EngineSettings,
    instance_id: str,
    key: str,
    by: str | None,
    comment: str | None,
    data: Any,
    *,
    is_approved: bool,
) -> OwnerRequest[ApprovalReceipt]:
    """Decide about a gate. The same decision again is a duplicate, also of one whose answer was lost."""
    limit = settings.max_event_bytes
    data_json = CanonicalJson(checked_json(data, "data", limit, ApprovalTooLargeError, max_depth=MAX_DEPTH - 1))
    members = {"decision": b'"approve"' if is_approved else b'"reject"', "data": data_json}
    if by is not None:
        members["by"] = encode_parsed(checked_text(by, "by"))
    if comment is not None:
        members["comment"] = encode_parsed(checked_comment(comment, "comment"))

    async def call(engine: LocalEngine, seed: str | None = None) -> ApprovalReceipt:
        return await engine.decide(instance_id, key, by, comment, data_json, is_approved=is_approved, seed=seed)

    async def look(reading: Reading) -> OwnerRequest[ApprovalReceipt]:
        seen = await folded(instance_id, await reading.history(instance_id))

        async def read_repeated(error: WorkflowError, reading: Reading) -> ApprovalReceipt:
            if not isinstance(error, ApprovalConflictError):
                raise error
            decided = _decided(seen, key, await reading.history(instance_id))
            if decided is None or decided.is_approved != is_approved:
                raise error
            return ApprovalReceipt(is_duplicate=True)

        return replace(
            request,
            body=object_of(members | {"seed": encode_parsed(seen.seed)}),
            call=lambda engine: call(engine, seen.seed),
            read_repeated=read_repeated,
        )

    request = OwnerRequest(
        method="POST",
        target=f"{path_of(instance_id, 'approvals')}/{quote(key, safe='')}",
        body=object_of(members),
        call=call,
        read=_receipt,
        look=look,
    )
    return request


async def _receipt(_status: int, answer: Any, _reading: Reading) -> ApprovalReceipt:
    return ApprovalReceipt(is_duplicate=answer["duplicate"])


def _decided(seen: Instance, key: str, history: Sequence[Transition]) -> ApprovalDecided | None:
    """What was decided about that gate in the run that was seen. Raises NoOwnerError: nothing tells any more."""
    if history[0] != seen.origin:
        raise _unknown(seen.id, key)  # another instance has come to that id
    decided = None
    for revision, transition in numbered(history):
        match transition:
            case EarlierRunsDeleted() if revision > seen.revision:
                raise _unknown(seen.id, key)
            case RunContinued() if revision > seen.revision:
                break
            case RunContinued() | EarlierRunsDeleted():
                decided = None
            case ApprovalDecided() if transition.key == key:
                decided = transition
            case _:
                pass
    return decided


def _unknown(instance_id: str, key: str) -> NoOwnerError:
    return NoOwnerError(
        f"the process that owns the database was asked to decide {key!r} of {instance_id}, and went away before it "
        f"answered; whether it was done, nobody can tell, for the run has been deleted since"
    )
