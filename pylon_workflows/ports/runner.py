"""Whoever holds the workflow code."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from runner_protocol.messages import Action


class Turn(NamedTuple):
    """One question: the request's body, ready to send, and how many seconds the runner has for its answer.

    `workflow` and `version` are what the instance's run goes by, for whoever sends different ones to different places.
    """

    instance_id: str
    workflow: str
    body: bytes
    idempotency_key: str
    timeout_s: float
    version: str | None = None


Apply = Callable[[Sequence[Action]], Awaitable[bool]]
"""Takes the next actions of an answer, one or more, in order; returns when they are durable.

False: the turn is over, whatever the runner may still have to say.
"""


class Runner(Protocol):
    """Whoever holds the workflow code."""

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        """Ask once, and hand the answer's actions to `apply` as they come: one, or those of a stream.

        While `apply` works nothing more is asked of it, and a runner that goes on is slowed down. Once it has returned
        False the rest of the answer is not read. What it raises goes to the caller as it is. `step_start` is for the
        deadline alone and is not handed on.

        Cancelling gives up the turn. The implementation keeps the deadline itself: an answer that drips does not
        extend it. There are `turn.timeout_s` seconds until the first action, and as many again after each `apply`; a
        step that was announced with `step_start` has its own time, where that is longer.

        Raises:
            RunnerUnavailableError: there was no proper answer, or it broke off; what was applied stays, and the turn is
                asked again (PROTOCOL.md section 4).
            MalformedAnswerError: JSON that is no proper action; those before it in a stream have been applied.
            TurnTimedOutError: nothing to apply in time.
        """
        ...
