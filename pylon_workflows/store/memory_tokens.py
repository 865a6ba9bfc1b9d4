"""The tokens of the store in memory."""

from collections.abc import Callable, Sequence

from pylon_workflows.tokens import Token


class MemoryTokens:
    """A `TokenStore` that writes to no disk; `check_open` raises when the store is closed."""

    def __init__(self, check_open: Callable[[], None]) -> None:
        self._tokens: dict[str, Token] = {}
        self._check_open = check_open

    async def save(self, token: Token) -> None:
        """See `TokenStore`."""
        self._check_open()
        self._tokens.setdefault(token.id, token)

    async def all(self) -> Sequence[Token]:
        """See `TokenStore`."""
        self._check_open()
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id))

    async def count(self) -> int:
        """See `TokenStore`."""
        self._check_open()
        return len(self._tokens)

    async def delete(self, token_id: str) -> bool:
        """See `TokenStore`."""
        self._check_open()
        return self._tokens.pop(token_id, None) is not None
