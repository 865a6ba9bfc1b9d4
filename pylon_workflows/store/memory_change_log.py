"""The change log of the store in memory."""

from collections.abc import Callable

from pylon_workflows.ports import ChangePage, InstanceSummary

_CHANGES_AT_A_TIME = 1_000


class MemoryChangeLog:
    """A `ChangeLog` of what it is told with `note`; `check_open` raises when the store is closed."""

    def __init__(self, summary_of: Callable[[str], InstanceSummary | None], check_open: Callable[[], None]) -> None:
        self._changed: list[str] = []
        self._summary_of = summary_of
        self._check_open = check_open

    def note(self, instance_id: str, changes: int) -> None:
        """An instance has changed so many times."""
        self._changed += [instance_id] * changes

    async def last(self) -> int:
        """See `ChangeLog`."""
        self._check_open()
        return len(self._changed)

    async def since(self, after: int) -> ChangePage:
        """See `ChangeLog`."""
        self._check_open()
        changed = self._changed[after : after + _CHANGES_AT_A_TIME]
        in_order = reversed(dict.fromkeys(reversed(changed)))
        end = min(after, len(self._changed)) + len(changed)
        found = [summary for instance_id in in_order if (summary := self._summary_of(instance_id)) is not None]
        return ChangePage(after=end, instances=found, is_complete=end == len(self._changed))
