"""Changes of many instances, chosen by a filter: a page at a time, so that no call takes long whatever it finds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import Cancel
from pylon_workflows.core.instance import FINISHED, Status
from pylon_workflows.errors import (
    CallerError,
    CorruptDatabaseError,
    EngineNotRunningError,
    InvalidInputError,
    OwnershipLostError,
    StoreError,
)
from pylon_workflows.filters import BulkTerms, InstanceFilter, bulk_filter, checked_limit
from pylon_workflows.ports import Clock, Store
from pylon_workflows.summaries import BulkFailure, BulkReceipt

_AT_A_TIME = 20
_LONGEST_S = 1.0
_UNFINISHED = tuple(status for status in Status if status not in FINISHED)


class BulkChanges:
    """Cancels or resumes a page of what a filter wants, the last created first.

    What changes by itself in the meantime is left out of the count. An instance that cannot be read is a failure of its
    own. The cursor is the last instance that was looked at; where that has been deleted since, the page begins at the
    front: what was changed is no longer wanted, so nothing is done twice.
    """

    def __init__(self, store: Store, changes: Changes, clock: Clock) -> None:
        self._store = store
        self._changes = changes
        self._clock = clock

    async def cancel(self, terms: BulkTerms) -> BulkReceipt:
        """Cancel a page of those that have not finished. Raises InvalidInputError, StoreError."""
        return await self._change(terms, _UNFINISHED, lambda each: self._changes.change(each, Cancel()))

    async def resume(self, terms: BulkTerms) -> BulkReceipt:
        """Let a page of those that are blocked go on. Raises InvalidInputError, StoreError."""
        return await self._change(terms, (Status.BLOCKED,), self._changes.resume)

    async def _change(
        self, terms: BulkTerms, possible: Sequence[Status], change: Callable[[str], Awaitable[Any]]
    ) -> BulkReceipt:
        where, limit, after = _wanted(terms, possible), checked_limit(terms.get("limit", 100)), terms.get("after")
        if after is not None and await self._store.summary(after) is None:
            after = None
        page = await self._store.list(where, after=after, limit=limit)
        if terms.get("dry_run", False):
            return BulkReceipt(count=len(page), failures=(), after=page[-1].id if len(page) == limit else None)
        count, rest, failures = 0, list(page), list[BulkFailure]()
        ends_at = self._clock.monotonic() + _LONGEST_S
        while rest and (len(rest) == len(page) or self._clock.monotonic() < ends_at):
            some, rest = rest[:_AT_A_TIME], rest[_AT_A_TIME:]
            after = some[-1].id
            changed, failed, trouble = await self._outcomes([summary.id for summary in some], change)
            count += changed
            failures += failed
            if trouble is not None:
                raise _told(trouble, count)
        is_last = not rest and len(page) < limit
        return BulkReceipt(count=count, failures=failures, after=None if is_last else after)

    async def _outcomes(
        self, ids: Sequence[str], change: Callable[[str], Awaitable[Any]]
    ) -> tuple[int, Sequence[BulkFailure], BaseException | None]:
        """How many were changed, those that could not be read, and what ended it, if anything did."""
        try:
            await self._changes.load_many(ids)
        except (StoreError, EngineNotRunningError) as error:
            return 0, [], error
        trouble: BaseException | None = None
        outcomes = await asyncio.gather(*map(change, ids), return_exceptions=True)
        failures = []
        for instance_id, outcome in zip(ids, outcomes, strict=True):
            if isinstance(outcome, CorruptDatabaseError):
                failures.append(BulkFailure(id=instance_id, code=outcome.code, detail=str(outcome)))
            elif isinstance(outcome, BaseException) and not isinstance(outcome, CallerError):
                trouble = trouble or outcome
        return sum(not isinstance(outcome, BaseException) for outcome in outcomes), failures, trouble


def _told(trouble: BaseException, count: int) -> BaseException:
    """What ended it. One that says that nothing was done here would have others asked, who take the next ones too."""
    if count and isinstance(trouble, OwnershipLostError | EngineNotRunningError):
        return StoreError(f"{count} were changed; then: {trouble}")
    return trouble


def _wanted(terms: BulkTerms, possible: Sequence[Status]) -> InstanceFilter:
    """The filter, of instances with which it is possible. Raises InvalidInputError: one that says nothing."""
    where = bulk_filter(terms)
    if where.is_empty and not terms.get("all", False):
        raise InvalidInputError("all: nothing says which instances are meant; all=true means every one")
    if terms.get("all", False) and not where.is_empty:
        raise InvalidInputError("all: means every instance, and goes with no other term")
    if wrong := [status for status in where.statuses if status not in possible]:
        raise InvalidInputError(f"status: this cannot be done with instances that are {wrong[0]}")
    return replace(where, statuses=where.statuses or possible)
