"""Whoever holds the workflow code."""

from typing import NamedTuple, Protocol

from runner_protocol.messages import Action


class Turn(NamedTuple):
    """One question: the request's body, ready to send, and how many seconds the runner has for its answer."""

    instance_id: str
    body: bytes
    idempotency_key: str
    timeout_s: float


class Runner(Protocol):
    """Whoever holds the workflow code."""

    async def take_turn(self, turn: Turn) -> Action:
        """Ask once, and read the one answer.

        Cancelling gives up the turn. The implementation keeps the deadline itself, over the whole turn: an answer that
        drips does not extend it.

        Raises:
            RunnerUnavailableError: there was no proper answer and the turn is asked again (PROTOCOL.md section 4).
            MalformedAnswerError: JSON that is no proper action.
            TurnTimedOutError: no answer within `turn.timeout_s`.
        """
        ...
