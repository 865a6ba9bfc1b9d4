"""Looks once a second whether the engine may go on (PROMISES.md P23)."""

from collections.abc import Callable

from pylon_workflows.errors import StoreError
from pylon_workflows.ports import Clock

_PAUSE_S = 1.0

Check = Callable[[], None]
"""Raises StoreError when the engine must stop for good. It runs on the event loop, so it only looks."""


class Watch:
    """Makes its check, if there is one, once a second until it fails, and then says so to `fail`.

    A check that raises anything else could not look: that is no reason to stop, so it is made again.
    """

    def __init__(self, check: Check | None, clock: Clock, fail: Callable[[StoreError], None]) -> None:
        self._check = check
        self._clock = clock
        self._fail = fail

    def look(self) -> None:
        """Make the check now: the first time is right after the store was opened. Raises what it raises."""
        if self._check is not None:
            self._check()

    async def run(self) -> None:
        """Look once a second until the engine must stop."""
        while self._check is not None:
            await self._clock.sleep(_PAUSE_S)
            try:
                self._check()
            except StoreError as error:
                self._fail(error)
                return
