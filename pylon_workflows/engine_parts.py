"""The parts of an engine of the process that owns the store: how they are put together, how they begin and end."""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar

from pylon_workflows.actions import Actions
from pylon_workflows.announcements import Announcements
from pylon_workflows.bulk_changes import BulkChanges
from pylon_workflows.call_places import CallPlaces
from pylon_workflows.canned_answers import CannedAnswers
from pylon_workflows.changes import Changes
from pylon_workflows.core.instance import Instance
from pylon_workflows.decision import has_family
from pylon_workflows.definitions import Definitions
from pylon_workflows.discovery import Discovery
from pylon_workflows.dispatcher import Dispatcher
from pylon_workflows.earlier_runs import EarlierRuns
from pylon_workflows.errors import StoreError, WorkflowError
from pylon_workflows.fair_queue import FairQueue
from pylon_workflows.families import Families
from pylon_workflows.following import Following
from pylon_workflows.hook_keys import HookKeys
from pylon_workflows.known_tokens import KnownTokens
from pylon_workflows.lifetime import Lifetime
from pylon_workflows.live_instances import LiveInstances
from pylon_workflows.matcher import Matcher
from pylon_workflows.pace import Pace
from pylon_workflows.ports import Clock, Describer, Receiver, Role, Runner, Store
from pylon_workflows.publishing import Publishing
from pylon_workflows.retention import Retention
from pylon_workflows.runner_health import RunnerHealth
from pylon_workflows.schedules import Schedules
from pylon_workflows.sending import Sending
from pylon_workflows.settings import EngineSettings
from pylon_workflows.starts import Starts
from pylon_workflows.tasks import Tasks, ended
from pylon_workflows.timers import DueInstances, Timers
from pylon_workflows.turns import Turns
from pylon_workflows.updates import Updates
from pylon_workflows.waiters import Waiters
from pylon_workflows.watch import Check, Watch
from pylon_workflows.watchdog import Watchdog

T = TypeVar("T")


class EngineParts:
    """What a `LocalEngine` is made of. Without a runner nothing is driven.

    `checks` are made once a second; each raises StoreError when the engine must `fail`. `describers` are asked which
    workflows there are; `own_runners` are the workflows and versions that have runners of their own. `receivers`
    are told of instances that end or are blocked.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner | None,
        clock: Clock,
        definitions: Definitions,
        settings: EngineSettings,
        *,
        checks: Sequence[Check] = (),
        describers: Sequence[Describer] = (),
        own_runners: Collection[tuple[str, str | None]] = (),
        receivers: Sequence[Receiver] = (),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._clock = clock
        self._definitions = definitions
        self._settings = settings
        self._jitter = jitter
        self._own_runners = own_runners
        self._hooks = HookKeys(settings.hooks_url)
        self._live = LiveInstances(settings.max_live_instances, settings.max_live_bytes)
        self._changes = Changes(store, clock, self._live, self._committed)
        self._discovery = Discovery(describers, definitions, store, clock, jitter)
        self._actions = Actions(definitions, self._discovery.look_for, max_input_bytes=settings.max_input_bytes)
        self._canned_answers = CannedAnswers(self._changes, self._live, clock, self._actions)
        self._timers = Timers(DueInstances(store), clock, self._wake)
        self._announcements = Announcements(
            store,
            self._changes.read,
            clock,
            settle=lambda instance: self._families.ended(instance),  # noqa: PLW0108  it is made below
        )
        self._sending = Sending(store, receivers, clock, jitter)
        self._families = Families(store, self._changes, clock, self._announcements.settled)
        self._retention = Retention(
            store, clock, self._live, keep_for=settings.retain_finished_for, keep=settings.max_history
        )
        self._earlier_runs = EarlierRuns(store, clock, keep_for=settings.retain_finished_for)
        self._dispatcher = None if runner is None else self._dispatcher_for(runner)
        self._waiters = Waiters(self._changes.read)
        self._starts = Starts(store, self._changes, self._live, definitions, clock, self._committed)
        self._schedules = Schedules(
            store,
            self._starts,
            definitions,
            clock,
            notice=lambda due_at: self._ticks.notice(due_at),  # noqa: PLW0108
        )
        self._ticks = Timers(self._schedules, clock, self._schedules.wake)
        self._matcher = Matcher(store, self._changes, self._live, self._starts, clock)
        self._publishing = Publishing(
            store, self._matcher, clock, keep_for=settings.keep_published_for, most=settings.max_kept_events
        )
        self._tokens = KnownTokens(store.tokens)
        self._bulk = BulkChanges(store, self._changes, clock)
        self._watch = Watch(checks, clock, self.fail)
        self._watchdog = Watchdog(
            store,
            clock,
            self._dispatcher,
            is_put_off=self._timers.is_put_off,
            is_settling=self._families.is_settling,
            reconsider=self._changes.reconsider,
        )
        self._updates = Updates()
        self._following = Following(store, self._updates)
        self._tasks = Tasks(clock)
        self._lifetime = Lifetime()
        self._check_running = self._lifetime.check
        self._ending: asyncio.Task[None] | None = None

    def _dispatcher_for(self, runner: Runner) -> Dispatcher:
        health = RunnerHealth(self._own_runners)
        queue = FairQueue(
            places=self._settings.max_in_flight,
            room=self._settings.max_queued,
            limit_of=self._definitions.max_in_flight,
            is_shared=lambda: self._definitions.has_several,
        )

        def may_have_more_calls(name: str, calls: int) -> bool:
            limit = self._definitions.max_in_flight(name)
            return limit is None or queue.places_of(name) + calls < limit

        calls = CallPlaces(self._settings.max_in_flight, may_have_more_calls)
        turns = Turns(
            runner,
            health,
            self._clock,
            self._changes,
            self._live,
            is_crowded=lambda name, turns: dispatcher.is_crowded(name, turns),  # noqa: PLW0108  it is made below
            jitter=self._jitter,
            max_records=self._settings.max_records,
            max_history_bytes=self._settings.max_history_bytes,
            call_places=calls,
            actions=self._actions,
            hooks=self._hooks,
        )
        pace = Pace(self._settings.max_in_flight, is_shared=lambda: self._definitions.has_several)
        dispatcher = Dispatcher(turns.drive, self._store, health, self._clock, queue=queue, pace=pace, calls=calls)
        return dispatcher

    @property
    def is_running(self) -> bool:
        """Whether it takes work."""
        return self._lifetime.is_running

    @property
    def refusal(self) -> WorkflowError | None:
        """See `ports.Engine.refusal`."""
        return self._lifetime.refusal

    @property
    def role(self) -> Role:
        """See `ports.Engine.role`: this one never forwards."""
        return "owner"

    @property
    def is_driving(self) -> bool:
        """Whether a turn is in flight, or what came of one is being committed and told."""
        return self._turns_in_flight > 0

    @property
    def _turns_in_flight(self) -> int:
        return 0 if self._dispatcher is None else self._dispatcher.turns_in_flight

    @property
    def is_matching(self) -> bool:
        """Whether something may still come of what has been published by now, or of a wait that has begun."""
        return not self._matcher.is_idle

    async def open(self) -> None:
        """Open the store and go on with everything in it."""
        self._ending = None
        self._lifetime.open()
        await self._store.open()
        self._watch.look()
        await self._hooks.open(self._store.secrets)
        self._definitions.restore(await self._store.definitions())
        await self._tokens.open()
        self._families.clear()
        self._matcher.clear()
        self._changes.has_announcements = self._announcements.has_callbacks
        self._lifetime.begin()
        parts = (
            self._timers, self._ticks, self._announcements, self._families, self._matcher, self._publishing,
            self._retention, self._earlier_runs, self._changes.doubts, self._watch, self._watchdog,
            self._sending,
        )  # fmt: skip
        self._tasks.start((*(part.run for part in parts), self._changes.inspect, *self._discovery.parts))
        if self._dispatcher is not None:
            self._dispatcher.open()

    async def close(self, *, grace_s: float | None = None) -> None:
        """Take no more work, let turns in flight finish within the grace time, and let go of the store.

        Cancelled, it cuts the turns off at once and lets go all the same, before it returns: whoever follows may have
        the file then.
        """
        grace_s = self._settings.shutdown_grace_s if grace_s is None else grace_s
        self._lifetime.stop(self._turns_in_flight, grace_s)
        try:
            if self._dispatcher is not None:
                await self._dispatcher.drain(grace_s)
        finally:
            await ended(self._end())

    def fail(self, error: StoreError) -> None:
        """Stop at once and for good: turns are cut off, and every call raises this error. `close` is still to come."""
        self._lifetime.fail(error)
        self._end()

    async def until_failed(self) -> StoreError:
        """Wait until the engine has failed, and tell why; while it is well, for ever."""
        return await self._lifetime.until_failed()

    def _end(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = asyncio.create_task(self._let_go(), name="end of the engine")
        return self._ending

    async def _let_go(self) -> None:
        if self._dispatcher is not None:
            await self._dispatcher.drain(0)
        await self._tasks.end()
        self._waiters.close(self._lifetime.failure)
        self._updates.close(self._lifetime.failure)
        self._live.clear()
        await self._store.close()
        self._lifetime.end()

    async def _wake(self, instance_ids: Sequence[str]) -> Sequence[str]:
        """Do what is due; but what was published before a wait is over comes before the end of the wait."""
        await self._matcher.settle(instance_ids)
        return await self._changes.wake(instance_ids)

    def _committed(self, instance: Instance) -> None:
        if instance.wait is not None:
            self._matcher.committed(instance)
        if self._updates.is_watched:
            self._updates.changed(instance.id)
        if self._dispatcher is not None:
            is_new = instance.revision == 1
            self._dispatcher.changed(instance.id, instance.name, is_runnable=instance.is_runnable, is_new=is_new)
        if self._sending.has_receivers:
            self._sending.committed(instance)
        if instance.due_at is not None:
            self._timers.notice(instance.due_at)
        elif instance.is_finished:
            if has_family(instance):
                self._families.ended(instance)
            else:
                self._announcements.announce(instance)
            self._waiters.finished(instance)

    async def _to_its_end(self, change: Coroutine[Any, Any, T]) -> T:
        result = await self._tasks.to_its_end(change)
        if self._lifetime.failure is not None:  # it may have been written to a file that is no longer there
            self._check_running()
        return result
