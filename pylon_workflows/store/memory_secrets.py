"""The secrets of the store in memory."""

from collections.abc import Callable


class MemorySecrets:
    """A `SecretStore` that writes to no disk; `check_open` raises when the store is closed."""

    def __init__(self, check_open: Callable[[], None]) -> None:
        self._secrets: dict[str, bytes] = {}
        self._check_open = check_open

    async def keep(self, name: str, value: bytes) -> bytes:
        """See `SecretStore`."""
        self._check_open()
        return self._secrets.setdefault(name, value)

    async def get(self, name: str) -> bytes | None:
        """See `SecretStore`."""
        self._check_open()
        return self._secrets.get(name)
