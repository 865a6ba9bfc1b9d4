"""The ids of the events that an instance has accepted. A value whose versions share their storage, like `Records`."""

from collections.abc import Iterator


class EventIds:
    """The ids of all events that an instance has accepted, for as long as it lives."""

    __slots__ = ("_count", "_ordinals")

    def __init__(self) -> None:
        self._ordinals: dict[str, int] = {}
        self._count = 0

    def add(self, event_id: str) -> "EventIds":
        """These ids and one more, which must be new."""
        is_newest = len(self._ordinals) == self._count
        longer = EventIds()
        longer._ordinals = self._ordinals if is_newest else {known: ordinal for ordinal, known in enumerate(self)}
        longer._ordinals[event_id] = self._count
        longer._count = self._count + 1
        return longer

    def __contains__(self, event_id: str) -> bool:
        return self._ordinals.get(event_id, self._count) < self._count

    def __iter__(self) -> Iterator[str]:
        return (known for known, ordinal in self._ordinals.items() if ordinal < self._count)

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EventIds) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self._count)

    def __repr__(self) -> str:
        return f"EventIds({list(self)!r})"
