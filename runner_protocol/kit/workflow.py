"""`@workflow("name")`: makes an author's function a workflow that a runner can be given."""

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from runner_protocol.fields import MAX_NAME_LENGTH
from runner_protocol.kit.context import Context

WorkflowFunction = Callable[[Context, Any], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Workflow:
    """A named workflow; calling it calls the function, so that a test may drive it with a context of its own."""

    name: str
    function: WorkflowFunction

    def __call__(self, ctx: Context, input: Any) -> Coroutine[Any, Any, Any]:
        """Call the author's function."""
        return self.function(ctx, input)


def workflow(name: str) -> Callable[[WorkflowFunction], Workflow]:
    """Name an `async def function(ctx, input)`; nothing is registered anywhere: give the result to a `Runner`.

    Raises:
        TypeError: the name is no text, or the function is no `async def`.
        ValueError: the name is empty or too long.
    """
    if not isinstance(name, str):
        raise TypeError('a workflow has a name: write @workflow("name")')
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise ValueError(f"the name of a workflow has 1 to {MAX_NAME_LENGTH} characters, not {len(name)}")

    def named(function: WorkflowFunction) -> Workflow:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"workflow {name!r} is no `async def function(ctx, input)`")
        return Workflow(name, function)

    return named
