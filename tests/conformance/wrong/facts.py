"""Runners that show the code something else at each replay."""

import random
import uuid
from datetime import UTC, datetime

from ..reference import Turn
from . import fails


@fails(
    "now-is-the-last-records-completed-at",
    "what-was-skipped-moves-no-time",
)
class LooksAtTheClock(Turn):
    """Gives the code the time of the replay."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@fails(
    "random-numbers-repeat",
)
class RollsTheDice(Turn):
    """Gives the code other numbers at every replay."""

    def random(self) -> float:
        return random.random()

    def uuid(self) -> uuid.UUID:
        return uuid.uuid4()


@fails(
    "random-numbers-repeat",
)
class IgnoresTheSeed(Turn):
    """Gives all instances the same numbers."""

    def draw(self) -> None:
        self.numbers = random.Random(len(self.handed_out))
