"""How many members are called at a time, beside the one of each group for which its instance's own place is taken."""

from collections import deque
from collections.abc import Callable

Wake = Callable[[], None]


class CallPlaces:
    """So many places for all groups of an engine. A freed one goes to the group that has waited longest.

    `may_have` says of a workflow whether its own limit lets it have one more call, given how many places it holds here.
    """

    def __init__(self, places: int, may_have: Callable[[str, int], bool]) -> None:
        self._allowed = places
        self.taken = 0
        self._may_have = may_have
        self._taken: dict[str, int] = {}
        self._waiting: deque[CallLease] = deque()

    def lease(self, name: str, wake: Wake) -> "CallLease":
        """The places of one group of that workflow: none yet. `wake` is called when it gets one that it waited for."""
        return CallLease(self, name, wake)

    def _take(self, lease: "CallLease") -> bool:
        taken = self._taken.get(lease.name, 0)
        if not self._may_have(lease.name, taken):
            return False
        if self.taken >= self._allowed:
            if not lease.is_waiting:
                lease.is_waiting = True
                self._waiting.append(lease)
            return False
        self.taken += 1
        self._taken[lease.name] = taken + 1
        return True

    def allow(self, places: int) -> None:
        """Let so many be taken from now on; who holds more gives them back as calls end."""
        self._allowed = places
        self._hand_out()

    def _give_back(self, name: str) -> None:
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]
        self.taken -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self.taken < self._allowed:
            first = self._waiting.popleft()
            if not first.is_waiting:
                continue
            first.is_waiting = False
            if self._take(first):
                first.granted()


class CallLease:
    """The places of one group."""

    __slots__ = ("_places", "_wake", "is_waiting", "name", "taken")

    def __init__(self, places: CallPlaces, name: str, wake: Wake) -> None:
        self._places = places
        self._wake = wake
        self.name = name
        self.taken = 0
        self.is_waiting = False

    def cover(self, calls: int) -> bool:
        """Have places for so many calls, the first of which needs none; False when they are not to be had now."""
        while self.taken < calls - 1:
            if not self._places._take(self):
                return False
            self.taken += 1
        return True

    def keep(self, calls: int) -> None:
        """Give back what so many calls do not need."""
        while self.taken > max(0, calls - 1):
            self.taken -= 1
            self._places._give_back(self.name)

    def granted(self) -> None:
        """One that was waited for has become free."""
        self.taken += 1
        self._wake()

    def end(self) -> None:
        """Give all back, and wait for none."""
        self.is_waiting = False
        self.keep(0)
