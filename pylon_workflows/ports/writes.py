"""Changes that have been handed to a store."""

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


class Write(asyncio.Future[T]):
    """A change that has been handed to the store, and that nobody can cancel.

    Whoever is cancelled while awaiting it goes when it has ended: so the next to hold the instance's lock finds the
    state after it.
    """

    def cancel(self, msg: Any | None = None) -> bool:
        """Do nothing."""
        return False
