"""For tests, the users' and ours: time that the test moves, a runner that says what the test wrote, nothing on disk."""

import asyncio
import heapq
import inspect
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.errors import RunnerError, TurnTimedOutError
from pylon_workflows.ports import Apply, Runner, Store, Turn
from pylon_workflows.runner.deadline import Deadline
from pylon_workflows.settings import EngineSettings
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.workflow_engine import WorkflowEngine
from runner_protocol.messages import Action, StepStart, TurnRequest, parse_request

__all__ = [
    "FakeClock",
    "MemoryStore",
    "ScriptedRunner",
    "engine_in_memory",
    "script",
    "wait_for_status",
    "wait_until",
]

_POLL_S = 0.001

Answered = Action | RunnerError | Sequence[Action | RunnerError] | AsyncIterator[Action | RunnerError]
Answer = Answered | Awaitable[Answered]

T = TypeVar("T")


class FakeClock:
    """A clock that stands still until the test moves it."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        """The time of day that the test has set."""
        return self._now

    def monotonic(self) -> float:
        """The seconds by which the test has advanced the clock."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced the clock that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), sleeper))
        await sleeper

    def advance(self, length: timedelta | float) -> None:
        """Let time pass (a number is seconds): whoever has slept long enough goes on."""
        seconds = length / timedelta(seconds=1) if isinstance(length, timedelta) else length
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            sleeper = heapq.heappop(self._sleepers)[2]
            if not sleeper.done():
                sleeper.set_result(None)

    def jump(self, length: timedelta) -> None:
        """Set the time of day forward or back, as an operator would; nobody has waited any longer."""
        self._now += length


class ScriptedRunner:
    """Answers turns as the test says: `answer` gets each request and returns an action, or an error to raise.

    Several actions are a streamed answer: a list of them, which come at once, and of which the last may be an error, or
    an async iterator that gives one after the other, each when the one before it is durable.

    It may return an awaitable too, which has the turn's `timeout_s`, in real seconds, to come to an answer; so has an
    iterator for each action.
    """

    def __init__(self, answer: Callable[[TurnRequest], Answer]) -> None:
        self._answer = answer
        self.requests: list[TurnRequest] = []

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        """See `ports.Runner.take_turn`."""
        request = parse_request(turn.body)
        self.requests.append(request)
        now = asyncio.get_running_loop().time
        deadline = Deadline(turn.timeout_s, now() + turn.timeout_s)
        answer = self._answer(request)
        if isinstance(answer, Awaitable):
            answer = await _in_time(answer, deadline)
        if not isinstance(answer, AsyncIterator):
            await _hand_on(answer if isinstance(answer, Sequence) else (answer,), apply, deadline)
            return
        try:
            while (action := await _in_time(anext(answer, None), deadline)) is not None:
                if not await _hand_on((action,), apply, deadline):
                    return
                deadline.applied(now())
        finally:
            if isinstance(answer, AsyncGenerator):
                await answer.aclose()


async def _in_time(awaited: Awaitable[T], deadline: Deadline) -> T:
    timeout = asyncio.timeout_at(deadline.at)
    try:
        async with timeout:
            return await awaited
    except TimeoutError:
        if not timeout.expired():
            raise
        raise TurnTimedOutError(f"timed out after {deadline.length_s:g} s") from None


async def _hand_on(answer: Sequence[Action | RunnerError], apply: Apply, deadline: Deadline) -> bool:
    actions: list[Action] = []
    error: RunnerError | None = None
    for action in answer:
        if isinstance(action, RunnerError):
            error = action
            break
        if isinstance(action, StepStart):
            timeout_s = action.timeout / timedelta(seconds=1)
            deadline.step_started(action.key, timeout_s, asyncio.get_running_loop().time())
            continue
        deadline.step_ended(str(getattr(action, "key", None)))
        actions.append(action)
    is_more_wanted = not actions or await apply(actions)
    if error is not None and is_more_wanted:
        raise error
    return is_more_wanted


def script(*answers: Answer) -> Callable[[TurnRequest], Answer]:
    """Answers for `ScriptedRunner`, one a turn, in order."""
    left = iter(answers)

    def next_answer(request: TurnRequest) -> Answer:
        try:
            return next(left)
        except StopIteration:
            raise AssertionError(f"the script has no answer for the turn at position {request.current_step}") from None

    return next_answer


def engine_in_memory(
    runner: Runner | None,
    *,
    clock: FakeClock | None = None,
    store: Store | None = None,
    settings: EngineSettings | None = None,
) -> WorkflowEngine:
    """An engine that keeps its instances in memory, where tests are exact and quick.

    Full backoff instead of jitter, and without `settings` of your own no grace for turns in flight when it closes.
    A second engine on the same `store` is a restart.
    """
    return WorkflowEngine(
        runner=runner,
        store=MemoryStore() if store is None else store,
        clock=clock,
        settings=EngineSettings(shutdown_grace_s=0) if settings is None else settings,
        jitter=lambda: 1.0,
    )


async def wait_until(condition: Callable[[], Any], *, timeout_s: float = 10.0) -> None:
    """Let the event loop run until the condition, plain or async, holds. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not (await found if inspect.isawaitable(found := condition()) else found):  # noqa: ASYNC110 -- any condition
            await asyncio.sleep(_POLL_S)


async def wait_for_status(
    engine: WorkflowEngine, instance_id: str, status: Status | str, *, timeout_s: float = 10.0
) -> Instance:
    """Let the event loop run until the instance has this status; returns it. Raises TimeoutError, ValueError."""
    if status not in tuple(Status):
        raise ValueError(f"status: {status!r} is none of {', '.join(Status)}")

    async def has_status() -> bool:
        return (await engine.get(instance_id)).status == status

    try:
        await wait_until(has_status, timeout_s=timeout_s)
    except TimeoutError:
        instance = await engine.get(instance_id)
        due = instance.retry_at or instance.wake_at
        hint = f", due at {due}: a FakeClock moves only when the test advances it" if due else ""
        raise TimeoutError(f"{instance_id} is {instance.status} after {timeout_s} s, not {status}{hint}") from None
    return await engine.get(instance_id)
