"""In which order instances have changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pylon_workflows.summaries import InstanceSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePage:
    """Instances that have changed, as they are now, the one that changed last at the end; what follows comes `after`.

    `is_complete` tells whether nothing had changed since, when this was read.
    """

    after: int
    instances: Sequence[InstanceSummary]
    is_complete: bool


class ChangeLog(Protocol):
    """The changes of all instances of a store, numbered as they were committed. Numbers grow and none comes twice.

    They last as long as the file: also when an instance, or all of them, have been deleted. Every call raises
    StoreError when the file cannot be used.
    """

    async def last(self) -> int:
        """The number of the newest change; 0 where there is none."""
        ...

    async def since(self, after: int) -> ChangePage:
        """What has changed after a number, about a thousand changes of it; deleted instances are left out.

        An instance that has changed many times is told of once a page. After a number that is yet to come there is
        nothing, and `after` is the newest one.
        """
        ...
