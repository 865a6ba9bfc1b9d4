"""Instances that are to be left alone until some time; each can be hurried."""

import heapq

_MOST_CUT_SHORT = 100
"""So many that were cut short, beside as many as there are others, are kept until their time comes."""


class Postponements:
    """Ids and the names of their workflows, by the time until which they wait."""

    def __init__(self) -> None:
        self._by_time: list[tuple[float, str]] = []
        self._known: dict[str, tuple[float, str]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, instance_id: str) -> bool:
        return instance_id in self._known

    @property
    def next_at(self) -> float | None:
        """When to ask for `due` again, if ever."""
        return self._by_time[0][0] if self._by_time else None

    def add(self, instance_id: str, name: str, at: float) -> None:
        """Leave it alone until then."""
        self._known[instance_id] = (at, name)
        heapq.heappush(self._by_time, (at, instance_id))
        if len(self._by_time) > 2 * len(self._known) + _MOST_CUT_SHORT:
            self._by_time = [(at, instance_id) for instance_id, (at, _) in self._known.items()]
            heapq.heapify(self._by_time)

    def until(self, instance_id: str) -> float | None:
        """The time until which it is left alone, if it is."""
        known = self._known.get(instance_id)
        return None if known is None else known[0]

    def cut_short(self, instance_id: str) -> str | None:
        """Postpone it no longer; the name of its workflow, or None when it was not postponed."""
        known = self._known.pop(instance_id, None)
        return None if known is None else known[1]

    def due(self, now: float) -> list[tuple[str, str]]:
        """Those whose time has come, with the names of their workflows; they are postponed no longer."""
        due = []
        while self._by_time and self._by_time[0][0] <= now:
            at, instance_id = heapq.heappop(self._by_time)
            known = self._known.get(instance_id)
            if known is not None and known[0] == at:  # or else it was cut short
                del self._known[instance_id]
                due.append((instance_id, known[1]))
        return due

    def clear(self) -> None:
        """Forget all."""
        self._by_time.clear()
        self._known.clear()
