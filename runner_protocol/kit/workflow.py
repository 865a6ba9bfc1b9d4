"""`@workflow("name")`: makes an author's function a workflow that a runner can be given."""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from runner_protocol.fields import MAX_NAME_LENGTH
from runner_protocol.kit.context import Context
from runner_protocol.kit.errors import read_delay
from runner_protocol.kit.json_values import json_copy
from runner_protocol.kit.options import Delay
from runner_protocol.messages import DescribedWorkflow

WorkflowFunction = Callable[[Context, Any], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Workflow:
    """A named workflow; calling it calls the function, so that a test may drive it with a context of its own.

    The terms (`max_retries`, `step_timeout`) are what an engine that asks the runner starts its instances with, unless
    it has a definition of its own.
    """

    name: str
    function: WorkflowFunction
    version: str | None = None
    description: str | None = None
    max_retries: int | None = None
    step_timeout: timedelta | None = None
    input_schema: Mapping[str, Any] | None = None

    def __call__(self, ctx: Context, input: Any) -> Coroutine[Any, Any, Any]:
        """Call the author's function."""
        return self.function(ctx, input)

    def described(self) -> DescribedWorkflow:
        """The workflow as a Description has it. Raises ValidationError."""
        return DescribedWorkflow(
            name=self.name,
            version=self.version,
            description=self.description,
            max_retries=self.max_retries,
            step_timeout=self.step_timeout,
            input_schema=None if self.input_schema is None else dict(self.input_schema),
        )


def workflow(
    name: str,
    *,
    version: str | None = None,
    description: str | None = None,
    max_retries: int | None = None,
    step_timeout: Delay | None = None,
    input_schema: Mapping[str, Any] | None = None,
) -> Callable[[WorkflowFunction], Workflow]:
    """Name an `async def function(ctx, input)`; nothing is registered anywhere: give the result to a `Runner`.

    An instance stays with the `version` that its run started with: keep the function of an old one beside the new one
    until its instances have ended. `description` is the first line of the function's docstring unless given.
    `input_schema` is a JSON schema, for people and tools.

    Raises:
        TypeError: the name is no text, or the function is no `async def`.
        ValueError: the name is empty or too long, or another argument is none.
    """
    if not isinstance(name, str):
        raise TypeError('a workflow has a name: write @workflow("name")')
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise ValueError(f"the name of a workflow has 1 to {MAX_NAME_LENGTH} characters, not {len(name)}")
    schema = None if input_schema is None else json_copy(dict(input_schema), f"the input_schema of workflow {name!r}")
    timeout = None if step_timeout is None else read_delay(step_timeout)

    def named(function: WorkflowFunction) -> Workflow:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"workflow {name!r} is no `async def function(ctx, input)`")
        shown = description
        if shown is None and (text := inspect.getdoc(function)):
            shown = text.partition("\n")[0]
        made = Workflow(name, function, version, shown, max_retries, timeout, schema)
        try:
            made.described()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"workflow {name!r}: {first['loc'][0]}: {first['msg']}") from None
        return made

    return named
