"""What users call on an engine: done in this process, or by whichever process owns the file."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Unpack

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.revisions import since
from pylon_workflows.core.transitions import Transition
from pylon_workflows.declared_types import check_type
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.engine import LocalEngine
from pylon_workflows.errors import InvalidInputError, WorkflowCancelledError, WorkflowFailedError
from pylon_workflows.filters import BulkTerms, FilterTerms
from pylon_workflows.live_calls import LiveCalls
from pylon_workflows.ownership import bulk_requests, decision_requests, owner_requests
from pylon_workflows.ownership.access import Access
from pylon_workflows.ports import EMPTY, MAX_PAGE, ApprovalReceipt, EventReceipt, InstanceSummary, Started
from pylon_workflows.publish_calls import PublishCalls
from pylon_workflows.schedule_calls import ScheduleCalls
from pylon_workflows.settings import EngineSettings
from pylon_workflows.start_options import StartOptions
from pylon_workflows.summaries import MAX_HISTORY_PAGE, BulkReceipt, HistoryPage, RunnerWait
from pylon_workflows.token_calls import TokenCalls
from runner_protocol.messages import Action


class EngineCalls(ScheduleCalls, PublishCalls, TokenCalls, LiveCalls):
    """The calls of a `WorkflowEngine`: each change goes the way that `access` knows, each read to what can be read."""

    def __init__(self, engine: LocalEngine, access: Access, settings: EngineSettings) -> None:
        self._engine = engine
        self._access = access
        self._settings = settings

    async def start(self, name: str, input: Any = EMPTY, **options: Unpack[StartOptions]) -> str:
        """Start an instance and return its id, once that is committed.

        The other arguments are those of `StartOptions`: `id`, `idempotency_key`, `tags`, `delay` or `at`, `parent_id`.
        A repeated start with the same id or idempotency key, name and input returns the existing instance's id; the
        tags, the time and the parent of the first one stay.

        Raises:
            UnknownWorkflowError, InvalidInputError, TooLargeError; StartConflictError when the id or key belongs to an
            instance with another name or input (PROMISES.md P13).
        """
        return (await self.start_or_find(name, input, **options)).id

    async def start_or_find(self, name: str, input: Any = EMPTY, **options: Unpack[StartOptions]) -> Started:
        """Like `start`, and tells whether the instance is new."""
        return await self._access.change(
            lambda: self._engine.start_or_find(name, input, **options),
            lambda: owner_requests.start(self._settings, name, input, options, now=self._engine.clock.now()),
        )

    async def get(self, instance_id: str, *, as_of: int | None = None) -> Instance:
        """The instance as it was last committed, or at that revision; one that cannot be read is `blocked`.

        Raises:
            UnknownInstanceError; InvalidInputError: it has no such revision.
        """
        return await self._access.read(lambda source: source.get(instance_id, as_of=as_of))

    async def list(
        self, *, after: str | None = None, limit: int = MAX_PAGE, **where: Unpack[FilterTerms]
    ) -> Sequence[InstanceSummary]:
        """Instances, the last created first, a page of at most 200; `after` is the last id of the page before.

        The other arguments are the terms of `InstanceFilter`: `statuses` (any of them), `name`, `tags` (all of them),
        `started_after`, `started_before`, `parent_id`.

        Raises:
            InvalidInputError: a limit that is not from 1 to 200; a term that no instance can meet.
        """
        return await self._access.read(lambda source: source.list(after=after, limit=limit, **where))

    async def history(self, instance_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[Transition]:
        """What has happened to an instance, in order: all of it, or what follows the revision `after`.

        With a `limit` (at most 1,000) at most so many, and fewer when they are large; see `history_page`.

        Raises:
            UnknownInstanceError, InvalidInputError.
        """
        if limit is not None:
            return (await self.history_page(instance_id, after=after, limit=limit)).transitions
        check_type(after, int, "after")
        if after < 0:
            raise InvalidInputError(f"after: must be a revision, from 0, not {after}")
        return since(await self._access.read(lambda source: source.history(instance_id)), after)

    async def history_page(self, instance_id: str, *, after: int = 0, limit: int = MAX_HISTORY_PAGE) -> HistoryPage:
        """A page of an instance's history: what follows the revision `after`, about 4 MiB of it, and the revision.

        Raises:
            UnknownInstanceError, InvalidInputError; HistoryLimitError: a limit that is not from 1 to 1,000.
        """
        return await self._access.read(lambda source: source.history_page(instance_id, after=after, limit=limit))

    async def send_event(
        self, instance_id: str, event: str, data: Any = EMPTY, *, event_id: str | None = None
    ) -> EventReceipt:
        """Deliver an event; it may come before the workflow waits for it, and twice with one `event_id`.

        Raises:
            UnknownInstanceError, InvalidInputError, TooLargeError, InboxFullError; InstanceFinishedError, unless this
            `event_id` was accepted before.
        """
        return await self._access.change(
            lambda: self._engine.send_event(instance_id, event, data, event_id=event_id),
            lambda: owner_requests.event(self._settings, instance_id, event, data, event_id),
        )

    async def is_present_hook(self, instance_id: str, name: str, signature: str) -> bool:
        """Whether a hook URL that ends with this signature is of the instance's present run, or of an earlier one.

        For whoever answers hook URLs without `create_hooks_app`; a call of a present one is the event `hook:<name>`.

        Raises:
            WrongHookUrlError: nobody has been given that URL, or there is no such instance.
        """
        return await self._access.read(lambda source: source.is_present_hook(instance_id, name, signature))

    async def approve(
        self, instance_id: str, key: str, *, by: str | None = None, comment: str | None = None, data: Any = None
    ) -> ApprovalReceipt:
        """Open the gate that the instance waits at, which its `approval` shows; the workflow goes on.

        `by` (at most 128 characters) and `comment` (at most 10,000) are texts for people, `data` any JSON: the workflow
        gets all three. The same decision again is a duplicate and changes nothing, not even `by`.

        Raises:
            UnknownInstanceError, InvalidInputError, TooLargeError; ApprovalConflictError: no gate of that key is open,
            and it was not decided so.
        """
        return await self._access.change(
            lambda: self._engine.approve(instance_id, key, by=by, comment=comment, data=data),
            lambda: decision_requests.decide(self._settings, instance_id, key, by, comment, data, is_approved=True),
        )

    async def reject(
        self, instance_id: str, key: str, *, by: str | None = None, comment: str | None = None, data: Any = None
    ) -> ApprovalReceipt:
        """Like `approve`, the other way: the workflow goes on too, and is told of the rejection."""
        return await self._access.change(
            lambda: self._engine.reject(instance_id, key, by=by, comment=comment, data=data),
            lambda: decision_requests.decide(self._settings, instance_id, key, by, comment, data, is_approved=False),
        )

    async def cancel(self, instance_id: str) -> None:
        """Cancel it; after this no further step starts. Raises UnknownInstanceError, InstanceFinishedError."""
        await self._access.change(lambda: self._engine.cancel(instance_id), lambda: owner_requests.cancel(instance_id))

    async def resume(self, instance_id: str) -> Status:
        """Let a blocked instance go on. One that is parked is read again, and goes on with what it was doing.

        Raises:
            UnknownInstanceError, InstanceNotBlockedError; UnreadableInstanceError: it still cannot be read.
        """
        return await self._access.change(
            lambda: self._engine.resume(instance_id), lambda: owner_requests.resume(instance_id)
        )

    async def cancel_many(self, **terms: Unpack[BulkTerms]) -> BulkReceipt:
        """Cancel a page of the instances that have not finished and that the terms choose, as those of `list` do.

        Every one of them with `all=True`, and then no other term. `dry_run=True` only counts. The receipt tells how
        many were cancelled, which could not be read, and `after` which the next page comes: ask again until it is None.

        Raises:
            InvalidInputError: neither terms nor `all`; a status of finished instances; a limit beyond 200.
        """
        return await self._access.change(
            lambda: self._engine.cancel_many(**terms), lambda: bulk_requests.cancel_many(terms)
        )

    async def resume_many(self, **terms: Unpack[BulkTerms]) -> BulkReceipt:
        """Let a page of the blocked instances that the terms choose go on; otherwise as `cancel_many`."""
        return await self._access.change(
            lambda: self._engine.resume_many(**terms), lambda: bulk_requests.resume_many(terms)
        )

    async def advance(self, instance_id: str) -> Status:
        """Do now what is due, if anything is, and return the status. Raises UnknownInstanceError.

        An instance that the runner has put off, or about which it could not be asked, is asked about without waiting.
        """
        return await self._access.change(
            lambda: self._engine.advance(instance_id), lambda: owner_requests.advance(instance_id)
        )

    async def apply(self, instance_id: str, action: Action) -> Instance:
        """Apply a canned answer, as if the runner had given it, and return the new state.

        Raises:
            UnknownInstanceError, InvalidInputError; TurnOpenError while the runner is being asked; TurnNotOpenError
            when the instance awaits no answer.
        """
        return await self._access.change(
            lambda: self._engine.apply(instance_id, action), lambda: owner_requests.apply(instance_id, action)
        )

    async def delete(self, instance_id: str) -> None:
        """Delete an instance that has finished or is parked. Raises UnknownInstanceError, InstanceNotFinishedError."""
        await self._access.change(lambda: self._engine.delete(instance_id), lambda: owner_requests.delete(instance_id))

    async def wait(self, instance_id: str, timeout: timedelta | float | None = None) -> Instance:  # noqa: ASYNC109 -- what users look for
        """The instance once it has finished, whatever its status.

        Raises:
            UnknownInstanceError; TimeoutError when it has not finished within `timeout` (a number is seconds).
        """
        check_type(timeout, timedelta | float | None, "timeout")
        timeout_s = timeout / timedelta(seconds=1) if isinstance(timeout, timedelta) else timeout
        return await self._access.wait(instance_id, timeout_s)

    async def result(self, instance_id: str, timeout: timedelta | float | None = None) -> Any:  # noqa: ASYNC109 -- as `wait`
        """The output once the workflow has completed.

        Raises:
            WorkflowFailedError, WorkflowCancelledError: it ended otherwise. UnknownInstanceError, TimeoutError.
        """
        instance = await self.wait(instance_id, timeout)
        if instance.status is Status.FAILED:
            raise WorkflowFailedError(instance.error or "", instance=instance)
        if instance.status is Status.CANCELLED:
            raise WorkflowCancelledError(f"{instance_id} was cancelled", instance=instance)
        return instance.output

    def waiting_for_runner(self, instance: Instance) -> RunnerWait | None:
        """Why an instance, as `get` has just told it, is put off while the runner is away or asks for it; else None.

        Only the owner knows (`role`): nothing of this is written.
        """
        return self._engine.waiting_for_runner(instance) if self._access.role == "owner" else None

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """All workflows that can be started, by name."""
        return await self._access.read(lambda source: source.definitions())

    async def save_definition(self, definition: WorkflowDefinition) -> None:
        """Keep a definition in the file; one registered in code goes before it."""
        await self._access.change(
            lambda: self._engine.save_definition(definition), lambda: owner_requests.save_definition(definition)
        )
