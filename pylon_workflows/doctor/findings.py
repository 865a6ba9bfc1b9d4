"""What an examination says: findings, each with what to do about it, and the verdict that they add up to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

NOTHING = "nothing to do"


class Verdict(IntEnum):
    """What it all comes to; the number is the command's exit status."""

    HEALTHY = 0
    NEEDS_ACTION = 1
    UNREADABLE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. `facts` are the same for programs: bytes, seconds, booleans, RFC 3339 times."""

    about: str
    text: str
    advice: str = NOTHING
    verdict: Verdict = Verdict.HEALTHY
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found about the file at `path`."""

    path: Path
    findings: Sequence[Finding]

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings'."""
        return max((finding.verdict for finding in self.findings), default=Verdict.HEALTHY)


def size_text(size_bytes: int) -> str:
    """A size for people, in binary units."""
    size, unit = float(size_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size_bytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
