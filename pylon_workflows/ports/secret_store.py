"""Where secrets of the store's own are kept."""

from typing import Protocol


class SecretStore(Protocol):
    """The secrets of a `Store`, which is open when they are asked for.

    Every call raises `StorageFullError` when the disk is full, with nothing changed, and another `StoreError` when the
    file cannot be used.
    """

    async def keep(self, name: str, value: bytes) -> bytes:
        """Keep a secret under a name that has none yet; whatever is kept under it now, durably."""
        ...

    async def get(self, name: str) -> bytes | None:
        """The secret of that name, or None. Raises CorruptDatabaseError: it cannot be read."""
        ...
