"""The files that this process has an engine on, as owner or standby: two would drop each other's SQLite locks.

A standby beside an owner of its own process would besides wait for itself. A forked child finds its parent's entries
here, with the parent's id, and takes no notice of them.
"""

import os
from pathlib import Path

from pylon_workflows.errors import DatabaseInUseHereError
from pylon_workflows.ownership.file_identity import identity_of

_entered: dict[Path, tuple[int, object]] = {}


def enter(path: Path, engine: object) -> Path:
    """Note that this process has an engine on the file, by this name or another; the key to `leave` it by.

    Raises:
        DatabaseInUseHereError: it has one already.
    """
    key = path.resolve()
    entry = os.getpid(), engine
    found = _entered.setdefault(key, entry)
    if found[0] != entry[0]:
        found = _entered[key] = entry
    if found is entry and not _has_another_name(key):
        return key
    if found is entry:
        del _entered[key]
    elif found[1] is engine:
        raise DatabaseInUseHereError("this engine runs already: enter it, or its lifespan, in one place only")
    raise DatabaseInUseHereError(
        f"{path} is in use by another engine in this process (process {entry[0]}): use that engine, or close it first"
    )


def _has_another_name(key: Path) -> bool:
    """Whether the file was entered by another name too: a hard link, or a folder that is mounted twice."""
    others = [known for known, (pid, _) in _entered.items() if pid == os.getpid() and known != key]
    try:
        identity = identity_of(key)
        return identity is not None and any(identity_of(other) == identity for other in others)
    except OSError:  # whoever opens the file will say what is wrong with it
        return False


def leave(key: Path) -> None:
    """Note that the engine is gone."""
    _entered.pop(key, None)
