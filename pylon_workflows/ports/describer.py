"""Whoever can tell which workflows a runner holds."""

from typing import Protocol, runtime_checkable

from runner_protocol.messages import Description


@runtime_checkable
class Describer(Protocol):
    """A runner that can be asked for its workflows. Runners need not be describers."""

    async def describe(self) -> Description | None:
        """Ask once (PROTOCOL.md section 6). None: it answers something else, as runners of version 1 do.

        Raises:
            RunnerUnavailableError: it is away, or does not answer in a few seconds.
        """
        ...
