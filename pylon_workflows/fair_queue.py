"""Who waits for a place, and whose turn it is to take one (PROMISES.md P20, docs/decisions/0016-fairness.md).

Pure: no I/O, no clock, no asyncio. Every call but `withdraw_from_others` costs the same however many wait. Its laws:

1. A free place goes to the workflow that holds the fewest, those that hold alike in turn; within a workflow who came
   first goes first.
2. A workflow never holds more places than its definition allows.
3. Where there is more than one workflow, none takes a place unless it holds fewer than SHARE times the free ones. So
   something is left for who comes next, however long the turns of the others take; one that holds none may always take
   a free one.
4. Places may be withheld (`allow`): then they count as taken, in law 3 too, but not for a workflow that holds none.
5. A workflow may have as many waiting as there is room left. So there is room for who comes next here too; each may
   have at least one.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

SHARE = 3
"""One workflow alone takes three quarters of the places, two take three sevenths each, n take 3 of each 3n + 1."""

TURNS_IN_A_ROW = 8
"""What an instance takes on average, while places are withheld, before it steps back for others of its workflow."""


class _Lane:
    """What one workflow has waiting, and how many places it holds. `level`: among which ready ones it stands."""

    __slots__ = ("is_held_back", "level", "name", "places", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[str] = deque()
        self.places = 0
        self.level: int | None = None
        self.is_held_back = False


class FairQueue:
    """Ids that wait, by workflow.

    `limit_of` gives the most places that a workflow may hold, or None; `is_shared` whether other workflows are known
    than those that have been here.
    """

    def __init__(
        self,
        *,
        places: int,
        room: int,
        limit_of: Callable[[str], int | None] = lambda _: None,
        is_shared: Callable[[], bool] = lambda: False,
    ) -> None:
        self._places = self._free = places
        self._withheld = self._asked = 0
        self._room = room
        self._limit_of = limit_of
        self._is_shared = is_shared
        self._lanes: dict[str, _Lane] = {}
        self._ready: dict[int, OrderedDict[str, _Lane]] = {}  # by places held: few keys, since their sum is bounded
        self._held_back: set[str] = set()
        self._ids: dict[str, _Lane] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, instance_id: str) -> bool:
        return instance_id in self._ids

    def offer(self, instance_id: str, name: str) -> bool:
        """Let an id wait that does not wait yet; False when its workflow has no room for it."""
        lane = self._lane(name)
        if lane.waiting and len(lane.waiting) >= self._room - len(self._ids):
            return False
        self._ids[instance_id] = lane
        lane.waiting.append(instance_id)
        if lane.level is None:
            self._settle(lane)
        return True

    def withdraw_from_others(self, instance_id: str, name: str) -> None:
        """Let an id wait in no other workflow than this; where it did, that takes longer the more wait there."""
        lane = self._ids.get(instance_id)
        if lane is not None and lane.name != name:
            del self._ids[instance_id]
            lane.waiting.remove(instance_id)
            self._settle(lane)

    def has_room(self, name: str) -> bool:
        """Whether a workflow has less than half of what it may have waiting."""
        waiting = len(self._lane(name).waiting)
        return waiting == 0 or 2 * waiting <= self._room - len(self._ids)

    def next_name(self) -> str | None:
        """The workflow whose turn it is to `take` a place; None when nobody may."""
        if self._free <= 0 or not self._ready:
            return None
        level = min(self._ready)
        free = self._free - self._withheld
        if level and (free <= 0 or (level >= SHARE * free and self._has_others())):
            return None
        return next(iter(self._ready[level]))

    def take(self, name: str) -> str:
        """Give a place to the first that waits in the workflow named by `next_name`; returns its id."""
        lane = self._lanes[name]
        instance_id = lane.waiting.popleft()
        del self._ids[instance_id]
        self._free -= 1
        lane.places += 1
        self._settle(lane)
        return instance_id

    def give_back(self, name: str) -> None:
        """A place that was taken is free again."""
        lane = self._lanes[name]
        self._free += 1
        lane.places -= 1
        if lane.waiting:
            self._settle(lane)

    def places_of(self, name: str) -> int:
        """How many places a workflow holds."""
        lane = self._lanes.get(name)
        return 0 if lane is None else lane.places

    def is_crowded(self, name: str) -> bool:
        """Whether a place of this workflow is wanted: by another of its own, or by a workflow that has too few.

        While places are withheld turns are short, and stepping back costs as much as a fifth of one: then it is for
        others of its own once in `TURNS_IN_A_ROW`.
        """
        lane = self._lanes[name]
        if lane.waiting and not self._withheld:
            return True
        free = self._free - self._withheld
        if free < 0 and lane.places > 1:  # the only one would be taken again at once
            return True
        if not lane.waiting:
            return bool(self._ready) and (self._free <= 0 or lane.places > max(1, SHARE * free))
        self._asked += 1
        is_last_in_a_row = self._asked % TURNS_IN_A_ROW == 0
        return is_last_in_a_row or (lane.places > SHARE * (free + 1) and self._has_others())

    def allow(self, places: int) -> None:
        """Let so many of all places be taken from now on; who holds more steps back as its turns end."""
        self._withheld = self._places - places

    def hold_back(self, name: str) -> None:
        """Let this workflow take no place until `let_go`."""
        lane = self._lanes[name]
        lane.is_held_back = True
        self._held_back.add(name)
        self._settle(lane)

    def let_go(self, *names: str) -> None:
        """Let these workflows take places again; none given: all of them."""
        for name in names or tuple(self._held_back):
            if name in self._held_back:
                self._held_back.discard(name)
                lane = self._lanes[name]
                lane.is_held_back = False
                self._settle(lane)

    def clear(self) -> None:
        """Forget who waits and who holds places: all of them are free, but for those withheld."""
        self._free = self._places
        for held in (self._lanes, self._ready, self._held_back, self._ids):
            held.clear()

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(name)
        return lane

    def _has_others(self) -> bool:
        return len(self._lanes) > 1 or self._is_shared()

    def _settle(self, lane: _Lane) -> None:
        """Put a workflow last among the ready ones that hold as many places, or nowhere when it may take none."""
        limit = self._limit_of(lane.name) if lane.places else None
        is_ready = lane.waiting and not lane.is_held_back and (limit is None or lane.places < limit)
        level = lane.places if is_ready else None
        if level == lane.level:
            return
        if lane.level is not None:
            peers = self._ready[lane.level]
            del peers[lane.name]
            if not peers:
                del self._ready[lane.level]
        if level is not None:
            self._ready.setdefault(level, OrderedDict())[lane.name] = lane
        lane.level = level
