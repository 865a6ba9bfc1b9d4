"""The files that this process has an engine on, as owner or standby: two would drop each other's SQLite locks.

A forked child finds its parent's entries here, with the parent's id, and takes no notice of them.
"""

import os
from pathlib import Path

from pylon_workflows.errors import DatabaseInUseHereError

_entered: dict[Path, tuple[int, object]] = {}


def enter(path: Path, engine: object) -> Path:
    """Note that this process has an engine on the file; the key to `leave` it by. Raises DatabaseInUseHereError."""
    key = path.resolve()
    entry = os.getpid(), engine
    found = _entered.setdefault(key, entry)
    if found is not entry and found[0] == entry[0]:
        if found[1] is engine:
            raise DatabaseInUseHereError("this engine runs already: enter it, or its lifespan, in one place only")
        raise DatabaseInUseHereError(
            f"{path} is in use by another engine in this process (process {entry[0]}): use that engine, or close it "
            "first"
        )
    _entered[key] = entry
    return key


def leave(key: Path) -> None:
    """Note that the engine is gone."""
    _entered.pop(key, None)
