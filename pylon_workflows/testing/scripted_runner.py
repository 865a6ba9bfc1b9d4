"""A runner that says what the test wrote."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from pylon_workflows.errors import RunnerError, RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.ports import Apply, Turn
from pylon_workflows.runner.deadline import Deadline
from runner_protocol.messages import Action, Description, StepStart, TurnRequest, parse_request

Answered = Action | RunnerError | Sequence[Action | RunnerError] | AsyncIterator[Action | RunnerError]
Answer = Answered | Awaitable[Answered]

T = TypeVar("T")


class ScriptedRunner:
    """Answers turns as the test says: `answer` gets each request and returns an action, or an error to raise.

    Several actions are a streamed answer: a list of them, which come at once, and of which the last may be an error, or
    an async iterator that gives one after the other, each when the one before it is durable.

    It may return an awaitable too, which has the turn's `timeout_s`, in real seconds, to come to an answer; so has an
    iterator for each action. `description` is what it tells of its workflows, or an error to raise; None is a runner
    that does not know how.
    """

    def __init__(
        self,
        answer: Callable[[TurnRequest], Answer],
        *,
        description: Description | RunnerUnavailableError | None = None,
    ) -> None:
        self._answer = answer
        self.requests: list[TurnRequest] = []
        self.description = description
        self.descriptions_asked = 0

    async def describe(self) -> Description | None:
        """See `ports.Describer.describe`."""
        self.descriptions_asked += 1
        if isinstance(self.description, RunnerUnavailableError):
            raise self.description
        return self.description

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
