"""The children of an instance that have not finished, as far as it knows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child and the record that started it; `on_parent_close` is `cancel` or `abandon`."""

    id: str
    run: int
    key: str
    on_parent_close: str


class Children(Mapping[str, Child]):
    """Children by their ids, in the order in which they were started.

    Each version is a value, and versions share their storage like those of `Records`: adding and removing cost the same
    among ten thousand children as among ten.
    """

    __slots__ = ("_at", "_length", "_storage")

    def __init__(self) -> None:
        self._storage = _Storage()
        self._at = 0
        self._length = 0

    def add(self, child: Child) -> "Children":
        """These and one more, whose id must not be among them."""
        changed = self._next(+1, is_copied=child.id in self._storage.spans)
        changed._storage.spans[child.id] = _Span(child, since=self._at)
        return changed

    def remove(self, child_id: str) -> "Children":
        """These without one of them."""
        changed = self._next(-1)
        changed._storage.spans[child_id].until = changed._at - 1
        return changed

    def _next(self, difference: int, *, is_copied: bool = False) -> "Children":
        changed = object.__new__(Children)
        is_newest = self._storage.changes == self._at
        changed._storage = self._storage if is_newest and not is_copied else self._copied()
        changed._storage.changes = changed._at = self._at + 1
        changed._length = self._length + difference
        return changed

    def _copied(self) -> "_Storage":
        storage = _Storage()
        storage.spans = {child.id: _Span(child, since=-1) for child in self.values()}
        return storage

    def __getitem__(self, child_id: str) -> Child:
        span = self._storage.spans[child_id]
        if not span.holds(self._at):
            raise KeyError(child_id)
        return span.child

    def __iter__(self) -> Iterator[str]:
        return (child_id for child_id, span in self._storage.spans.items() if span.holds(self._at))

    def __len__(self) -> int:
        return self._length

    def __hash__(self) -> int:
        return hash(self._length)

    def __repr__(self) -> str:
        return f"Children({dict(self)!r})"


class _Storage:
    """What versions share: since which change each child has been there, and until which."""

    __slots__ = ("changes", "spans")

    def __init__(self) -> None:
        self.spans: dict[str, _Span] = {}
        self.changes = 0


class _Span:
    __slots__ = ("child", "since", "until")

    def __init__(self, child: Child, *, since: int) -> None:
        self.child = child
        self.since = since
        self.until: int | None = None

    def holds(self, version: int) -> bool:
        """Whether the child is there in the version that came after so many changes."""
        return self.since < version and (self.until is None or version <= self.until)
