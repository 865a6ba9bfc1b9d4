"""One at a time through the event loop, so that a crowd with much to do does not keep others from it."""

import asyncio
from collections import deque


class Turnstile:
    """Lets one through in each round of the event loop, in the order in which they came.

    Whoever is through may keep the loop for a millisecond or two. Whatever else is ready, such as another workflow's
    short turn, comes between two of them.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False

    async def pass_through(self) -> None:
        """Wait for a round of one's own; the first to come has this one."""
        if not self._is_taken:
            self._take()
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        await place

    def _take(self) -> None:
        self._is_taken = True
        asyncio.get_running_loop().call_soon(self._let_next)

    def _let_next(self) -> None:
        self._is_taken = False
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():  # cancelled, if it is
                self._take()
                place.set_result(None)
                return
