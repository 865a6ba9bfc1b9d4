"""What users call on the engine of the process that owns the store."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

from pylon_workflows.announcements import FinishedCallback
from pylon_workflows.canonical_json import checked_comment, checked_json, checked_text
from pylon_workflows.core.commands import Cancel, DecideApproval, DeliverEvent, WakeUp
from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.transitions import Transition
from pylon_workflows.declared_types import check_type
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import ApprovalTooLargeError, EventTooLargeError, InputTooLargeError, InvalidInputError
from pylon_workflows.filters import BulkTerms, FilterTerms, checked_limit, filter_of
from pylon_workflows.histories import history_page, instance_as_of
from pylon_workflows.hook_keys import HOOK_SECRET, is_present_hook
from pylon_workflows.live_engine import LiveEngine
from pylon_workflows.ports import EMPTY, MAX_PAGE, ApprovalReceipt, EventReceipt, InstanceSummary, Started
from pylon_workflows.published import (
    PublishedEvent,
    PublishedStart,
    PublishReceipt,
    checked_correlation,
    checked_event_data,
    checked_published_start,
    checked_source,
)
from pylon_workflows.schedule import Schedule, ScheduleOptions, new_schedule
from pylon_workflows.start_options import StartOptions
from pylon_workflows.summaries import MAX_HISTORY_PAGE, BulkReceipt, HistoryPage
from pylon_workflows.tokens import Token
from runner_protocol.messages import Action, parse_action
from runner_protocol.strict_json import MAX_DEPTH, encode


class LocalEngine(LiveEngine):
    """Implements `ports.Engine`. Without a runner nothing is driven: `apply` gives the answers."""

    def on_finished(self, callback: FinishedCallback) -> None:
        """Call this function, plain or async, with each instance that has finished; see `Announcements`."""
        self._announcements.add(callback)
        self._changes.has_announcements = True

    async def start_or_find(self, name: str, input: Any = EMPTY, **options: Unpack[StartOptions]) -> Started:
        """See `ports.Engine.start_or_find`."""
        self._check_running()
        check_type(name, str, "name")
        input_json = checked_json(input, "input", self._settings.max_input_bytes, InputTooLargeError)
        await self._discovery.look_for(name)
        instance = self._starts.new_instance(name, input_json, options)
        return await self._to_its_end(self._starts.create(instance, has_given_id=options.get("id") is not None))

    async def get(self, instance_id: str, *, as_of: int | None = None) -> Instance:
        """See `ports.Engine.get`."""
        self._check_running()
        if as_of is not None:
            return await instance_as_of(self._store, instance_id, as_of)
        return await self._changes.show(instance_id)

    async def list(
        self, *, after: str | None = None, limit: int = MAX_PAGE, **where: Unpack[FilterTerms]
    ) -> Sequence[InstanceSummary]:
        """See `ports.Engine.list`."""
        self._check_running()
        return await self._store.list(filter_of(where), after=after, limit=checked_limit(limit))

    async def history(self, instance_id: str) -> Sequence[Transition]:
        """All transitions of an instance, in order. Raises UnknownInstanceError."""
        self._check_running()
        return await self._changes.history(instance_id)

    async def history_page(self, instance_id: str, *, after: int = 0, limit: int = MAX_HISTORY_PAGE) -> HistoryPage:
        """See `ports.Engine.history_page`."""
        self._check_running()
        return await history_page(self._store, instance_id, after, limit)

    async def send_event(
        self, instance_id: str, event: str, data: Any = EMPTY, *, event_id: str | None = None
    ) -> EventReceipt:
        """See `ports.Engine.send_event`."""
        self._check_running()
        checked_text(event, "event")
        if event_id is not None:
            checked_text(event_id, "event_id")
        data_json = checked_json(data, "data", self._settings.max_event_bytes, EventTooLargeError)
        most = self._settings.max_unread_events
        command = DeliverEvent(event=event, data_json=data_json, event_id=event_id, max_unread=most)
        _, transitions = await self._to_its_end(self._changes.change(instance_id, command))
        return EventReceipt(is_duplicate=not transitions)

    async def publish(
        self,
        event: str,
        data: Any = EMPTY,
        *,
        correlation: str,
        event_id: str | None = None,
        source: str = "",
        start: PublishedStart | None = None,
    ) -> PublishReceipt:
        """See `ports.Engine.publish`."""
        self._check_running()
        published = PublishedEvent(
            correlation=checked_correlation(event, correlation),
            event_id=secrets.token_hex(16) if event_id is None else checked_text(event_id, "event_id"),
            source=checked_source(source),
            data_json=checked_event_data(data, self._settings.max_event_bytes),
            start=checked_published_start(start, self._settings.max_input_bytes),
            received_at=self._clock.now(),
        )
        if published.start is not None:
            await self._discovery.look_for(published.start.name)
            self._definitions.get(published.start.name)
        is_remembered = event_id is not None
        return await self._to_its_end(self._publishing.accept(published, is_remembered=is_remembered))

    async def is_present_hook(self, instance_id: str, name: str, signature: str) -> bool:
        """See `ports.Engine.is_present_hook`."""
        self._check_running()
        secret, summary = await self._store.secrets.get(HOOK_SECRET), await self._store.summary(instance_id)
        return is_present_hook(secret, summary, instance_id, name, signature)

    async def approve(
        self, instance_id: str, key: str, *, by: str | None = None, comment: str | None = None, data: Any = None
    ) -> ApprovalReceipt:
        """See `ports.Engine.approve`."""
        return await self.decide(instance_id, key, by, comment, data, is_approved=True)

    async def reject(
        self, instance_id: str, key: str, *, by: str | None = None, comment: str | None = None, data: Any = None
    ) -> ApprovalReceipt:
        """See `ports.Engine.reject`."""
        return await self.decide(instance_id, key, by, comment, data, is_approved=False)

    async def decide(
        self,
        instance_id: str,
        key: str,
        by: str | None,
        comment: str | None,
        data: Any,
        *,
        is_approved: bool,
        seed: str | None = None,
    ) -> ApprovalReceipt:
        """Approve or reject; with the `seed` of a run only there, so that this may be sent twice.

        Raises:
            As `approve`; ApprovalConflictError too when the instance is in another run.
        """
        self._check_running()
        command = DecideApproval(
            key=key,
            is_approved=is_approved,
            seed=seed,
            by=None if by is None else checked_text(by, "by"),
            comment=None if comment is None else checked_comment(comment, "comment"),
            data_json=checked_json(
                data, "data", self._settings.max_event_bytes, ApprovalTooLargeError, max_depth=MAX_DEPTH - 1
            ),
        )
        _, transitions = await self._to_its_end(self._changes.change(instance_id, command))
        return ApprovalReceipt(is_duplicate=not transitions)

    async def cancel(self, instance_id: str) -> None:
        """See `ports.Engine.cancel`."""
        self._check_running()
        await self._to_its_end(self._changes.change(instance_id, Cancel()))

    async def resume(self, instance_id: str, *, after: int | None = None) -> Status:
        """See `ports.Engine.resume`; what was resumed since the revision `after` is not resumed again."""
        self._check_running()
        return (await self._to_its_end(self._changes.resume(instance_id, after=after))).status

    async def cancel_many(self, **terms: Unpack[BulkTerms]) -> BulkReceipt:
        """See `ports.Engine.cancel_many`."""
        self._check_running()
        return await self._to_its_end(self._bulk.cancel(terms))

    async def resume_many(self, **terms: Unpack[BulkTerms]) -> BulkReceipt:
        """See `ports.Engine.resume_many`."""
        self._check_running()
        return await self._to_its_end(self._bulk.resume(terms))

    async def advance(self, instance_id: str) -> Status:
        """See `ports.Engine.advance`."""
        self._check_running()
        await self._changes.mend(instance_id)
        await self._matcher.settle([instance_id])
        instance, _ = await self._to_its_end(self._changes.change(instance_id, WakeUp()))
        if self._dispatcher is not None:
            self._dispatcher.hurry(instance_id)
        return instance.status

    async def apply(self, instance_id: str, action: Action) -> Instance:
        """Apply a canned answer, as if the runner had given it.

        Raises:
            UnknownInstanceError; TurnOpenError while the runner is being asked; TurnNotOpenError when the instance
            awaits no answer; InvalidInputError when the action would be malformed from a runner.
        """
        self._check_running()
        try:
            checked = parse_action(encode(action.model_dump(), max_depth=MAX_DEPTH + 1))
        except ValueError as error:
            raise InvalidInputError(f"action: {error}") from None
        return await self._to_its_end(self._canned_answers.apply(instance_id, checked))

    async def delete(self, instance_id: str) -> None:
        """See `ports.Engine.delete`."""
        self._check_running()
        await self._to_its_end(self._families.delete(instance_id))

    async def wait(self, instance_id: str, timeout_s: float | None = None) -> Instance:
        """The instance once it has finished. Raises UnknownInstanceError; TimeoutError."""
        self._check_running()
        return await self._waiters.wait(instance_id, timeout_s)

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """See `ports.Engine.definitions`."""
        self._check_running()
        return list(self._definitions)

    async def save_definition(self, definition: WorkflowDefinition) -> None:
        """See `ports.Engine.save_definition`."""
        self._check_running()
        check_type(definition, WorkflowDefinition, "definition")
        saved = replace(definition, source="saved")
        await self._to_its_end(self._store.save_definition(saved))
        self._definitions.restore([saved])

    async def schedule(self, cron: str, name: str, input: Any = EMPTY, **options: Unpack[ScheduleOptions]) -> Schedule:
        """See `ports.Engine.schedule`."""
        self._check_running()
        input_json = checked_json(input, "input", self._settings.max_input_bytes, InputTooLargeError)
        schedule = new_schedule(cron, name, input_json, options, now=self._clock.now())
        await self._discovery.look_for(name)
        return await self._to_its_end(self._schedules.save(schedule))

    async def unschedule(self, schedule_id: str) -> None:
        """See `ports.Engine.unschedule`."""
        self._check_running()
        await self._to_its_end(self._schedules.delete(schedule_id))

    async def pause_schedule(self, schedule_id: str) -> Schedule:
        """See `ports.Engine.pause_schedule`."""
        self._check_running()
        return await self._to_its_end(self._schedules.pause(schedule_id))

    async def resume_schedule(self, schedule_id: str) -> Schedule:
        """See `ports.Engine.resume_schedule`."""
        self._check_running()
        return await self._to_its_end(self._schedules.resume(schedule_id))

    async def get_schedule(self, schedule_id: str) -> Schedule:
        """See `ports.Engine.get_schedule`."""
        self._check_running()
        return await self._schedules.get(schedule_id)

    async def schedules(self) -> Sequence[Schedule]:
        """See `ports.Engine.schedules`."""
        self._check_running()
        return await self._store.schedules.all()

    async def save_token(self, token: Token) -> None:
        """Keep a token of the API; again changes nothing. Raises TooManyTokensError."""
        self._check_running()
        await self._to_its_end(self._tokens.save(token))

    async def revoke_token(self, token_id: str) -> None:
        """Forget a token of the API. Raises UnknownTokenError."""
        self._check_running()
        await self._to_its_end(self._tokens.revoke(token_id))

    async def tokens(self) -> Sequence[Token]:
        """All tokens of the API that can be read, the oldest first."""
        self._check_running()
        return self._tokens.all()

    async def find_token(self, token_id: str) -> Token | None:
        """See `ports.Engine.find_token`."""
        self._check_running()
        return self._tokens.find(token_id)

    async def has_tokens(self) -> bool:
        """See `ports.Engine.has_tokens`."""
        self._check_running()
        return self._tokens.has_any
