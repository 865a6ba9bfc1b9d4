"""Where tokens of the API are kept."""

from collections.abc import Sequence
from typing import Protocol

from pylon_workflows.tokens import Token


class TokenStore(Protocol):
    """The tokens of a `Store`, which is open when they are asked for. What a call has returned is durable.

    Every call raises `StorageFullError` when the disk is full, with nothing changed, and another `StoreError` when the
    file cannot be used.
    """

    async def save(self, token: Token) -> None:
        """Keep a token; one of its id that is there stays as it is, so that again changes nothing."""
        ...

    async def all(self) -> Sequence[Token]:
        """All tokens, the oldest first, but those that cannot be read, which are logged (P18)."""
        ...

    async def count(self) -> int:
        """How many there are, those that cannot be read too."""
        ...

    async def delete(self, token_id: str) -> bool:
        """Forget a token; whether there was one."""
        ...
