"""The rows of instances that have not finished, looked at piece by piece."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Piece(NamedTuple):
    """Ids found among some rows, and the place after which the next piece begins; None when that was the last."""

    ids: Sequence[str]
    next: int | None


class LiveRows(Protocol):
    """Finds instances that nothing would ever wake, by their rows alone (P8). Raises StoreError."""

    async def without_reason(self, *, after: int, limit: int) -> Piece:
        """Those of the next `limit` rows that are not runnable, not due, do not say what they wait for, and are not
        blocked with a reason; and those whose child has finished, or is not there.
        """
        ...
