"""Looks once a second whether the engine may go on (PROMISES.md P23, P25)."""

from collections.abc import Callable, Sequence

from pylon_workflows.errors import StoreError
from pylon_workflows.ports import Clock

_PAUSE_S = 1.0

Check = Callable[[], None]
"""Raises StoreError when the engine must stop for good. It runs on the event loop, so it only looks."""


class Watch:
    """Makes its checks once a second, in order, until one fails, and then says so to `fail`.

    A check that raises anything else could not look: that is no reason to stop, so it is made again.
    """

    def __init__(self, checks: Sequence[Check], clock: Clock, fail: Callable[[StoreError], None]) -> None:
        self._checks = checks
        self._clock = clock
        self._fail = fail

    def look(self) -> None:
        """Make the checks now: the first time is right after the store was opened. Raises what they raise."""
        for check in self._checks:
            check()

    async def run(self) -> None:
        """Look once a second until the engine must stop."""
        while self._checks:
            await self._clock.sleep(_PAUSE_S)
            try:
                self.look()
            except StoreError as error:
                self._fail(error)
                return
