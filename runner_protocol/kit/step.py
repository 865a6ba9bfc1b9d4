"""The body of one step: how it is called, and how it is told which step and which attempt it is.

An `async def` body is awaited; any other runs in a thread, so that it may block. A thread cannot be cancelled: when the
caller has gone, a body of that sort runs to its end and its result is dropped.
"""

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from runner_protocol.kit.notes import NoteBook
from runner_protocol.kit.options import Policy


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
    """What an author passed to `ctx.step`: the function, its arguments, the options; of an operation kind and input."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    policy: Policy
    kind: str = "step"
    input: Any = None


class StepScope:
    """What helpers find when a step's function calls them: its own notes, and random numbers of its own.

    What it draws must not move what the workflow's function draws next.
    """

    def __init__(self, info: StepInfo, seed: str) -> None:
        self.info = info
        self.notes = NoteBook()
        self._seed = seed

    @cached_property
    def random(self) -> Random:
        """Made on demand: few steps draw, and to seed one is a tenth of what a step costs."""
        return Random(f"{self._seed}:{self.info.key}:{self.info.number}")  # noqa: S311 - no secret is made of it

    def enter(self) -> None:
        """Let whoever runs in the present context find it."""
        running_step.set(self.info)
        step_scope.set(self)


running_step: ContextVar[StepInfo | None] = ContextVar("running_step", default=None)
step_scope: ContextVar[StepScope | None] = ContextVar("step_scope", default=None)


def leave_steps() -> None:
    """Let the present context belong to no step: a turn may be asked for by a step of another runner."""
    running_step.set(None)
    step_scope.set(None)


def current_step() -> StepInfo:
    """Tell a step's function which step and which attempt it is, in threads too. Raises RuntimeError elsewhere."""
    info = running_step.get()
    if info is None:
        raise RuntimeError("current_step() answers only inside a step's function")
    return info


async def call_body(
    function: Callable[..., Any], arguments: tuple[Any, ...], threads: Callable[[], Executor | None] = lambda: None
) -> tuple[Any, BaseException | None]:
    """Call it once, in a task of its own: what it returned, or what it raised; it raises only what ends the task.

    `threads` gives those in which a body runs that may block; None are the event loop's own.
    """
    try:
        return await _call(function, arguments, threads), None
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return None, error  # something that the body awaits was cancelled
    except BaseException as error:
        return None, error


async def _call(
    function: Callable[..., Any], arguments: tuple[Any, ...], threads: Callable[[], Executor | None]
) -> Any:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return await function(*arguments)
    call = _ThreadCall(function, arguments)
    try:
        loop = asyncio.get_running_loop()
        output, error = await loop.run_in_executor(threads(), copy_context().run, call.run)
    except asyncio.CancelledError:
        call.give_up()
        raise
    if error is not None:
        raise error
    return await output if inspect.isawaitable(output) else output


class _ThreadCall:
    """A call in a thread, which goes on when nobody waits for it any more: a coroutine that it then gives is closed."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function = function
        self._arguments = arguments
        self._is_given_up = False
        self._output: Any = None

    def run(self) -> tuple[Any, BaseException | None]:
        try:
            self._output = self._function(*self._arguments)
        except StopIteration as error:  # a coroutine cannot raise it again
            return None, RuntimeError(f"the step's function raised StopIteration: {error.value!r}")
        except BaseException as error:
            return None, error
        if self._is_given_up:
            self._close()
        return self._output, None

    def give_up(self) -> None:
        self._is_given_up = True
        self._close()

    def _close(self) -> None:
        # Both threads may come here, and at once: closing what is closed does nothing.
        if inspect.iscoroutine(self._output):
            self._output.close()
