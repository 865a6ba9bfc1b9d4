"""Runs the body of one step, and tells it which step and which attempt it is.

An `async def` body is awaited; any other runs in a thread, so that it may block. A thread cannot be cancelled: when the
caller has gone, a body of that sort runs to its end and its result is dropped.
"""

import asyncio
import inspect
from collections.abc import Callable
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any

from runner_protocol.kit.answers import StepRun
from runner_protocol.messages import Fail, StepComplete


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInfo:
    """What a step body may know of itself: `number` is this attempt from 1, `max` how many there may be.

    `last_error` is the message of the attempt before, or None. `idempotency_key` is `<workflow_id>:<run>:<key>`: the
    same in every attempt of this step and in no other step; send it along to whatever must not happen twice.
    """

    workflow_id: str
    run: int
    name: str
    key: str
    number: int
    max: int
    last_error: str | None

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt of this step, different in every other step."""
        return f"{self.workflow_id}:{self.run}:{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBody:
    """What an author passed to `ctx.step`: the function, its arguments, the options."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    max_retries: int | None


running_step: ContextVar[StepInfo | None] = ContextVar("running_step", default=None)


def current_step() -> StepInfo:
    """Tell a step's function which step and which attempt it is, in threads too. Raises RuntimeError elsewhere."""
    info = running_step.get()
    if info is None:
        raise RuntimeError("current_step() answers only inside a step's function")
    return info


async def run_step(body: StepBody, info: StepInfo, context: Context) -> StepComplete | Fail:
    """Run the body once, in a task and a context of its own; whatever it raises becomes a `fail`.

    SystemExit too: a library that calls `sys.exit()` fails its step, not the runner. When the caller of this function
    is cancelled, so is the body.
    """
    attempt = StepRun.begin(info.name, info.key, body.max_retries)
    context.run(running_step.set, info)
    task = asyncio.create_task(_attempt(body.function, body.arguments), context=context)
    try:
        output, error = await task
    except asyncio.CancelledError as cancelled:
        caller = asyncio.current_task()
        if caller is not None and caller.cancelling():
            raise
        return attempt.fail(cancelled)  # the body has cancelled itself, or something that it awaits was cancelled
    return attempt.complete(output) if error is None else attempt.fail(error)


async def _attempt(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    try:
        return await _call(function, arguments), None
    except (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
        raise
    except BaseException as error:
        return None, error


async def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return await function(*arguments)
    output, error = await asyncio.to_thread(_outcome, function, arguments)
    if error is not None:
        raise error
    return await output if inspect.isawaitable(output) else output


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    try:
        return function(*arguments), None
    except StopIteration as error:  # a coroutine cannot raise it again
        return None, RuntimeError(f"the step's function raised StopIteration: {error.value!r}")
    except BaseException as error:
        return None, error
