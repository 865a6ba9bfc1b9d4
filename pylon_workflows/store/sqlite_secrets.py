"""The secrets of the store in a file."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.store import reads
from pylon_workflows.store.group_commit import GroupCommit
from pylon_workflows.store.sealing import is_sealed

_ONE = "SELECT value FROM secrets WHERE name = ?"
_KEEP = "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"


class SqliteSecrets:
    """A `SecretStore` over the writer and a reader of a `SqliteStore`."""

    def __init__(self, writer: Callable[[], GroupCommit], states: reads.Reader) -> None:
        self._writer = writer
        self._states = states

    async def keep(self, name: str, value: bytes) -> bytes:
        """See `SecretStore`."""
        return _checked(name, await self._writer().submit(keep_secret, (name, value)))

    async def get(self, name: str) -> bytes | None:
        """See `SecretStore`."""
        return await read_secret(self._states, name)


def keep_secret(connection: sqlite3.Connection, rows: Sequence[tuple[str, bytes]]) -> Sequence[Any]:
    """Insert rows whose names are new; what each name has now."""
    connection.executemany(_KEEP, rows)
    return [connection.execute(_ONE, (name,)).fetchone()[0] for name, _ in rows]


async def read_secret(reader: reads.Reader, name: str) -> bytes | None:
    """The secret of that name, or None. Raises CorruptDatabaseError."""
    rows = await reader.rows(_ONE, (name,))
    return _checked(name, rows[0][0]) if rows else None


def _checked(name: str, value: Any) -> bytes:
    if not isinstance(value, bytes) or not value or is_sealed(value):
        raise CorruptDatabaseError(f"the secret {name!r} of the file cannot be read")
    return value
