"""How long an answer may be silent (PROTOCOL.md sections 2 and 4)."""

from collections.abc import Iterable

STEP_GRACE_S = 10.0
"""A kit ends a step at its time and says so: it is not cut off while it does. Those of this project give a body that
goes on five seconds, and a cut would run the steps beside it again."""

MAX_TURN_S = 10 * 365 * 86400.0
"""Longer deadlines count as this one: event loops count time in 64 bits, some of them in nanoseconds."""


class Deadline:
    """The first action is due at `at`, others `timeout_s` after what was applied last, or later where a step said so.

    Times are those of a clock that the caller looks at.
    """

    def __init__(self, timeout_s: float, at: float) -> None:
        self._timeout_s = timeout_s
        self._at = at
        self._steps: dict[str, tuple[float, float]] = {}

    @property
    def at(self) -> float:
        """Until when to wait for the next line."""
        return max(at for at, _ in self._ends())

    @property
    def length_s(self) -> float:
        """How long that was, for people."""
        return max(self._ends())[1]

    def _ends(self) -> Iterable[tuple[float, float]]:
        """A step that may take less than others takes nothing from those that run beside it."""
        return [(self._at, self._timeout_s), *self._steps.values()]

    @property
    def steps(self) -> int:
        """How many steps have said that they run."""
        return len(self._steps)

    def step_started(self, key: str, timeout_s: float, now: float) -> None:
        """A step runs that may take so long."""
        self._steps[key] = (now + min(timeout_s, MAX_TURN_S) + STEP_GRACE_S, timeout_s)

    def step_ended(self, key: str) -> None:
        """The step's action has come."""
        self._steps.pop(key, None)

    def applied(self, now: float) -> None:
        """What has come was applied."""
        self._at = now + self._timeout_s
