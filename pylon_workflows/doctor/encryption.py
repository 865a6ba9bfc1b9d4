"""Whether a file is encrypted, and whether what is in it can be looked at."""

import sqlite3

from pylon_workflows.doctor.findings import Finding, Verdict
from pylon_workflows.errors import WrongCodecError
from pylon_workflows.store.sealing import check_file


def encryption(connection: sqlite3.Connection, *, has_codec: bool) -> Finding | None:
    """What is to be said about a file that is encrypted; None about one that is not."""
    try:
        if not check_file(connection, has_codec=has_codec):
            return None
    except WrongCodecError as error:
        return Finding(
            about="encryption",
            text=f"{error}" if has_codec else "encrypted: histories and inputs of schedules were not looked at",
            advice="give the codec that the engine has (--codec MODULE:NAME)",
            verdict=Verdict.NEEDS_ACTION if has_codec else Verdict.HEALTHY,
            facts={"is_encrypted": True, "is_opened": False},
        )
    return Finding(
        about="encryption", text="encrypted; this codec opens it", facts={"is_encrypted": True, "is_opened": True}
    )
