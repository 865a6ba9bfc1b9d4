"""How much of the machine other programs took, so that windows they disturbed can be left out (Linux; else nothing)."""

import os
import time
from pathlib import Path
from typing import NamedTuple

_STAT = Path("/proc/stat")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_IDLE, _WAITING = 3, 4


class MachineLoad(NamedTuple):
    """Seconds of all cores so far: in all, busy, and busy for this process and its children."""

    all_s: float
    busy_s: float
    own_s: float

    @classmethod
    def now(cls) -> "MachineLoad":
        """What the kernel has counted until now."""
        if not _STAT.exists():
            return cls(0.0, 0.0, 0.0)
        ticks = [int(word) for word in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
        busy = sum(ticks) - ticks[_IDLE] - ticks[_WAITING]
        ended = os.times()
        own_s = time.process_time() + ended.children_user + ended.children_system
        own_s += sum(_cpu_s(int(pid)) for pid in _children())
        return cls(sum(ticks) / _TICKS_PER_S, busy / _TICKS_PER_S, own_s)

    def others_since(self, before: "MachineLoad") -> float:
        """The share of all cores' time that others have used, from 0 to 1."""
        all_s = self.all_s - before.all_s
        others_s = (self.busy_s - before.busy_s) - (self.own_s - before.own_s)
        return max(0.0, others_s / all_s) if all_s else 0.0


def _children() -> list[str]:
    lists = Path("/proc/self/task").glob("*/children")
    return [pid for children in lists for pid in children.read_text().split()]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
