"""The changes of many instances that a standby asks of the owner.

A second try would take the next page, so none is sent after a lost answer; one that only counts may be.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from pylon_workflows.engine import LocalEngine
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.filters import BulkTerms, bulk_filter, checked_limit
from pylon_workflows.ownership.owner_requests import OwnerRequest, Reading
from pylon_workflows.summaries import BulkFailure, BulkReceipt
from runner_protocol.strict_json import JsonError, encode


def cancel_many(terms: BulkTerms) -> OwnerRequest[BulkReceipt]:
    """Cancel a page of instances."""
    return _request("/cancel", terms, lambda engine: engine.cancel_many(**terms))


def resume_many(terms: BulkTerms) -> OwnerRequest[BulkReceipt]:
    """Let a page of instances go on."""
    return _request("/resume", terms, lambda engine: engine.resume_many(**terms))


def _request(
    target: str, terms: BulkTerms, call: Callable[[LocalEngine], Awaitable[BulkReceipt]]
) -> OwnerRequest[BulkReceipt]:
    bulk_filter(terms)
    checked_limit(terms.get("limit", 1))
    members: dict[str, Any] = dict(terms)
    members["status"] = list(dict.fromkeys(map(str, members.pop("statuses", ())))) or None
    for name, value in members.items():
        if isinstance(value, datetime):
            members[name] = value.isoformat()
    try:
        body = encode(members)
    except JsonError as error:
        raise InvalidInputError(str(error)) from None
    is_repeatable = bool(terms.get("dry_run", False))
    return OwnerRequest(method="POST", target=target, body=body, call=call, read=_read, is_repeatable=is_repeatable)


async def _read(_status: int, answer: Any, _reading: Reading) -> BulkReceipt:
    failures = [BulkFailure(**failure) for failure in answer["failures"]]
    return BulkReceipt(count=answer["count"], failures=failures, after=answer["after"])
