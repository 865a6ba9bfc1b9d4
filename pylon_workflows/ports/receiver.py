"""Who is told of instances."""

from typing import Protocol

from pylon_workflows.notices import Notice, Subscription


class NotDeliveredError(Exception):
    """A notice has not been taken; the text says why and shows nothing that is secret.

    `is_away`: others would not be taken now either. `retry_after_s` is what the receiver asks for.
    """

    def __init__(self, reason: str, *, is_away: bool, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.is_away = is_away
        self.retry_after_s = retry_after_s


class Receiver(Protocol):
    """Takes notices, also several at a time; a notice may come again."""

    @property
    def subscription(self) -> Subscription:
        """What it wants to be told of."""
        ...

    @property
    def name(self) -> str:
        """What to call it in the log."""
        ...

    async def open(self) -> None:
        """Get ready, in the event loop in which it is used; it may have been closed before."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...

    async def deliver(self, notice: Notice) -> None:
        """Hand over a notice; returns once it has been taken. Raises NotDeliveredError."""
        ...
