"""`WorkflowTester`: a workflow tested whole, its months in milliseconds."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, cast

from pylon_workflows.core.instance import ApprovalWait, ChildWait, EventWait, Instance, Status
from pylon_workflows.core.transitions import Transition
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import UnknownInstanceError
from pylon_workflows.ports import EMPTY, Apply, Runner, Turn
from pylon_workflows.runner.local import Handler, HandlesTurns, LocalRunner
from pylon_workflows.settings import EngineSettings
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing.fake_clock import FakeClock
from pylon_workflows.testing.memory_engine import engine_in_memory
from pylon_workflows.testing.waiting import wait_until
from runner_protocol.clock import go_by

_TIMEOUT_S = 10.0
_POLL_S = 0.0005


class _TimelyRunner(LocalRunner):
    """Has the code of a kit go by the virtual time."""

    def __init__(self, target: Handler | HandlesTurns, clock: FakeClock) -> None:
        super().__init__(target, clock=clock)
        self._present = clock.now

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        """See `ports.Runner.take_turn`."""
        go_by(self._present)
        await super().take_turn(turn, apply)


class StillWaitingError(AssertionError):
    """The instance waits for something that only the test can give it; the message says what."""


class WorkflowTester:
    """An engine in memory, over a clock that it moves itself, and a runner in this process.

    `runner` is a kit's `Runner`, or whatever `LocalRunner` or an engine takes. Time stands still until the test asks
    for something that takes time: then it jumps from one due time to the next, and code runs in between as it would.
    `engine` takes all calls of an engine, `clock` tells the virtual time.

        async with WorkflowTester(Runner([onboarding])) as tester:
            instance_id = await tester.start("onboarding", {"user": "alice"})
            await tester.until_waiting(instance_id, "confirmed")
            await tester.engine.send_event(instance_id, "confirmed")
            instance = await tester.finish(instance_id)
        assert instance.output == {"done": True}

    Every call that lets code run raises TimeoutError when that takes longer than `timeout_s` real seconds.
    """

    def __init__(
        self,
        runner: Runner | Handler | HandlesTurns,
        *,
        definitions: Sequence[WorkflowDefinition] = (),
        now: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        settings: EngineSettings | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self.clock = FakeClock(now)
        self.store = MemoryStore()
        takes_turns = hasattr(runner, "take_turn")
        asked = cast(Runner, runner) if takes_turns else _TimelyRunner(cast(Handler, runner), self.clock)
        self.engine = engine_in_memory(asked, clock=self.clock, store=self.store, settings=settings)
        for definition in definitions:
            self.engine.register(definition)
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        await self.engine.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.engine.__aexit__(kind, error, traceback)

    async def start(self, name: str, input: Any = EMPTY, **options: Any) -> str:
        """Start an instance; the options are those of `WorkflowEngine.start`. Returns its id."""
        return await self.engine.start(name, input, **options)

    async def run(self, name: str, input: Any = EMPTY, **options: Any) -> Instance:
        """Start an instance and let time pass until it has finished."""
        return await self.finish(await self.start(name, input, **options))

    async def finish(self, instance_id: str) -> Instance:
        """Let time pass until the instance has finished, through sleeps, retries and waits that time out.

        Raises:
            StillWaitingError: it waits, without a time limit, for an event or a decision; or it is blocked.
        """
        return await self._pass_time(instance_id, lambda instance: instance.is_finished)

    async def until_waiting(self, instance_id: str, what: str | None = None) -> Instance:
        """Let time pass, through sleeps and retries, until the instance waits for an event or a decision.

        `what` is the event's name or the gate's; the wait for another one is passed over when it can time out.

        Raises:
            StillWaitingError: it waits for something else; or it has finished, or is blocked.
        """

        def is_waiting(instance: Instance) -> bool:
            is_one = instance.status in (Status.WAITING_FOR_EVENT, Status.AWAITING_APPROVAL)
            return is_one and (what is None or instance.waiting_for == what)

        instance = await self._pass_time(instance_id, is_waiting)
        if instance.is_finished:
            raise StillWaitingError(f"{instance_id} is {instance.status} and waited for nothing{_named(what)}")
        return instance

    async def advance(self, length: timedelta) -> None:
        """Let so much time pass, stopping at each due time on the way, and each tick, for what is due then."""
        end = self.clock.now() + length
        while True:
            await self._settle()
            agendas = (self.store, self.store.schedules)
            due = [due_at for agenda in agendas if (due_at := await agenda.next_due(after=self.clock.now()))]
            if not due or min(due) >= end:
                break
            self.clock.advance(min(due) - self.clock.now())
        self.clock.advance(max(timedelta(0), end - self.clock.now()))
        await self._settle()

    async def history(self, instance_id: str) -> Sequence[Transition]:
        """All that has happened to an instance, in order: values that compare, of the classes of `core.transitions`."""
        return await self.engine.history(instance_id)

    async def _pass_time(self, instance_id: str, is_there: Callable[[Instance], bool]) -> Instance:
        try:
            async with asyncio.timeout(self._timeout_s):
                instance = await self._started(instance_id)
                while not is_there(instance) and not instance.is_finished:
                    moves_at = await self._moves_at(instance)
                    if moves_at is None:
                        raise StillWaitingError(_why_it_stands(instance))
                    if moves_at > self.clock.now():
                        self.clock.advance(moves_at - self.clock.now())
                    await asyncio.sleep(_POLL_S)
                    instance = await self.engine.get(instance_id)
        except TimeoutError:
            instance = await self.engine.get(instance_id)
            raise TimeoutError(f"{instance_id} is still {instance.status} after {self._timeout_s:g} s") from None
        return instance

    async def _started(self, instance_id: str) -> Instance:
        """The instance; an event that has been published, and not been looked at yet, may be what starts it."""
        while True:
            is_last_look = not self._is_matching
            try:
                return await self.engine.get(instance_id)
            except UnknownInstanceError:
                if is_last_look:
                    raise
            await asyncio.sleep(_POLL_S)

    async def _moves_at(self, instance: Instance) -> datetime | None:
        """When it goes on by itself: now while it is being driven; None when only the test can make it."""
        if self._is_matching and isinstance(instance.wait, EventWait):
            return self.clock.now()
        if isinstance(instance.wait, ChildWait):
            return await self._moves_at(await self.engine.get(instance.wait.child_id))
        if instance.due_at is not None:
            return instance.due_at
        if instance.is_runnable:
            put_off = self.engine.waiting_for_runner(instance)
            return self.clock.now() if put_off is None else put_off.next_try_at
        return self.clock.now() if instance.is_finished else None

    @property
    def _is_matching(self) -> bool:
        return self.engine._engine.is_matching  # what was published has been acknowledged, and may not be taken yet

    async def _settle(self) -> None:
        """Let code run until all that is due has been done, and whatever is not done waits for time or for the test."""

        async def is_still() -> bool:
            if self._is_matching or self.engine._engine.is_driving:
                return False
            now = self.clock.now()
            if await self.store.due(now=now, limit=1) or await self.store.schedules.due(now=now, limit=1):
                return False
            for summary in await self.engine.list(statuses=(Status.PENDING, Status.RUNNING)):
                instance = await self.engine.get(summary.id)
                is_being_committed = instance.revision != summary.revision
                if is_being_committed or await self._moves_at(instance) == now:
                    return False
            return True

        await wait_until(is_still, timeout_s=self._timeout_s)


def _why_it_stands(instance: Instance) -> str:
    match instance.wait:
        case EventWait(event=event):
            what = f"waits for the event {event!r}: send it, or give the wait a timeout"
        case ApprovalWait(name=name):
            what = f"waits for a decision on {name!r}: approve or reject it, or give the gate a timeout"
        case ChildWait(child_id=child_id):
            what = f"waits for its child {child_id}, which waits for something that the test must give"
        case _:
            what = f"is {instance.status}: {instance.blocked_reason}"
    return f"{instance.id} {what}"


def _named(what: str | None) -> str:
    return "" if what is None else f" named {what!r}"
