"""How often what was asked for was put off by the runner, and how long to leave it alone (PROTOCOL.md section 2)."""

from datetime import timedelta

_SHORTEST_S = 0.1
_LONGEST_S = 300.0


class Deferrals:
    """Counts in memory, by whatever id was asked for, since its last answer that said something."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __contains__(self, asked: str) -> bool:
        return asked in self._counts

    def put_off(self, asked: str, retry_after: timedelta) -> float:
        """Once more; the seconds after which to ask again: as long as it said, then longer, up to five minutes."""
        count = self._counts.get(asked, 0)
        self._counts[asked] = count + 1
        asked_for_s = max(retry_after / timedelta(seconds=1), _SHORTEST_S)
        return max(asked_for_s, min(asked_for_s * 2.0 ** min(count, 30), _LONGEST_S))

    def forget(self, asked: str) -> None:
        """It goes on, or is asked for no more."""
        if self._counts:
            self._counts.pop(asked, None)
