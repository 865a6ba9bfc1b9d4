"""What somebody decided about a gate."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runner_protocol.fields import parse_timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A decision; true when it is `approved`, so that `if await ctx.approval("ship")` says what it means.

    `by`, `comment` and `data` are those of who decided, at the time `at`. One that did not come in time is a rejection
    that `timed_out`.
    """

    approved: bool
    by: str | None = None
    comment: str | None = None
    data: Any = None
    at: datetime | None = None
    timed_out: bool = False

    def __bool__(self) -> bool:
        return self.approved

    @staticmethod
    def from_output(output: Any) -> "Approval":
        """Read the record of an approval."""
        found = output if isinstance(output, dict) else {}
        at = found.get("at")
        return Approval(
            approved=found.get("approved") is True,
            by=found.get("by"),
            comment=found.get("comment"),
            data=found.get("data"),
            at=None if at is None else parse_timestamp(at),
            timed_out=found.get("timed_out") is True,
        )
