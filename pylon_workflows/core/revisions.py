"""Which revision each transition of a history led to: one more than the one before, but where earlier runs are gone."""

from collections.abc import Iterable, Iterator, Sequence

from pylon_workflows.core.transitions import EarlierRunsDeleted, Transition


def numbered(history: Iterable[Transition], *, after: int = 0) -> Iterator[tuple[int, Transition]]:
    """Each transition that follows the revision `after`, and the revision that it led to."""
    revision = after
    for transition in history:
        revision = transition.replaces if isinstance(transition, EarlierRunsDeleted) else revision + 1
        yield revision, transition


def last_revision(history: Sequence[Transition], *, after: int = 0) -> int:
    """The revision that the last one led to; `after` where there is none."""
    for index in range(len(history) - 1, -1, -1):
        transition = history[index]
        if isinstance(transition, EarlierRunsDeleted):
            return transition.replaces + len(history) - 1 - index
    return after + len(history)


def until(history: Iterable[Transition], revision: int, *, after: int = 0) -> Sequence[Transition]:
    """Those that led to a revision, or to one before it."""
    return [transition for number, transition in numbered(history, after=after) if number <= revision]


def since(history: Iterable[Transition], revision: int) -> Sequence[Transition]:
    """Those that followed a revision."""
    return [transition for number, transition in numbered(history) if number > revision]
