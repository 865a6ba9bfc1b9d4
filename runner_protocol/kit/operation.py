"""Operations: work with a kind of its own, recorded together with what it was given."""

from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import ValidationError

from runner_protocol.kit.json_values import json_copy
from runner_protocol.kit.options import Policy
from runner_protocol.kit.step import StepBody
from runner_protocol.messages import StepComplete

T_co = TypeVar("T_co", covariant=True)


@runtime_checkable
class Operation(Protocol[T_co]):
    """Any object like this can be a step, or a member of a `parallel`.

    `kind` (such as `"s3-copy"`) and `input` (JSON) are recorded and shown to whoever may read the instance, so they
    hold no secrets; `execute` does the work and returns JSON. In it `current_step()` answers.
    """

    @property
    def kind(self) -> str:
        """What sort of work it is."""
        ...

    @property
    def input(self) -> Any:
        """What the work is given."""
        ...

    def execute(self) -> Awaitable[T_co]:
        """Do the work."""
        ...


def operation_body(what: str, operation: Operation[Any], policy: Policy) -> StepBody:
    """An operation as the body of a step. Raises TypeError, ValueError, OutputError for one that is none."""
    if not isinstance(operation, Operation):
        raise TypeError(
            f"{what} takes an object with kind, input and an async execute(), not {type(operation).__name__}"
        )
    try:
        kind = StepComplete(kind=operation.kind).kind
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{what}: the kind of an operation: {reason}") from None
    given = json_copy(operation.input, f"the input of {what}")
    return StepBody(function=operation.execute, arguments=(), policy=policy, kind=kind, input=given)
