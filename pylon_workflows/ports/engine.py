"""What a front calls on an engine."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, Unpack

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import WorkflowError
from pylon_workflows.explain.shapes import Explanation
from pylon_workflows.filters import BulkTerms, FilterTerms
from pylon_workflows.ports.change_log import ChangePage
from pylon_workflows.ports.clock import Clock
from pylon_workflows.published import PublishedStart, PublishReceipt
from pylon_workflows.schedule import Schedule, ScheduleOptions
from pylon_workflows.start_options import StartOptions
from pylon_workflows.summaries import (
    MAX_HISTORY_PAGE,
    MAX_PAGE,
    ApprovalReceipt,
    BulkReceipt,
    EventReceipt,
    HistoryPage,
    InstanceSummary,
    RunnerWait,
    Started,
)
from pylon_workflows.tokens import Token

EMPTY: Any = {}
"""The input or data of a caller who gives none; never changed."""

Role = Literal["owner", "standby"]
"""Whether this process drives the file's instances, or stands by and forwards to the process that does."""


class Engine(Protocol):
    """What a front (the HTTP API) calls on an engine. Each change has been committed when the call returns.

    Every method raises EngineNotRunningError outside the engine's lifetime, and StoreError for the file's troubles.
    """

    async def start_or_find(self, name: str, input: Any = EMPTY, **options: Unpack[StartOptions]) -> Started:
        """Start an instance, or find the one already started with this id or key, name and input (P13).

        The one that is found stays as it is, whatever else this start says.

        Raises:
            UnknownWorkflowError, InvalidInputError, TooLargeError; StartConflictError when the id or key belongs to an
            instance with another name or input.
        """
        ...

    async def get(self, instance_id: str, *, as_of: int | None = None) -> Instance:
        """The instance, as it is or as it was at a revision; one that cannot be read is `blocked` and has no records.

        Raises:
            UnknownInstanceError; InvalidInputError: there is no such revision; UnreadableInstanceError: none can be
            told from what cannot be read.
        """
        ...

    async def list(
        self, *, after: str | None = None, limit: int = MAX_PAGE, **where: Unpack[FilterTerms]
    ) -> Sequence[InstanceSummary]:
        """Instances that an `InstanceFilter` of these terms wants, the last created first; `after` ended a page.

        Raises:
            ListLimitError: a limit that is not from 1 to 200. Those of `InstanceFilter`.
        """
        ...

    async def send_event(
        self, instance_id: str, event: str, data: Any = EMPTY, *, event_id: str | None = None
    ) -> EventReceipt:
        """Accept an event; without data it has `{}`.

        Raises:
            UnknownInstanceError, InvalidInputError, TooLargeError, InstanceFinishedError, InboxFullError.
        """
        ...

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
        """Accept an event for whoever waits for it with this correlation key, once per source and event id.

        Raises:
            InvalidInputError, TooLargeError; UnknownWorkflowError: of `start`; KeptEventsFullError.
        """
        ...

    async def is_present_hook(self, instance_id: str, name: str, signature: str) -> bool:
        """Whether a hook URL with this signature is of the instance's present run; False for one of an earlier run.

        Raises:
            WrongHookUrlError: it is of neither, or there is no such instance.
        """
        ...

    async def approve(
        self, instance_id: str, key: str, *, by: str | None = None, comment: str | None = None, data: Any = None
    ) -> ApprovalReceipt:
        """Open the gate `key` (`approval:<name>`); the same decision again is a duplicate.

        Raises:
            UnknownInstanceError, InvalidInputError, TooLargeError; ApprovalConflictError: no gate of that key is open,
            and it was not decided so.
        """
        ...

    async def reject(
        self, instance_id: str, key: str, *, by: str | None = None, comment: str | None = None, data: Any = None
    ) -> ApprovalReceipt:
        """Like `approve`, the other way; for the workflow that is a value and no failure."""
        ...

    async def cancel(self, instance_id: str) -> None:
        """Cancel it; again is no error. Raises UnknownInstanceError, InstanceFinishedError."""
        ...

    async def resume(self, instance_id: str) -> Status:
        """Let a blocked instance go on. One that is parked is read again, and goes on with what it was doing.

        Raises:
            UnknownInstanceError, InstanceNotBlockedError, UnreadableInstanceError.
        """
        ...

    async def cancel_many(self, **terms: Unpack[BulkTerms]) -> BulkReceipt:
        """Cancel a page of the unfinished instances that the terms choose, within about a second.

        Ask again with the receipt's `after` until there is none. Again is no error.

        Raises:
            InvalidInputError: neither a filter nor `all`, or both; a status with which it cannot be done. Those of
            `InstanceFilter`. ListLimitError.
        """
        ...

    async def resume_many(self, **terms: Unpack[BulkTerms]) -> BulkReceipt:
        """Let a page of the blocked instances that the terms choose go on; otherwise as `cancel_many`."""
        ...

    async def advance(self, instance_id: str) -> Status:
        """Do now what is due or was put off, and tell the present status; a row that is wrong is written anew.

        Raises:
            UnknownInstanceError
        """
        ...

    async def explain(self, instance_id: str) -> Explanation:
        """Why the instance is where it is. Raises UnknownInstanceError."""
        ...

    async def wait(self, instance_id: str, timeout_s: float | None, /) -> Instance:
        """The instance once it has finished. Raises UnknownInstanceError; TimeoutError."""
        ...

    async def next_history(self, instance_id: str, *, after: int, timeout_s: float) -> HistoryPage:
        """Like `history_page`; where nothing follows yet, as soon as something does, or after so many seconds nothing.

        Raises:
            UnknownInstanceError, InvalidInputError.
        """
        ...

    async def next_changes(self, *, after: int | None, timeout_s: float) -> ChangePage:
        """See `ChangeLog.since`; where nothing follows yet, as soon as something does, or nothing in so many seconds.

        Without `after` it tells at once where the log ends now.
        """
        ...

    @property
    def unexplained_instances(self) -> int | None:
        """How many instances there are that nothing would ever let go on: a fault; None where another process knows."""
        ...

    @property
    def given_up_webhooks(self) -> int | None:
        """How many outbound webhooks were given up since the owner's start; None where another process knows."""
        ...

    def waiting_for_runner(self, instance: Instance) -> RunnerWait | None:
        """Why the runner is not asked about it now, when it is away or puts it off; a standby knows of none."""
        ...

    async def delete(self, instance_id: str) -> None:
        """Delete an instance that has finished or is parked. Raises UnknownInstanceError, InstanceNotFinishedError."""
        ...

    async def history_page(self, instance_id: str, *, after: int = 0, limit: int = MAX_HISTORY_PAGE) -> HistoryPage:
        """The transitions of an instance that follow a revision: as many as asked for, or fewer that are large.

        Raises:
            UnknownInstanceError, InvalidInputError; HistoryLimitError: a limit that is not from 1 to 1,000.
        """
        ...

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """All definitions, by name."""
        ...

    async def save_definition(self, definition: WorkflowDefinition) -> None:
        """Keep a definition in the store; one registered in code goes before it."""
        ...

    async def schedule(self, cron: str, name: str, input: Any = EMPTY, **options: Unpack[ScheduleOptions]) -> Schedule:
        """Start an instance of a workflow at each tick of a cron text; with a known id, change that schedule.

        Raises:
            InvalidInputError and its kinds, UnknownWorkflowError, TooManySchedulesError.
        """
        ...

    async def unschedule(self, schedule_id: str) -> None:
        """Forget a schedule; what it has started goes on. Raises UnknownScheduleError."""
        ...

    async def pause_schedule(self, schedule_id: str) -> Schedule:
        """Let a schedule start nothing until it is resumed; again is the same. Raises UnknownScheduleError."""
        ...

    async def resume_schedule(self, schedule_id: str) -> Schedule:
        """Let a paused schedule go on with its next tick; again is the same. Raises UnknownScheduleError."""
        ...

    async def get_schedule(self, schedule_id: str) -> Schedule:
        """The schedule of that id. Raises UnknownScheduleError."""
        ...

    async def schedules(self) -> Sequence[Schedule]:
        """All schedules, by id."""
        ...

    async def find_token(self, token_id: str) -> Token | None:
        """The token of the API of that id, whether it has expired or not, or None."""
        ...

    async def has_tokens(self) -> bool:
        """Whether there are tokens of the API, expired and unreadable ones too: then callers need one."""
        ...

    @property
    def clock(self) -> Clock:
        """What tells it the time, and the fronts: tokens expire by it."""
        ...

    @property
    def is_running(self) -> bool:
        """Whether it takes work."""
        ...

    @property
    def role(self) -> Role:
        """Whether the work is done here or forwarded."""
        ...

    @property
    def refusal(self) -> WorkflowError | None:
        """What every call raises now, a new error each time; None while it takes work.

        EngineNotRunningError before it starts and after it was closed, else the reason for which it has stopped.
        """
        ...
